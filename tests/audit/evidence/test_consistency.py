from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from skinaudit.artifacts.adversarial_set import open_set
from skinaudit.audit.evidence.consistency import Consistency, check_consistency


def checked(tmp_path: Path, lab: SimpleNamespace, fault: str | None) -> Consistency:
    planted = lab.plant(tmp_path, images=100, settings={"fault": fault})
    found: Consistency = check_consistency(
        lab.LinearEngine(planted.engine), open_set(planted.run / "sets" / "clean.safetensors"), batch_size=64
    )
    return found


@pytest.mark.parametrize("fault", [None, "scaled", "constant"])
def test_an_answer_that_hangs_on_its_image_alone(tmp_path: Path, lab: SimpleNamespace, fault: str | None) -> None:
    found = checked(tmp_path, lab, fault)
    assert found == Consistency(35, (1, 7, 64, 129), True, True, 0.0, 0, ())


def test_another_answer_when_run_again(tmp_path: Path, lab: SimpleNamespace) -> None:
    found = checked(tmp_path, lab, "restless")
    assert not found.repeats
    assert 0 < found.largest < 1e-3


@pytest.mark.parametrize("fault", ["rare", "noise"])
def test_an_answer_that_hangs_on_the_place_in_the_batch(tmp_path: Path, lab: SimpleNamespace, fault: str) -> None:
    found = checked(tmp_path, lab, fault)
    assert found.repeats
    assert not found.identical
    assert found.largest > 0.1
    assert found.flips > 0
