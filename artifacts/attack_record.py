"""What an attack noted of each image while it crafted a set: the evidence that it attacked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

NO_GRADIENT, LEAD_GRADIENT, LOSS_GRADIENT = 0, 1, 2
"""Of an image at the start: no gradient at all; that of the smooth lead, because the cross-entropy was rounded away; that of
the cross-entropy."""
POINTS = 5
"""Moments at which the path is noted: the start, a quarter, half and three quarters of all steps, and the end."""
NEVER = -1
"""As a step of success: no step was one."""

TENSORS = {"attack_gradient": ("U8", 1), "attack_path": ("F32", 2), "attack_success": ("I32", 1)}
"""Element type and number of axes of each array in the file of a set, in the words of safetensors."""


@dataclass(frozen=True, eq=False)
class AttackRecord:
    """One row an image of an adversarial set.

    gradient: uint8 (N,), what the attack could follow at its start: NO_GRADIENT, LEAD_GRADIENT or LOSS_GRADIENT. path:
    float32 (N, POINTS), the loss on the way, told as its smooth lead s: the cross-entropy is log(1 + exp(s)), and s is not
    rounded to 0 where that is. success: int32 (N,), the first step at which the image was answered as the attack wants, 0
    for the start, NEVER for none. Steps of further starts count on.
    """

    gradient: NDArray[np.uint8]
    path: NDArray[np.float32]
    success: NDArray[np.int32]

    @property
    def silent(self) -> NDArray[np.bool_]:
        """Which images (N,) gave the attack nothing to follow."""
        return np.asarray(self.gradient == NO_GRADIENT)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """By their names in the file of a set."""
        values = (self.gradient, self.path, self.success)
        return {name: np.ascontiguousarray(value) for name, value in zip(TENSORS, values, strict=True)}

    def problem(self, images: int) -> str:
        """Why this is no record of so many images, in a clause; empty where it is one."""
        if self.gradient.shape != (images,) or self.success.shape != (images,) or self.path.shape != (images, POINTS):
            return "differs from the images in number"
        if (self.gradient > LOSS_GRADIENT).any() or (self.success < NEVER).any() or not np.isfinite(self.path).all():
            return "holds values that mean nothing"
        return ""


def from_arrays(arrays: Mapping[str, NDArray[Any]]) -> AttackRecord:
    """The record in arrays of the names and types of TENSORS."""
    return AttackRecord(*(arrays[name] for name in TENSORS))


def joined(records: Sequence[AttackRecord]) -> AttackRecord:
    """One record of the images of all, in order."""
    return from_arrays({name: np.concatenate([record.arrays()[name] for record in records]) for name in TENSORS})
