"""Losses for attacks. All but `smooth_lead` keep the direction of their gradient if the logits are scaled, as by 35 or 0.1.

Each takes logits (N, classes), the true classes int64 (N,) and the target classes, or None for any wrong class, and returns
one value per image. `margin` and `dlr` are above 0 exactly if the wrong class leads.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Loss = Callable[[Tensor, Tensor, Tensor | None], Tensor]

_TINY = 1e-12  # smallest spread of the logits; avoids a division by 0 if all are 0


def margin(logits: Tensor, labels: Tensor, aims: Tensor | None = None) -> Tensor:
    """Best wrong logit, or logit of the aim, minus the true logit (Carlini and Wagner, https://arxiv.org/abs/1608.04644)."""
    if aims is not None:
        return _chosen(logits, aims) - _chosen(logits, labels)
    return logits.scatter(1, labels.view(-1, 1), -torch.inf).amax(1) - _chosen(logits, labels)


def dlr(logits: Tensor, labels: Tensor, aims: Tensor | None = None) -> Tensor:
    """The margin divided by the spread of the largest logits (Croce and Hein 2020, https://arxiv.org/abs/2003.01690).

    The spread is the first minus the third largest logit. With aims it is the first minus the mean of the third and the
    fourth. If the true class is third or lower, the image is broken already. The ratio is then 1, or it could rise just
    because the spread shrinks. So the spread counts as a constant there. With two classes, and with three and aims, the
    spread depends on no further logit, so the ratio could rise although the aim comes no nearer, or be -1 everywhere. The
    margin itself is returned then, because a step needs only its sign.
    """
    gap, classes = margin(logits, labels, aims), logits.shape[1]
    if classes < (3 if aims is None else 4):
        return gap
    largest = logits.topk(min(4, classes), dim=1).values
    if aims is not None:
        return gap / (largest[:, 0] - (largest[:, 2] + largest[:, 3]) / 2 + _TINY)
    spread = largest[:, 0] - largest[:, 2] + _TINY
    return gap / torch.where(_chosen(logits, labels) <= largest[:, 2], spread.detach(), spread)


def scaled_margin(logits: Tensor, labels: Tensor, aims: Tensor | None = None) -> Tensor:
    """The margin divided by the current spread of the logits, which is treated as a constant.

    A wider spread alone therefore does not increase this loss.
    """
    spread = logits.detach().amax(1) - logits.detach().amin(1)
    return margin(logits, labels, aims) / (spread + _TINY)


def cross_entropy(logits: Tensor, labels: Tensor, aims: Tensor | None = None) -> Tensor:
    """Cross-entropy of logits divided by the lead of the largest logit, returned as the smooth lead.

    Yu and Xu's MIFPE (analysed in https://arxiv.org/abs/2507.22428): the probabilities are then never rounded to 0 or 1. The
    cross-entropy is log(1 + exp(s)) with the smooth lead s, so both gradients have the same direction. With two classes the
    smooth lead is the margin, which is returned as it is: rescaled, it would be -1 or 1 at every point.
    """
    if logits.shape[1] == 2:
        return margin(logits, labels, aims)
    first, second = logits.detach().topk(2, dim=1).values.unbind(1)
    return smooth_lead(logits / (first - second).clamp_min(_TINY).view(-1, 1), labels, aims)


def smooth_lead(logits: Tensor, labels: Tensor, aims: Tensor | None = None) -> Tensor:
    """Logarithm of the summed exponentials of the wrong logits, minus the true logit; with aims, the other way round.

    The cross-entropy is log(1 + exp(s)) with the smooth lead s. So the gradients have the same direction, and the same
    points are better; but a probability that is rounded to 0 or 1 does no harm.
    """
    if aims is not None:
        others = logits.scatter(1, aims.view(-1, 1), -torch.inf).logsumexp(1)
        return _chosen(logits, aims) - others
    return logits.scatter(1, labels.view(-1, 1), -torch.inf).logsumexp(1) - _chosen(logits, labels)


def nearest(logits: Tensor, labels: Tensor) -> Tensor:
    """The wrong classes of each image, the one with the largest logit first: int64 (N, classes - 1)."""
    wrong = logits.scatter(1, labels.view(-1, 1), -torch.inf)
    return torch.argsort(wrong, dim=1, descending=True, stable=True)[:, :-1]


def _chosen(logits: Tensor, classes: Tensor) -> Tensor:
    return logits.gather(1, classes.view(-1, 1)).squeeze(1)
