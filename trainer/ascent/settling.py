"""Which images an attack will not break any more, so that measuring need not go on with them."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

Rule = Callable[..., Tensor]
"""`by_smooth_lead` or `by_ratio`."""

SURE = 0.2
"""Share of the steps after which images may settle. After the first large step, the gradient of a model that was hardened
with few steps can be nearly 0, though later steps break the image.
"""

LEAST_STEPS = 5
"""Steps of Auto-PGD after which images may settle at the earliest, for runs of less than 25 steps."""

_OF_THE_RATIO = 16.0
"""How many times its linear prediction the difference of logits ratio may gain."""
_OF_ONE_CLASS = 4.0
"""How many times as much as all classes together a single class may gain."""


def by_smooth_lead(smooth: Tensor, gain: Tensor, *, first: Tensor, largest: Tensor, share: float) -> Tensor:
    """Which images (N,) an attack on the smooth lead will not break, by what gradients promise and by its course so far.

    share: how many times the promised gain an image must withstand. smooth: the smooth lead at the present points, which is
    the logarithm of the summed exponentials of the wrong logits, minus the true logit. An image can be wrong only if it is
    above 0. gain: of the smooth lead in the rest of the ball, if it were linear; the convergence criterion of Wang et al.
    2019 (https://arxiv.org/abs/2112.08304). first, largest: the lead of the best wrong logit at the start of the attack, and
    its largest value since.

    First rule: the smooth lead would stay below 0, and the image misses more than half of what the attack has gained so far.
    Second rule: the largest lead would stay below 0 with four times `share`, and the image misses more than all that was
    gained. It is for images with several wrong classes that are about equal: their smooth lead is above 0 although every
    class is far behind. A single class can gain more than all classes together, hence the four.
    """
    missing, gained = -largest, largest - first
    by_all_classes = (smooth + share * gain < 0) & (missing > gained / 2)
    by_one_class = (largest + _OF_ONE_CLASS * share * gain < 0) & (missing > gained)
    return by_all_classes | by_one_class


def by_ratio(ratio: Tensor, gain: Tensor, *, first: Tensor, largest: Tensor, share: float) -> Tensor:
    """Which images (N,) an attack on the difference of logits ratio will not break.

    The ratio would stay below 0 with sixteen times `share`, and the margin misses more than all that it has gained so far.
    The ratio is less linear than the smooth lead, because the spread of the logits that divides it changes too; hence the
    sixteen.

    ratio: at the present points. gain: of the ratio in the rest of the ball, if it were linear. first, largest: the margin
    at the start of the attack, and its largest value since; that of the target class if there is one. share: see
    `by_smooth_lead`.
    """
    return (ratio + _OF_THE_RATIO * share * gain < 0) & (-largest > largest - first)


def too_slow(lead: Tensor, earlier: Tensor, settle: float) -> Tensor:
    """Images (n,) that miss more than `settle` times what their margin, now `lead`, gained since `earlier`.

    `earlier`: at a quarter of the steps, or -inf, which makes no image too slow.
    """
    return lead + settle * (lead - earlier) < 0
