"""The answer on one drop against its margin."""

from __future__ import annotations

from skinaudit.audit.figures.power import least_lesions
from skinaudit.audit.figures.statistics import PairedDrop
from skinaudit.audit.judgement.policy import Policy
from skinaudit.audit.judgement.result import Verdict


def verdict_of(drop: PairedDrop, limit: float, p: float, policy: Policy) -> Verdict:
    """The answer on one drop against `limit`, a fraction of 1. p: of p_above, adjusted for the other comparisons.

    FAIL by the p-value; PASS where both intervals lie below the limit and images and lesions are enough; otherwise
    INCONCLUSIVE.
    """
    if p < policy.alpha:
        return Verdict.FAIL
    below = drop.interval.high < limit and drop.bootstrap.high < limit
    return Verdict.PASS if below and enough(drop, limit, policy) else Verdict.INCONCLUSIVE


def enough(drop: PairedDrop, limit: float, policy: Policy) -> bool:
    """Whether full agreement on so many images and lesions would show a loss below `limit`."""
    lesions = drop.images if drop.effective_lesions is None else drop.effective_lesions
    return drop.images >= policy.minimal_images and lesions >= least_lesions(limit, confidence=policy.confidence)
