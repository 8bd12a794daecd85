"""Half precision emulated beside a device that computes in fp32: what overflows there is no PASS here."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from skinaudit.artifacts.adversarial_set import open_set
from skinaudit.audit.evidence.answers import AnsweredSet
from skinaudit.audit.evidence.half_precision import HalfPrecision, compare_with_emulation
from skinaudit.audit.evidence.reference import Control
from skinaudit.errors import EngineError


class Overflowing:
    """An engine that answers infinity where pixels of an image deviate by more than `limit`, as fp16 may."""

    def __init__(self, honest: SimpleNamespace, limit: float) -> None:
        self.honest, self.limit = honest, limit

    def logits(self, images: np.ndarray) -> np.ndarray:
        logits: np.ndarray = self.honest.logits(images).copy()
        logits[images.std(axis=(1, 2, 3)) > self.limit] = np.inf
        return logits


@pytest.fixture
def answered(tmp_path: Path, lab: SimpleNamespace) -> AnsweredSet:
    planted = lab.plant(tmp_path, images=100)
    clean = open_set(planted.run / "sets" / "clean.safetensors")
    logits = np.concatenate([lab.LinearEngine(planted.engine).logits(batch) for batch in clean.batches(64)])
    return AnsweredSet(clean, "clean", True, Control(False, ""), logits, None, 1.0, clean.group)


def stripes(limit: float) -> np.ndarray:
    return np.where(np.indices((3, 6, 6))[2] % 2, 0, limit).astype(np.uint8)


@pytest.mark.parametrize(("limit", "overflows", "odd"), [(200.0, 0, ()), (125.0, 0, ("stripes",)), (0.0, 100, ("stripes",))])
def test_frames_that_no_set_holds_are_tried_as_well(
    answered: AnsweredSet, lab: SimpleNamespace, tmp_path: Path, limit: float, overflows: int, odd: tuple[str, ...]
) -> None:
    engine = Overflowing(lab.LinearEngine(tmp_path / "engines" / "fp32.onnx"), limit)
    frames = {"black": np.zeros((3, 6, 6), np.uint8), "stripes": stripes(255)}
    comparison = compare_with_emulation("fp16", [answered], engine, frames, batch_size=64)
    assert comparison == HalfPrecision("fp16", 100, overflows, 0, odd)


class Refusing:
    """An engine that raises where any image of a batch has a lead pixel of `values`, as engines do on infinity."""

    def __init__(self, honest: Any, values: list[bytes]) -> None:
        self.honest, self.values = honest, values

    def logits(self, images: np.ndarray) -> np.ndarray:
        if any(image.tobytes() in self.values for image in images):
            raise EngineError("infinite logits")
        return np.asarray(self.honest.logits(images))


def test_single_images_behind_the_first_batch_are_counted(
    answered: AnsweredSet, lab: SimpleNamespace, tmp_path: Path
) -> None:
    strange = [answered.images.image(index).tobytes() for index in (70, 71, 99)]
    engine = Refusing(lab.LinearEngine(tmp_path / "engines" / "fp32.onnx"), strange)
    comparison = compare_with_emulation("fp16", [answered], engine, {"black": np.zeros((3, 6, 6), np.uint8)}, batch_size=64)
    assert (comparison.images, comparison.overflows, comparison.flips) == (100, 3, 0)
