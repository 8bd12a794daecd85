"""What an engine must hold to pass."""

from __future__ import annotations

import math
from dataclasses import dataclass

from skinaudit.errors import InvalidInputError


@dataclass(frozen=True)
class Policy:
    """The bounds of a verdict. Invariant: every bound is finite and no setting switches a check off.

    margin: percentage points of accuracy that each set may lose against the model that was measured. An engine that
    agrees on every image still needs 381 images (of different lesions) to show a loss below 1 point at 95%.
    class_margin: the same for the sensitivity of each malignant class. Only a lower bound above it counts (as FAIL): a
    malignant class has tens of images in a usual test split, so that demanding its upper bound below the margin would
    leave every audit undecided. Single lost cancers are caught by the next bound instead.
    malignant_to_benign: how many malignant images of one set the source may get right and the engine call benign.
    minimal_images: a set with fewer images decides nothing but a clear FAIL.
    confidence: of every interval, two-sided.

    Not a setting: the engine's balanced accuracy on the clean set must lie above that of a constant answer, which is
    exactly 1 / classes. The mean of the Wilson lower bounds of the sensitivities has to exceed it. For a constant answer
    this mean is below 1 / classes however many images there are, so no policy lets one pass, not even by luck.
    """

    margin: float = 1.0
    class_margin: float = 1.0
    malignant_to_benign: int = 0
    minimal_images: int = 100
    confidence: float = 0.95

    def __post_init__(self) -> None:
        for name, points in (("margin", self.margin), ("class_margin", self.class_margin)):
            if not (math.isfinite(points) and 0 < points < 100):
                raise InvalidInputError(f"policy {name} = {points}: give percentage points between 0 and 100, such as 1.0")
        if not 0.5 <= self.confidence < 1:
            raise InvalidInputError(
                f"policy confidence = {self.confidence}: give a number from 0.5 to below 1, such as 0.95"
            )
        if self.malignant_to_benign < 0:
            raise InvalidInputError(f"policy malignant_to_benign = {self.malignant_to_benign}: give 0 or more images")
        if self.minimal_images < 1:
            raise InvalidInputError(f"policy minimal_images = {self.minimal_images}: give at least 1")
