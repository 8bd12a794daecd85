"""The structures that are written down, beside what torch traces of the same architectures."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("torch")

from skinaudit.artifacts.known_structures import ARCHITECTURES, known_structure, unlike
from skinaudit.artifacts.structure import Step
from skinaudit.audit.evidence.matching import Matcher
from skinaudit.engines.networks.of_structure import network_of
from skinaudit.trainer import architectures
from skinaudit.trainer.models import build, recorded_structure

SLOW = pytest.mark.slow


def test_every_architecture_is_written_down() -> None:
    assert sorted(ARCHITECTURES) == list(architectures.names())


@pytest.mark.parametrize(
    "arch", [pytest.param("mobilenet", marks=SLOW), pytest.param("mobilenet_v2", marks=SLOW), "vgg16", "vgg16_bn"]
)
def test_what_is_written_down_is_what_torch_traces(arch: str) -> None:
    model = build(arch, width=0.05, classes=3, size=32).eval()
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    recorded = recorded_structure(model, size=32)
    stored = known_structure(arch, size=32, shapes={name: value.shape for name, value in weights.items()})
    assert stored is not None
    assert Matcher().match(network_of(recorded, weights), network_of(stored, weights)).plain
    assert unlike(recorded, stored) == ""
    longer = replace(recorded, steps=(*recorded.steps, Step("seen", "mean.dim", ("step:input", [1, 2, 3]))))
    assert unlike(longer, stored) == "1 mean steps instead of 0"


def test_other_weights_and_other_architectures_are_not_known() -> None:
    assert known_structure("of_my_own", size=32, shapes={}) is None
    with pytest.raises(KeyError, match="weight"):
        known_structure("mobilenet", size=32, shapes={})
