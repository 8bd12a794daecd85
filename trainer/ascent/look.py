"""Evaluation of points of an attack: gradient of a loss, and the worst point of each image so far."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.trainer import ball
from skinaudit.trainer.ascent.losses import Loss, margin
from skinaudit.trainer.attack_trace import AttackTrace

CPU_PIXELS = 125 * 64 * 64
"""Pixels per gradient computation on a CPU.

With more pixels, the activations of a MobileNet exceed the 32 MiB up to which glibc keeps freed memory. New pages for every
layer then take 1.5 times as long.
"""


def pieces_of(images: Tensor) -> int:
    """Number of pieces into which a batch (N, 3, H, W) is cut for gradients; see CPU_PIXELS."""
    return max(1, math.ceil(images[:, 0].numel() / CPU_PIXELS)) if images.device.type == "cpu" else 1


def look(
    model: nn.Module, points: Tensor, labels: Tensor, loss: Loss, *, aims: Tensor | None = None, targeted: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradient (N, 3, H, W) of the loss to increase, this loss (N,), and the logits (N, classes) at the points.

    aims: target classes of the loss. targeted: `labels` are the target classes, so the loss is negated.
    """
    results = []
    pieces = pieces_of(points)
    aimed = [None] * pieces if aims is None else aims.chunk(pieces)
    for part, truth, aim in zip(points.chunk(pieces), labels.chunk(pieces), aimed, strict=False):
        with torch.enable_grad():
            # The leaf stays NCHW: normalising is faster in this order, and a channels-last convolution converts it itself.
            leaf = part.detach().requires_grad_()
            logits = model(leaf)
            value = -loss(logits, truth, aim) if targeted else loss(logits, truth, aim)
            gradient = torch.autograd.grad(value.sum(), leaf)[0]
        results.append((gradient, value.detach(), logits.detach()))
    gradients, values, answers = zip(*results, strict=True)
    return torch.cat(gradients), torch.cat(values), torch.cat(answers)


@torch.no_grad()
def answer(model: nn.Module, points: Tensor) -> Tensor:
    """The logits (N, classes) at the points, without gradients."""
    logits: Tensor = model(points.contiguous(memory_format=torch.channels_last))
    return logits


def push_unmoved(
    model: nn.Module, images: Tensor, labels: Tensor, *, worst: Worst, threat_model: ThreatModel, targeted: bool = False
) -> None:
    """Move images whose worst point is still the clean one, such as misclassified ones, by one full step."""
    index = (worst.images == images).flatten(1).all(1).nonzero().squeeze(1)
    if not len(index):
        return
    clean = images[index]
    gradient, _, _ = look(model, clean, labels[index], margin, targeted=targeted)
    moved = ball.step(clean, gradient, threat_model=threat_model, size=threat_model.eps)
    moved = ball.project(moved, clean, threat_model=threat_model)
    worst.meet(moved, answer(model, moved), index=index)


class Worst:
    """For each image, the point with the greatest margin that an attack has evaluated. Updated while the attack runs.

    images: (N, 3, H, W), at first the clean ones. margin: (N,), lead of the best wrong logit over the true one at that
    point, or of the label's logit if `targeted`; above 0 the attack has succeeded. logits: (N, classes) at that point, empty
    before the first evaluation. The choice of the worst point does not depend on the scale of the logits.
    """

    def __init__(self, images: Tensor, labels: Tensor, *, targeted: bool = False, trace: AttackTrace | None = None) -> None:
        self.images = images.clone()
        self.margin = torch.full((len(images),), -torch.inf, device=images.device)
        self.logits = torch.empty(0, device=images.device)
        self._labels, self._targeted, self._trace = labels, targeted, trace

    def meet(self, points: Tensor, logits: Tensor, gradient: Tensor | None = None, *, index: Tensor | None = None) -> Tensor:
        """Record points (n, 3, H, W) of all images, or of those in `index`, with the model's answers.

        Without a trace, `index` may name an image several times. Returns the margin (n,) of each point.
        """
        at = torch.arange(len(self.images), device=points.device) if index is None else index
        labels = self._labels[at]
        lead = margin(logits, labels)
        smooth = logits.double().scatter(1, labels.view(-1, 1), -torch.inf).logsumexp(1)
        smooth -= logits.gather(1, labels.view(-1, 1)).squeeze(1)
        if self._targeted:
            lead, smooth = -lead, -smooth
        if self._trace is not None:
            self._trace.note(smooth, lead > 0, gradient, torch.zeros_like(lead, dtype=torch.bool), index=index)
        if not len(self.logits):
            self.logits = torch.zeros(len(self.images), logits.shape[1], device=points.device)
        best = self.margin.scatter_reduce(0, at, lead, "amax")
        better = (lead > self.margin[at]) & (lead == best[at])
        place = at[better]
        self.images[place], self.margin[place], self.logits[place] = points[better], lead[better], logits[better]
        return lead

    def standing(self) -> Tensor:
        """Ascending indices of the images that are not broken yet."""
        return (self.margin <= 0).nonzero().squeeze(1)

    def within_reach(self, before: Tensor, share: float) -> Tensor:
        """Those of `standing` that miss at most this share of what their margin gained since `before` (N,).

        If the margin rises evenly, a radius that is larger by this share breaks them.
        """
        missing = -self.margin
        return ((missing >= 0) & (missing <= share * (self.margin - before))).nonzero().squeeze(1)
