"""How far an engine's logits are from its source's, and which images could flip."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.contract import InputContract
from skinaudit.artifacts.logits import Indices, predictions
from skinaudit.artifacts.typed_json import Count

LISTED = 20
"""Number of images at risk that a result keeps."""


@dataclass(frozen=True)
class AtRisk:
    """An image whose margin is not larger than typical drift. Invariant: margin >= 0 and drift >= 0.

    index: in its set. margin: lead of the source's first logit over its second. drift: how far the engine moved the lead
    over any class. flipped: whether the engine predicts a different class.
    """

    index: Count
    lesion: int
    label: str
    source_answer: str
    engine_answer: str
    margin: float
    drift: float
    flipped: bool


@dataclass(frozen=True)
class Drift:
    """The drift over a set, in logits.

    The drift of an image is the largest change in the lead of the source's answer over any other class. The image cannot
    flip if its margin is larger, and a constant added to all logits changes nothing. median, p99, largest: over the images.
    median_margin: of the source's logit margins. range: between the source's largest and smallest logit. near_ties: images
    whose margin is at most their own drift. at_risk: images whose margin is at most the 99th percentile of all drifts,
    because that much drift occurs on this set. listed: the LISTED images at risk with the smallest margin relative to their
    drift, flipped ones first.
    """

    median: float
    p99: float
    largest: float
    median_margin: float
    range: float
    near_ties: Count
    at_risk: Count
    listed: tuple[AtRisk, ...]


def median_drift(source: NDArray[np.float32], logits: NDArray[np.float32]) -> float:
    """The median drift of logits float32 (N, classes) from those of the source to the same images."""
    drift, _ = _drift_and_margin(source, logits)
    return float(np.median(drift))


def _drift_and_margin(
    source: NDArray[np.float32], engine: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """For each image, how far the lead of the source's answer moved, and the smallest such lead: both float64 (N,)."""
    rows, before = np.arange(len(source)), predictions(source)
    leads = source[rows, before][:, None].astype(np.float64) - source  # of the source's answer over each class
    moved = engine[rows, before][:, None].astype(np.float64) - engine
    drift = np.abs(moved - leads).max(axis=1)
    leads[rows, before] = np.inf
    return drift, leads.min(axis=1)


def measure_drift(
    source: NDArray[np.float32],
    engine: NDArray[np.float32],
    *,
    labels: Indices,
    groups: NDArray[np.int64],
    contract: InputContract,
) -> Drift:
    """Compare logits float32 (N, classes) of the same images; labels, groups int64 (N,)."""
    classes = contract.classes
    before, after = predictions(source), predictions(engine)
    drift, margin = _drift_and_margin(source, engine)
    p99 = float(np.quantile(drift, 0.99))
    at_risk = np.flatnonzero((margin <= p99) | (before != after))
    order = np.lexsort((margin[at_risk] / np.maximum(drift[at_risk], 1e-30), before[at_risk] == after[at_risk]))
    return Drift(
        median=float(np.median(drift)),
        p99=p99,
        largest=float(drift.max()),
        median_margin=float(np.median(margin)),
        range=float(source.max()) - float(source.min()),
        near_ties=int((margin <= drift).sum()),
        at_risk=len(at_risk),
        listed=tuple(
            AtRisk(
                index=int(row),
                lesion=int(groups[row]),
                label=classes[labels[row]],
                source_answer=classes[before[row]],
                engine_answer=classes[after[row]],
                margin=float(margin[row]),
                drift=float(drift[row]),
                flipped=bool(before[row] != after[row]),
            )
            for row in at_risk[order][:LISTED]
        ),
    )
