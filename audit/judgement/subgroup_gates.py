"""Gates of subgroups: does a subgroup lose clearly more than its whole set? They can FAIL, but never forbid a PASS
otherwise.

All subgroups of all sets form one family of tests, for accuracy and for malignant called malignant. Holm's method adjusts
their p-values separately from those of other gates. So the number of subgroups does not weaken any other gate.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from skinaudit.audit.figures.set_result import SetResult
from skinaudit.audit.figures.statistics import PairedDrop, holm, p_above
from skinaudit.audit.figures.subgroups import ACCURACY, SubgroupResult
from skinaudit.audit.judgement.drop_verdict import verdict_of
from skinaudit.audit.judgement.policy import Policy
from skinaudit.audit.judgement.result import Gate, Judgement, Verdict

RULE = "subgroup-drop"


@dataclass(frozen=True)
class _Test:
    """One figure of one subgroup. limit: the loss of the whole set, if any, and the policy's margin; p: not adjusted."""

    set: str
    figure: str
    subject: str
    drop: PairedDrop
    limit: float
    p: float


def subject_of(figure: str, subgroup: SubgroupResult) -> str:
    """The subject of a subgroup's gate: `FIGURE, SUBGROUP`."""
    return f"{figure}, {subgroup.title}"


def judged(policy: Policy, column: str) -> bool:
    """Whether the policy judges the subgroups of this column."""
    return policy.subgroups is None or column in policy.subgroups


def large_enough(drop: PairedDrop, policy: Policy) -> bool:
    """Whether a subgroup counts as enough lesions to decide anything."""
    lesions = drop.images if drop.effective_lesions is None else drop.effective_lesions
    return lesions >= policy.subgroup_lesions


def subgroup_gates(sets: Sequence[SetResult], policy: Policy) -> Iterator[Gate]:
    """For each set and figure: the gate of the subgroup with the smallest p-value, and every other gate that fails.

    The first gate passes only if the gates of all subgroups of its set and figure would pass.
    """
    tests = [test for result in sets for test in _tests(result, policy)]
    adjusted = dict(zip(map(id, tests), holm([test.p for test in tests]), strict=True))
    for key in dict.fromkeys((test.set, test.figure) for test in tests):
        own = sorted((test for test in tests if (test.set, test.figure) == key), key=lambda test: test.p)
        all_pass = all(_verdict(test, 1.0, policy) is Verdict.PASS for test in own)
        for place, test in enumerate(own):
            failed = adjusted[id(test)] < policy.alpha
            if failed or place == 0:
                verdict = Verdict.FAIL if failed else Verdict.PASS if all_pass else Verdict.INCONCLUSIVE
                yield _gate(test, adjusted[id(test)], verdict)


def _tests(result: SetResult, policy: Policy) -> Iterator[_Test]:
    comparison = result.comparison
    for subgroup in result.subgroups:
        if not judged(policy, subgroup.column):
            continue
        for figure, share in subgroup.shares:
            whole = comparison.drop if figure == ACCURACY else comparison.malignant_drop
            if share.drop is None or whole is None or not large_enough(share.drop, policy):
                continue
            limit = max(0.0, whole.value) + policy.subgroup_margin / 100
            yield _Test(
                result.title, figure, subject_of(figure, subgroup), share.drop, limit, p_above(share.drop, margin=limit)
            )


def _verdict(test: _Test, p: float, policy: Policy) -> Verdict:
    return verdict_of(test.drop, test.limit, p, replace(policy, minimal_images=1))


def _gate(test: _Test, p: float, verdict: Verdict) -> Gate:
    drop = test.drop
    return Gate(
        RULE, test.set, test.subject, drop.value, test.limit, drop.interval, p, drop.images, Judgement(verdict),
        binding=False, effective_lesions=drop.effective_lesions,
    )  # fmt: skip
