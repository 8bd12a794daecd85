"""The verdict on one drop against its margin."""

from __future__ import annotations

from skinaudit.audit.figures.power import least_lesions
from skinaudit.audit.figures.statistics import PairedDrop
from skinaudit.audit.judgement.policy import Policy
from skinaudit.audit.judgement.result import Verdict


def verdict_of(drop: PairedDrop, limit: float, p: float, policy: Policy) -> Verdict:
    """The verdict on one drop against `limit`, a fraction of 1. p: p-value of p_above, adjusted for the other comparisons.

    FAIL if the p-value is below alpha. PASS if both intervals lie below the limit and there are enough images and lesions.
    Otherwise INCONCLUSIVE.
    """
    if p < policy.alpha:
        return Verdict.FAIL
    below = drop.interval.high < limit and drop.bootstrap.high < limit
    return Verdict.PASS if below and enough(drop, limit, policy) else Verdict.INCONCLUSIVE


def enough(drop: PairedDrop, limit: float, policy: Policy) -> bool:
    """Whether full agreement on this many images and lesions would show that the loss is below `limit`."""
    lesions = drop.images if drop.effective_lesions is None else drop.effective_lesions
    return drop.images >= policy.minimal_images and lesions >= least_lesions(limit, confidence=policy.confidence)
