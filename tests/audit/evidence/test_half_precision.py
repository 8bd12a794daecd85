"""Half precision emulated beside a device that computes in fp32: what overflows there is no PASS here."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from skinaudit.artifacts.adversarial_set import open_set
from skinaudit.audit.evidence.half_precision import HalfPrecision, compare_with_emulation


class Overflowing:
    """An engine that answers infinity where pixels of an image deviate by more than `limit`, as fp16 may."""

    def __init__(self, honest: SimpleNamespace, limit: float) -> None:
        self.honest, self.limit = honest, limit

    def logits(self, images: np.ndarray) -> np.ndarray:
        found: np.ndarray = self.honest.logits(images).copy()
        found[images.std(axis=(1, 2, 3)) > self.limit] = np.inf
        return found


@pytest.mark.parametrize(
    ("limit", "overflows", "odd"), [(200.0, 0, ()), (100.0, 0, ("checkerboard",)), (0.0, 64, ("noise", "checkerboard"))]
)
def test_frames_that_no_set_holds_are_tried_as_well(
    tmp_path: Path, lab: SimpleNamespace, limit: float, overflows: int, odd: tuple[str, ...]
) -> None:
    planted = lab.plant(tmp_path, images=100)
    clean = open_set(planted.run / "sets" / "clean.safetensors")
    engine = lab.LinearEngine(planted.engine)
    found = compare_with_emulation("fp16", engine, Overflowing(engine, limit), [clean])
    assert found == HalfPrecision("fp16", 64, overflows, 0, odd)
