"""The record that an attack makes for each image while it crafts a set. It is the evidence that the attack worked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

NO_GRADIENT, LEAD_GRADIENT, LOSS_GRADIENT = 0, 1, 2
"""Gradient of an image at the start: none, the smooth lead's (the cross-entropy was rounded away), the cross-entropy's."""
POINTS = 5
"""Moments of the recorded path: the start, a quarter, half and three quarters of the points that an image was given, and the
last one.
"""
NEVER = -1
"""Value of `success` if the attack succeeded at no step."""

LEAST_SPENT = 0.9
"""In an honest set, at least half of the images spend this share of eps."""
LEAST_KEPT = 0.75
"""At least half of the images must keep this share of their effect after rounding to 8 bit."""
SILENT_WARNED = 0.01
"""Share of images without an attack that is reported: a loss of the whole default margin could be hidden among them."""

TENSORS = {"attack_gradient": ("U8", 1), "attack_path": ("F32", 2), "attack_success": ("I32", 1), "attack_kept": ("F32", 1)}
"""Element type and number of axes of each array in a set's file, with safetensors' names."""
_KINDS = (np.uint8, np.float32, np.int32, np.float32)


@dataclass(frozen=True, eq=False)
class AttackRecord:
    """One row per image of an adversarial set.

    gradient: uint8 (N,), the kind of gradient at the start: NO_GRADIENT, LEAD_GRADIENT or LOSS_GRADIENT. path: float32
    (N, POINTS), the loss during the attack, stored as the logit lead s. The cross-entropy is log(1 + exp(s)); s is not
    rounded to 0 when the cross-entropy is. success: int32 (N,), the first step at which the attack succeeded, 0 for the
    start, NEVER for none. The steps of further restarts count on. kept: float32 (N,), the share, from 0 to 1, of the
    perturbation's effect on a linear loss that is left after rounding to 8 bit.
    """

    gradient: NDArray[np.uint8]
    path: NDArray[np.float32]
    success: NDArray[np.int32]
    kept: NDArray[np.float32]

    @property
    def silent(self) -> NDArray[np.bool_]:
        """Mask of the images (N,) that gave the attack no gradient."""
        return np.asarray(self.gradient == NO_GRADIENT)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays by their names in a set's file."""
        values = (self.gradient, self.path, self.success, self.kept)
        return {name: np.ascontiguousarray(value) for name, value in zip(TENSORS, values, strict=True)}

    def problem(self, images: int) -> str:
        """Why this is not a record of this many images, in a clause; empty if it is one."""
        if [value.dtype for value in self.arrays().values()] != [np.dtype(kind) for kind in _KINDS]:
            return "has values of another type"
        shapes = {value.shape for value in (self.gradient, self.success, self.kept)}
        if shapes != {(images,)} or self.path.shape != (images, POINTS):
            return "has a different number of entries than the images"
        known = (self.gradient <= LOSS_GRADIENT).all() and (self.success >= NEVER).all() and np.isfinite(self.path).all()
        if not (known and (self.kept >= 0).all() and (self.kept <= 1).all()):
            return "has values that are not allowed"
        return ""


def from_arrays(arrays: Mapping[str, NDArray[Any]]) -> AttackRecord:
    """The record from arrays with the names and types of TENSORS."""
    return AttackRecord(*(arrays[name] for name in TENSORS))


def joined(records: Sequence[AttackRecord]) -> AttackRecord:
    """One record of the images of all records, in order."""
    return from_arrays({name: np.concatenate([record.arrays()[name] for record in records]) for name in TENSORS})
