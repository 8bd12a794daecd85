"""What holds for every architecture, also for one that is added tomorrow."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from skinaudit.errors import InvalidInputError
from skinaudit.trainer import architectures
from skinaudit.trainer.models import build, folded


@pytest.mark.parametrize("name", architectures.names())
def test_an_architecture_answers_each_image_with_a_logit_a_class(name: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build(name, width=0.1, classes=5, size=32).eval()
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1), requires_grad=True)
    logits = model(images)
    assert logits.shape == (3, 5)
    (gradient,) = torch.autograd.grad(logits.sum(), images)
    assert gradient.abs().sum() > 0
    torch.testing.assert_close(folded(model)(images), logits, rtol=1e-4, atol=1e-4)


def test_an_unknown_architecture_is_refused_with_what_there_is() -> None:
    with pytest.raises(InvalidInputError, match=f"arch 'whim': choose one of {', '.join(architectures.names())}"):
        architectures.load("whim")


def test_a_new_file_is_a_new_architecture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nothing.py").write_text(
        "from torch import nn\n\nLEARNING_RATE = 0.5\n\n\ndef build(width, classes):\n    return nn.Flatten()\n"
    )
    before = architectures.names()
    monkeypatch.setattr(architectures, "__path__", [*architectures.__path__, str(tmp_path)])
    assert architectures.names() == tuple(sorted((*before, "nothing")))
    architecture = architectures.load("nothing")
    monkeypatch.delitem(sys.modules, "skinaudit.trainer.architectures.nothing")
    assert (architecture.torchvision, architecture.learning_rate) == (False, 0.5)
