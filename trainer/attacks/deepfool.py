"""DeepFool: repeated steps to the nearest of the linearised decision boundaries (Moosavi-Dezfooli et al. 2016).

https://arxiv.org/abs/1511.04599
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.errors import InvalidInputError
from skinaudit.trainer import ball
from skinaudit.trainer.ascent.boundary import length, stretched, to_hyperplane
from skinaudit.trainer.ascent.look import Worst, answer, pieces_of, push_unmoved
from skinaudit.trainer.ascent.losses import margin, nearest
from skinaudit.trainer.attack_trace import AttackTrace

SETTINGS: dict[str, Any] = {"steps": 50, "overshoot": 0.02, "targets": 9}


def attack(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    threat_model: ThreatModel,
    generator: torch.Generator,
    steps: int = 50,
    overshoot: float = 0.02,
    targets: int = 9,
    trace: AttackTrace | None = None,
) -> Tensor:
    """Move each image across the nearest boundary to one of its nearest wrong classes until it is misclassified.

    targets: largest number of wrong classes to consider. DeepFool looks for the smallest move that causes a
    misclassification, which ends on the boundary. Returns for each image the point of greatest margin in the ball; that move
    stretched to all of eps is one candidate. Shapes and dtypes as in pgd-dlr. Deterministic; the generator is not used.
    Raises InvalidInputError for settings out of range.
    """
    if steps < 1 or targets < 1 or overshoot < 0:
        raise InvalidInputError(
            f"deepfool: steps {steps}, targets {targets}, overshoot {overshoot}: the counts must be positive, and the "
            "overshoot at least 0"
        )
    worst = Worst(images, labels, trace=trace)
    if trace is not None:
        trace.open(len(images), stages=[steps], device=images.device)
    aims = nearest(answer(model, images), labels)[:, :targets]
    moved, index = images, torch.arange(len(images), device=images.device)
    ends = images.clone()
    for _ in range(steps):
        gradients, gaps, logits = _boundaries(model, moved[index], labels[index], aims[index])
        points, clean = moved[index], images[index]
        _meet_inside(worst, points, clean, logits, gradients[:, 0], index, threat_model)
        going = margin(logits, labels[index]) <= 0
        index, points, clean = index[going], points[going], clean[going]
        if not len(index):
            break
        step = _shortest(points, gradients[going], gaps[going], norm=threat_model.norm)
        moved = moved.clone()
        moved[index] = (clean + (1 + overshoot) * (points + step - clean)).clamp(0, 1)
        ends[index] = moved[index]
    for end in (ball.project(ends, images, threat_model=threat_model), stretched(ends, images, threat_model=threat_model)):
        worst.meet(end, answer(model, end))
    push_unmoved(model, images, labels, worst=worst, threat_model=threat_model)
    return worst.images


def _meet_inside(
    worst: Worst, points: Tensor, clean: Tensor, logits: Tensor, gradient: Tensor, index: Tensor, threat_model: ThreatModel
) -> None:
    inside = length(points - clean, norm=threat_model.norm) <= threat_model.eps * (1 + 1e-6)
    worst.meet(points[inside], logits[inside], gradient[inside], index=index[inside])


def _boundaries(model: nn.Module, points: Tensor, labels: Tensor, aims: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients (N, aims, 3, H, W) of each aim's lead over the true class, these leads (N, aims), and the logits."""
    results = []
    pieces = pieces_of(points)
    for part, truth, aim in zip(points.chunk(pieces), labels.chunk(pieces), aims.chunk(pieces), strict=True):
        with torch.enable_grad():
            leaf = part.detach().requires_grad_()
            logits = model(leaf)
            gaps = logits.gather(1, aim) - logits.gather(1, truth.view(-1, 1))
            gradients = [
                torch.autograd.grad(gap.sum(), leaf, retain_graph=number + 1 < aim.shape[1])[0]
                for number, gap in enumerate(gaps.unbind(1))
            ]
        results.append((torch.stack(gradients, dim=1), gaps.detach(), logits.detach()))
    parts = zip(*results, strict=True)
    gradients_of, gaps_of, logits_of = (torch.cat(part) for part in parts)
    return gradients_of, gaps_of, logits_of


def _shortest(points: Tensor, gradients: Tensor, gaps: Tensor, *, norm: str) -> Tensor:
    """The shortest of the moves to the boundaries: (N, 3, H, W)."""
    dual = gradients.flatten(2).norm(dim=2, p=1 if norm == "linf" else 2).clamp_min(1e-12)
    closest = (gaps.abs() / dual).argmin(1)
    rows = torch.arange(len(points), device=points.device)
    return to_hyperplane(points, gradients[rows, closest], gaps[rows, closest], norm=norm)
