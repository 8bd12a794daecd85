from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from skinaudit.audit.evidence.nearby_images import BETWEEN, STEP, STORED, compare_nearby

STORED_IMAGES = np.random.default_rng(0).integers(20, 230, (20, 3, 4, 4)).astype(np.uint8)
KINDS = {STORED: STORED_IMAGES, STEP: STORED_IMAGES + np.uint8(1), BETWEEN: STORED_IMAGES + np.float32(0.3)}


class Means:
    """The mean of each colour as logits, and a fault."""

    def __init__(self, fault: str = "") -> None:
        self.fault = fault

    def logits(self, images: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
        logits = images.mean(axis=(2, 3)).astype(np.float32)
        off_grid = (images != np.rint(images)).any(axis=(1, 2, 3))
        stored = np.array([(image == STORED_IMAGES).all(axis=(1, 2, 3)).any() for image in images])
        odd = {"off grid": off_grid, "by heart": ~stored}.get(self.fault, np.zeros(len(images), bool))
        logits[odd] = -logits[odd]
        if self.fault == "nan" and off_grid.any():
            logits[off_grid] = np.nan
        return logits


@pytest.mark.parametrize(("fault", "strange"), [("", []), ("off grid", [BETWEEN]), ("by heart", [STEP, BETWEEN])])
def test_an_engine_that_knows_its_images_differs_from_its_reference(fault: str, strange: list[str]) -> None:
    nearby = compare_nearby(Means(fault), Means(), KINDS, batch_size=8)  # type: ignore[arg-type]
    assert nearby.images == 20
    assert [kind for kind, difference in nearby.reference.items() if difference.median > 0.1] == strange
    assert [kind for kind, difference in nearby.reference.items() if difference.flips > 10] == strange


def test_without_a_reference_it_is_compared_with_itself() -> None:
    honest, faulty = (compare_nearby(Means(fault), None, KINDS, batch_size=8) for fault in ("", "off grid"))  # type: ignore[arg-type]
    assert honest.reference == faulty.reference == {}
    assert honest.own[BETWEEN].median < honest.own[STEP].median == pytest.approx(faulty.own[STEP].median)
    assert faulty.own[BETWEEN].median > 10 * faulty.own[STEP].median


def test_images_that_get_no_answer_are_named() -> None:
    assert compare_nearby(Means("nan"), Means(), KINDS, batch_size=8).unanswered == (BETWEEN,)  # type: ignore[arg-type]
