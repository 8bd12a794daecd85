"""Catastrophic overfitting: a model that withstands only the one-step attack of its training.

Wong et al. 2020, https://arxiv.org/abs/2001.03994; Andriushchenko and Flammarion 2020, https://arxiv.org/abs/2007.02617
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

OVERFITTED = "val_overfitted"
ONE_STEP = "val_one_step_accuracy"
_HALF = 0.5


def overfitted(*, clean: float, one_step: float, pgd: float) -> bool:
    """Whether these accuracies on the same images show that a model overfitted to the one-step attack.

    Such a model keeps at least half of its clean accuracy under one step, and less than half of that under PGD. A model that
    is just weak also loses under one step.
    """
    return one_step >= _HALF * clean and pgd < _HALF * one_step


def stopped_by_it(history: Sequence[Mapping[str, Any]]) -> bool:
    """Whether to stop: the last epoch overfitted, and a better one that did not is kept."""
    if not history or not history[-1].get(OVERFITTED):
        return False
    return any(past["best"] and _is_better(past, history[-1]) for past in history)


def overfitting_remark(history: Sequence[Mapping[str, Any]], *, kept: int) -> tuple[str, ...]:
    """A sentence with advice if an epoch overfitted; else None. kept: number of the epoch that was kept."""
    first = next((epoch for epoch in history if epoch.get(OVERFITTED)), None)
    if first is None:
        return ()
    outcome = (
        "no epoch at full eps withstands PGD better, so the kept model is useless"
        if not _is_better(next(epoch for epoch in history if epoch["epoch"] == kept), first)
        else f"training stopped there, and the weights of epoch {kept} were kept"
        if history[-1] is first
        else f"the weights of epoch {kept} were kept"
    )
    return (
        f"catastrophic overfitting in epoch {first['epoch']}: validation accuracy {first[ONE_STEP]:.1%} under the one-step"
        f" attack of the training, {first['val_robust_accuracy']:.1%} under PGD; {outcome}; use --hardening pgd or trades"
        " with --steps 3, or a smaller --eps",
    )


def _is_better(epoch: Mapping[str, Any], collapsed: Mapping[str, Any]) -> bool:
    """Whether an epoch did not overfit and is more accurate under PGD than one that did."""
    return not epoch.get(OVERFITTED) and epoch["val_robust_accuracy"] > collapsed["val_robust_accuracy"]
