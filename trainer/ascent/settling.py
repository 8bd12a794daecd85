"""Which images an attack on the smooth lead will not break any more, so that measuring need not go on with them."""

from __future__ import annotations

from torch import Tensor

SURE = 0.2
"""Share of the steps after which images may settle. After the first large step, the gradient of a model that was hardened
with few steps can be nearly 0, though later steps break the image.
"""

_OF_ONE_CLASS = 4.0
"""How many times the gain of the smooth lead a single class is allowed."""


def settled(smooth: Tensor, gain: Tensor, *, first: Tensor, largest: Tensor, share: float) -> Tensor:
    """Which images (N,) stay right even if the ball gives `share` times the `gain` of a linear lead, and are far from wrong.

    smooth: the smooth lead at the present points: the logarithm of the summed exponentials of the wrong logits, minus the
    true logit. An image can be wrong only if it is above 0. gain: of the smooth lead in the rest of the ball, if it were
    linear; the convergence criterion of Wang et al. 2019 (https://arxiv.org/abs/2112.08304). first, largest: the lead of the
    best wrong logit at the start of the attack, and its largest value since.

    The smooth lead of many images that no attack breaks is above 0, because several wrong classes are about equal. So the
    largest lead counts, too, with four times `share`, because the gain of a single class may be larger. For the first rule
    an image must also miss more than half of what the attack has gained so far, for the second more than all of it.
    """
    missing, gained = -largest, largest - first
    far = (smooth + share * gain < 0) & (missing > gained / 2)
    return far | ((largest + _OF_ONE_CLASS * share * gain < 0) & (missing > gained))


def too_slow(lead: Tensor, earlier: Tensor, settle: float) -> Tensor:
    """Images (n,) that miss more than `settle` times what their margin, now `lead`, gained since `earlier`.

    `earlier`: at a quarter of the steps, or -inf, which makes no image too slow.
    """
    return lead + settle * (lead - earlier) < 0
