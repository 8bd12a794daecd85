from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from skinaudit.audit.checks import Evidence, Severity
from skinaudit.audit.checks.input_rounding import check
from skinaudit.audit.evidence.nearby_images import (
    ALMOST,
    ALMOST_HALFWAY,
    STEP,
    Difference,
    NearbyImages,
    compare_nearby,
    kinds_of,
)


def moved(step: float, almost: float, halfway: float) -> NearbyImages:
    own = {STEP: Difference(step, 0), ALMOST: Difference(almost, 0), ALMOST_HALFWAY: Difference(halfway, 0)}
    return NearbyImages(35, {}, own, ())


DAMAGES = {
    "rounded to two steps": lambda honest: replace(honest, nearby=moved(0.01, 0.007, 0.0)),
    "rounded to one step": lambda honest: replace(honest, nearby=moved(0.01, 0.0, 0.012)),
}


@pytest.mark.parametrize(
    ("nearby", "layers", "expected"),
    [
        (moved(0.01, 0.001, 0.001), {"fp32": 9}, []),
        (moved(0.0, 0.0, 0.0), {"fp32": 9}, []),
        (moved(0.01, 0.007, 0.0), {"fp32": 9}, [Severity.INCONCLUSIVE]),
        (moved(0.01, 0.0, 0.012), {"fp16": 8, "fp32": 1}, [Severity.INCONCLUSIVE]),
        (moved(0.01, 0.009, 0.008), {"int8": 9}, []),
        (moved(0.01, 0.0, 0.012), {"int8": 9}, []),
        (moved(0.01, 0.009, 0.0), {"int8": 9}, [Severity.INCONCLUSIVE]),
        (moved(0.01, 0.009, 0.008), {}, []),
    ],
)
def test_jumps_are_no_sign_in_whole_numbers_and_standing_still_is(
    honest: Evidence, nearby: NearbyImages, layers: Mapping[str, int], expected: list[Severity]
) -> None:
    evidence = replace(honest, nearby=nearby, engine=replace(honest.engine, found=layers))
    assert [finding.severity for finding in check(evidence)] == expected


class Rounding:
    """Products with random weights of images that are rounded to steps of `grid`; 0: not at all."""

    def __init__(self, grid: float) -> None:
        self.grid = grid
        self.weights = np.random.default_rng(0).normal(size=(3 * 64, 5))

    def logits(self, images: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
        pixels = np.asarray(images, np.float64)
        pixels = np.round(pixels / self.grid) * self.grid if self.grid else pixels
        return np.asarray(pixels.reshape(len(images), -1) @ self.weights, np.float32)


@pytest.mark.parametrize(("grid", "alarm"), [(0, False), (1, True), (2, True), (2.5, True), (3, True), (4, True), (8, True)])
def test_rounded_pixels_are_found_whatever_the_step(honest: Evidence, grid: float, alarm: bool) -> None:
    stored = np.random.default_rng(1).integers(0, 256, (20, 3, 8, 8)).astype(np.uint8)
    kinds = kinds_of(stored, np.random.default_rng(2), between=True)
    nearby = compare_nearby(Rounding(grid), None, kinds, batch_size=8)  # type: ignore[arg-type]
    evidence = replace(honest, nearby=nearby, engine=replace(honest.engine, found={"fp32": 1}))
    assert bool(list(check(evidence))) == alarm
