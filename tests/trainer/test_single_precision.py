"""Figures that an export or an audit is held against are computed in true fp32, even where training has TF32 on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from skinaudit.artifacts.adversarial_set import open_set
from skinaudit.artifacts.manifest import read_run, resolve
from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.trainer.evaluate import logits_of, pgd_predictions
from skinaudit.trainer.generate import AttackPlan, write_adversarial_set, write_clean_set
from skinaudit.trainer.probes import load, names

LINF8 = ThreatModel("linf", Fraction(8))
IMAGES = np.random.default_rng(0).integers(40, 215, (6, 3, 32, 32)).astype(np.uint8)
LABELS = np.zeros(6, np.int64)
SEEN: list[tuple[bool, bool]] = []
"""Whether cuBLAS and cuDNN might use TF32, at each pass forwards and backwards."""


def look() -> None:
    SEEN.append((torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32))


class Watching(nn.Module):
    """A linear model that notes the settings under which it is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3 * 32 * 32, 7)
        nn.init.normal_(self.layer.weight, generator=torch.Generator().manual_seed(0))

    def forward(self, images: Tensor) -> Tensor:
        look()
        logits: Tensor = self.layer(images.flatten(1))
        if logits.requires_grad:
            logits.register_hook(lambda _: look())
        return logits


@pytest.fixture(autouse=True)
def training_has_tf32_on() -> Iterator[None]:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    SEEN.clear()
    yield
    look()
    torch.set_float32_matmul_precision("highest")
    assert SEEN[-1] == (True, True)


def probe(name: str) -> None:
    model = Watching().eval()
    search, _ = load(name, model)
    search(
        lambda images: np.tile(np.arange(7, 0, -1, dtype=np.float32), (len(images), 1)), IMAGES, LABELS, start=None,
        threat_model=LINF8, generator=np.random.default_rng(0), tick=lambda _: None, queries=4,
    )  # fmt: skip


FIGURES: dict[str, Callable[[], object]] = {
    "logits": lambda: logits_of(Watching().eval(), IMAGES),
    "predictions under PGD": lambda: pgd_predictions(Watching().eval(), IMAGES, LABELS, threat_model=LINF8, steps=2, seed=0),
    **{f"probe {name}": lambda name=name: probe(name) for name in names()},  # type: ignore[misc]
}


pytestmark = pytest.mark.filterwarnings("ignore:Please use the new API")


@pytest.mark.parametrize("figure", FIGURES)
def test_a_figure_is_computed_without_tf32(figure: str) -> None:
    FIGURES[figure]()
    assert SEEN
    assert set(SEEN) == {(False, False)}


@pytest.mark.parametrize("attack", ["fgsm", "pgd"])
def test_a_set_is_crafted_and_answered_without_tf32(tiny_run: Path, tmp_path: Path, attack: str) -> None:
    stored = open_set(resolve(tiny_run, read_run(tiny_run).sets["clean"]))
    model, rows = Watching().eval(), 6
    clean = write_clean_set(
        tmp_path / "clean.safetensors", model, images=next(stored.batches(rows)), labels=stored.labels[:rows],
        group=stored.group[:rows], ids=stored.ids[:rows], source="sha256:0", contract=stored.info.contract, dataset="noise",
        synthetic=True,
    )  # fmt: skip
    write_adversarial_set(tmp_path / "set.safetensors", model, clean, AttackPlan(attack, LINF8), source="sha256:0", seed=0)
    assert len(SEEN) > 3
    assert set(SEEN) == {(False, False)}
