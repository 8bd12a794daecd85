"""Gates of subgroups: does a subgroup lose clearly more than the rest of its set? They can FAIL, and do nothing else.

A gate FAILs on two conditions. First, a test shows that the subgroup loses more than the rest. Its p-values are adjusted for
all subgroups, figures and sets (skinaudit.audit.figures.subgroup_excess), separately from the other gates, so subgroups do
not weaken those. Second, the observed difference is at least the policy's margin. Without it, large sets would fail an
engine for differences that are real but too small to matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from skinaudit.audit.figures.set_result import SetResult
from skinaudit.audit.figures.statistics import PairedDrop
from skinaudit.audit.figures.subgroups import SubgroupResult
from skinaudit.audit.judgement.drop_verdict import verdict_of
from skinaudit.audit.judgement.policy import Policy
from skinaudit.audit.judgement.result import Gate, Judgement, Verdict

RULE = "subgroup-drop"


@dataclass(frozen=True)
class _Test:
    """One figure of one subgroup.

    limit: the loss of the rest, if any, plus the policy's margin. p: adjusted, against "it loses no more than the rest".
    """

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


def subgroup_gates(sets: Sequence[SetResult], policy: Policy) -> Iterator[Gate]:
    """For each set and figure: the gate of the subgroup with the smallest p-value, and every other gate that fails.

    The first gate passes only if the gates of all subgroups of its set and figure would pass.
    """
    tests = [test for result in sets for test in _tests(result, policy)]
    for key in dict.fromkeys((test.set, test.figure) for test in tests):
        own = sorted(
            (test for test in tests if (test.set, test.figure) == key), key=lambda test: (not _fails(test, policy), test.p)
        )
        all_pass = all(_passes(test, policy) for test in own)
        for place, test in enumerate(own):
            failed = _fails(test, policy)
            if failed or place == 0:
                yield _gate(test, Verdict.FAIL if failed else Verdict.PASS if all_pass else Verdict.INCONCLUSIVE)


def _tests(result: SetResult, policy: Policy) -> Iterator[_Test]:
    for subgroup in result.subgroups:
        for figure, share in subgroup.shares:
            if share.drop is not None and share.excess is not None:
                limit = max(0.0, share.excess.rest) + policy.subgroup_margin / 100
                yield _Test(result.title, figure, subject_of(figure, subgroup), share.drop, limit, share.excess.p_value)


def _fails(test: _Test, policy: Policy) -> bool:
    return test.p < policy.alpha and test.drop.value >= test.limit


def _passes(test: _Test, policy: Policy) -> bool:
    return verdict_of(test.drop, test.limit, 1.0, replace(policy, minimal_images=1)) is Verdict.PASS


def _gate(test: _Test, verdict: Verdict) -> Gate:
    drop = test.drop
    return Gate(
        RULE, test.set, test.subject, drop.value, test.limit, drop.interval, test.p, drop.images, Judgement(verdict),
        binding=False, effective_lesions=drop.effective_lesions,
    )  # fmt: skip
