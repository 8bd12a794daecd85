"""Distances of adversarial images from the clean ones, in integers: the proof that a set stays within its eps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.adversarial_set import AdversarialSet
from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.errors import InvalidInputError

_ROWS = 128  # images compared at a time


def check_perturbation(adversarial: AdversarialSet, clean: AdversarialSet) -> NDArray[np.float64]:
    """Prove in integers that every image is within its set's eps of the clean one, and that both have the same lesions.

    Returns the share of eps that each image spends, (N,): 0 for an image equal to the clean one, and for a clean set. Raises
    InvalidInputError with the first image that is outside.
    """
    threat_model = adversarial.info.threat_model
    if threat_model is None:
        return np.zeros(len(adversarial))
    if adversarial.info.clean != clean.images_digest:
        raise InvalidInputError(
            f"{adversarial.path}: its images do not come from {clean.path}; use the clean set of its run"
        )
    if not (
        np.array_equal(adversarial.labels, clean.labels)
        and np.array_equal(adversarial.group, clean.group)
        and adversarial.ids == clean.ids
    ):
        raise InvalidInputError(f"{adversarial.path}: labels or image names differ from {clean.path}; write the set again")
    bound, parts = _bound(threat_model), []
    for perturbed, original in zip(adversarial.batches(_ROWS), clean.batches(_ROWS), strict=True):
        parts.append(_extents(perturbed, original, threat_model))
        if (parts[-1] > bound).any():
            name = adversarial.ids[_ROWS * (len(parts) - 1) + int((parts[-1] > bound).argmax())]
            raise InvalidInputError(f"{adversarial.path}: image {name} is outside of {threat_model}; write the set again")
    extents = np.concatenate(parts).astype(np.float64)
    return np.asarray((extents if threat_model.norm == "linf" else np.sqrt(extents)) / float(threat_model.eps_255))


def within(perturbed: NDArray[np.uint8], original: NDArray[np.uint8], threat_model: ThreatModel) -> NDArray[np.bool_]:
    """Whether |perturbed - original| <= eps holds exactly, in integers: uint8 (B, ...) twice -> bool (B,)."""
    return np.asarray(_extents(perturbed, original, threat_model) <= _bound(threat_model))


def _bound(threat_model: ThreatModel) -> int:
    """The largest extent within eps."""
    return int(threat_model.eps_255 if threat_model.norm == "linf" else threat_model.eps_255**2)


def _extents(perturbed: NDArray[np.uint8], original: NDArray[np.uint8], threat_model: ThreatModel) -> NDArray[np.int64]:
    """Exact extents, int64 (B,): the largest difference (linf) or the sum of squared differences (l2)."""
    difference = (np.maximum(perturbed, original) - np.minimum(perturbed, original)).reshape(len(perturbed), -1)
    if threat_model.norm == "linf":
        return np.asarray(difference.max(axis=1), np.int64)
    return np.asarray(np.square(difference, dtype=np.uint16).sum(axis=1, dtype=np.int64))  # 255^2 < 2^16
