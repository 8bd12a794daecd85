"""Losses for attacks to climb whose gradients point the same way whatever the scale of the logits: times 35, or times 0.1.

Each takes logits (N, classes), the true classes int64 (N,) and the classes to reach, or None for any wrong one, and returns
one value an image. `margin` and `dlr` are above 0 exactly where the wrong class leads.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Loss = Callable[[Tensor, Tensor, Tensor | None], Tensor]

_TINY = 1e-12  # of a spread of logits: those of 0 alone would divide by 0


def margin(logits: Tensor, labels: Tensor, aims: Tensor | None = None) -> Tensor:
    """The best wrong logit, or that of the aim, less the true one (Carlini and Wagner 2017, https://arxiv.org/abs/1608.04644)."""
    if aims is not None:
        return _chosen(logits, aims) - _chosen(logits, labels)
    return logits.scatter(1, labels.view(-1, 1), -torch.inf).amax(1) - _chosen(logits, labels)


def dlr(logits: Tensor, labels: Tensor, aims: Tensor | None = None) -> Tensor:
    """The margin over the spread of the largest logits (Croce and Hein 2020, https://arxiv.org/abs/2003.01690).

    The spread is that of the first and the third; with aims, that of the first and the mean of the third and the fourth, of
    three classes again the third. Two classes have neither: there it is the margin, and a step needs no more than its sign.
    """
    gap, classes = margin(logits, labels, aims), logits.shape[1]
    if classes < 3:
        return gap
    largest = logits.topk(min(4, classes), dim=1).values
    lower = largest[:, 2] if aims is None or classes == 3 else (largest[:, 2] + largest[:, 3]) / 2
    return gap / (largest[:, 0] - lower + _TINY)


def scaled_margin(logits: Tensor, labels: Tensor, aims: Tensor | None = None) -> Tensor:
    """The margin divided by the present spread of the logits. Unlike the ratio, it does not rise with a wider spread."""
    spread = logits.detach().amax(1) - logits.detach().amin(1)
    return margin(logits, labels, aims) / (spread + _TINY)


def cross_entropy(logits: Tensor, labels: Tensor, aims: Tensor | None = None) -> Tensor:
    """The cross-entropy's gradient for logits that are divided by the lead of the largest one, told as the smooth lead.

    Yu and Xu's MIFPE (analysed in https://arxiv.org/abs/2507.22428): the probabilities are then never rounded to 0 or 1. The
    cross-entropy is log(1 + exp(s)), s the smooth lead; both gradients have the same direction.
    """
    first, second = logits.detach().topk(2, dim=1).values.unbind(1)
    scaled = logits / (first - second).clamp_min(_TINY).view(-1, 1)
    if aims is not None:
        wrong = scaled.scatter(1, aims.view(-1, 1), -torch.inf).logsumexp(1)
        return _chosen(scaled, aims) - wrong
    return scaled.scatter(1, labels.view(-1, 1), -torch.inf).logsumexp(1) - _chosen(scaled, labels)


def nearest(logits: Tensor, labels: Tensor) -> Tensor:
    """The wrong classes of each image, that of the largest logit first: int64 (N, classes - 1)."""
    wrong = logits.scatter(1, labels.view(-1, 1), -torch.inf)
    return torch.argsort(wrong, dim=1, descending=True, stable=True)[:, :-1]


def _chosen(logits: Tensor, classes: Tensor) -> Tensor:
    return logits.gather(1, classes.view(-1, 1)).squeeze(1)
