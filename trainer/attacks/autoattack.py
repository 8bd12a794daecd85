"""AutoAttack's standard cascade: APGD-CE, APGD-T, FAB-T and Square (Croce and Hein 2020, https://arxiv.org/abs/2003.01690)."""

from __future__ import annotations

from typing import Any, TypedDict

import torch
from torch import Tensor, nn

from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.trainer import ball
from skinaudit.trainer.ascent.look import Worst, answer
from skinaudit.trainer.ascent.losses import margin, smooth_lead
from skinaudit.trainer.ascent.starts import check_counts, check_measuring, climb_standing, towards_classes
from skinaudit.trainer.attack_trace import AttackTrace
from skinaudit.trainer.attacks.fab_t import walk_boundaries
from skinaudit.trainer.attacks.square import search

SETTINGS: dict[str, Any] = {"steps": 100, "targets": 9, "queries": 5000, "stop_margin": None, "settle": None}


class _Given(TypedDict):
    """Arguments shared by the parts with gradients."""

    worst: Worst
    threat_model: ThreatModel
    steps: int
    stop_margin: float | None
    settle: float | None


def attack(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    threat_model: ThreatModel,
    generator: torch.Generator,
    steps: int = 100,
    targets: int = 9,
    queries: int = 5000,
    stop_margin: float | None = None,
    settle: float | None = None,
    trace: AttackTrace | None = None,
) -> Tensor:
    """Attack the images that still stand with one attack after another. An image leaves when it is broken.

    steps: of each run of the three attacks with gradients. targets: largest number of wrong classes for two of them.
    queries: of Square. stop_margin: if given, an image leaves during an attack when a wrong class leads by more; for
    measuring, not for storing. settle: only with stop_margin, without a trace, and at least 1. An image then also leaves an
    attack that will probably not break it, and all its target classes are attacked at once. The rules allow for an error of
    this factor; see `hopeless` in `ascent.adaptive`, `walk_boundaries` and `search`. If Square, which sees no gradients,
    then breaks an image that the others did not break, the gradients are misleading, and all run again without settle.
    Shapes and dtypes as in pgd-dlr. Raises InvalidInputError for counts below 1 and for an invalid settle.
    """
    check_counts("autoattack", steps=steps, targets=targets, queries=queries)
    check_measuring("autoattack", settle, stop_margin=stop_margin, trace=trace)
    targets = min(targets, answer(model, images[:1]).shape[1] - 1)
    worst = _OnGrid(model, images, labels, threat_model=threat_model, trace=trace)
    if trace is not None:
        stages = [steps] * (1 + 2 * targets) + [queries]
        trace.open(len(images), stages=stages, device=images.device)

    def with_gradients(settle: float | None) -> None:
        given: _Given = {
            "worst": worst,
            "threat_model": threat_model,
            "steps": steps,
            "stop_margin": stop_margin,
            "settle": settle,
        }
        climb_standing(model, images, labels, loss=smooth_lead, generator=generator, **given)
        towards_classes(model, images, labels, generator=generator, targets=targets, **given)
        walk_boundaries(model, images, labels, targets=targets, **given)

    with_gradients(settle)
    left = len(worst.standing())
    search(
        model, images, worst=worst, threat_model=threat_model, generator=generator, queries=queries, stop_margin=stop_margin,
        settle=settle,
    )  # fmt: skip
    if settle is not None and len(worst.standing()) < left:
        with_gradients(None)
        search(
            model, images, worst=worst, threat_model=threat_model, generator=generator, queries=queries,
            stop_margin=stop_margin,
        )  # fmt: skip
    return worst.images


class _OnGrid(Worst):
    """Like Worst, but a point that succeeds counts, and is kept, as it is after rounding to 8 bit.

    Otherwise an image that is right again after rounding would leave the cascade as broken. Nothing is rounded where the
    clean images are not 8-bit images themselves, or eps is below one step.
    """

    def __init__(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, threat_model: ThreatModel, trace: AttackTrace | None
    ) -> None:
        super().__init__(images, labels, trace=trace)
        self._model, self._threat_model, self._truth = model, threat_model, labels
        self._stored = (images * 255).round().to(torch.uint8)
        self._rounds = threat_model.eps_255 >= 1 and torch.equal(self._stored.float().div_(255), images)

    def meet(self, points: Tensor, logits: Tensor, gradient: Tensor | None = None, *, index: Tensor | None = None) -> Tensor:
        """See Worst; the margins are those after rounding."""
        at = torch.arange(len(self.images), device=points.device) if index is None else index
        lead = margin(logits, self._truth[at])
        ahead = ((lead > 0) & (lead > self.margin[at])).nonzero().squeeze(1)
        if self._rounds and len(ahead):
            grid = ball.to_grid(points[ahead], self._stored[at[ahead]], threat_model=self._threat_model)
            rounded = grid.to(points.dtype).div_(255)
            points = points.index_copy(0, ahead, rounded)
            logits = logits.index_copy(0, ahead, answer(self._model, rounded))
        return super().meet(points, logits, gradient, index=index)
