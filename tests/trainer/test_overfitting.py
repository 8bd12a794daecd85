"""Catastrophic overfitting is told from weakness, stops a training, and is never what is kept where there is a choice."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from skinaudit.artifacts.contract import CLASSES
from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.trainer import loop
from skinaudit.trainer.loop import Examples, fit
from skinaudit.trainer.models import build
from skinaudit.trainer.overfitting import ONE_STEP, OVERFITTED, overfitted, overfitting_remark, stopped_by_it
from skinaudit.trainer.recipes import RECIPES, Hardening


@pytest.mark.parametrize(
    ("clean", "one_step", "pgd", "expected"),
    [
        (0.7, 0.68, 0.02, True),  # withstands its own attack alone
        (0.4, 0.6, 0.1, True),  # better attacked than clean, as such models are
        (0.7, 0.62, 0.60, False),  # robust
        (0.73, 0.23, 0.006, False),  # a standard model loses under one step, too
        (0.5, 0.24, 0.11, False),  # weak
        (0.67, 0.67, 0.67, False),  # a constant answer
        (0.0, 0.0, 0.0, False),
    ],
)
def test_it_is_told_from_a_weak_model(clean: float, one_step: float, pgd: float, expected: bool) -> None:
    assert overfitted(clean=clean, one_step=one_step, pgd=pgd) is expected


def record(epoch: int, *, best: bool, **figures: Any) -> dict[str, Any]:
    return {"epoch": epoch, "best": best, ONE_STEP: 0.7, "val_robust_accuracy": 0.05, **figures}


GOOD = record(3, best=True, **{OVERFITTED: False, "val_robust_accuracy": 0.5})


def test_training_stops_where_something_better_is_kept() -> None:
    good, bad = GOOD, record(4, best=False, **{OVERFITTED: True})
    assert stopped_by_it([good, bad])
    assert not stopped_by_it([{**good, "val_robust_accuracy": 0.05}, bad])  # kept, but worth no more
    assert not stopped_by_it([good])
    assert not stopped_by_it([record(3, best=True, **{OVERFITTED: True}), bad])  # it may still recover
    assert not stopped_by_it([])
    assert not stopped_by_it([{"epoch": 1, "best": True}])  # of a training with more steps


def test_the_remark_says_what_was_kept() -> None:
    good, bad = GOOD, record(4, best=False, **{OVERFITTED: True})
    (line,) = overfitting_remark([good, bad], kept=3)
    assert "catastrophic overfitting in epoch 4: validation accuracy 70.0% under the one-step" in line
    assert "5.0% under PGD; training stopped there, and the weights of epoch 3 were kept; use --hardening pgd" in line
    (line,) = overfitting_remark([bad, {**GOOD, "epoch": 5}], kept=5)
    assert "5.0% under PGD; the weights of epoch 5 were kept" in line
    for worthless in ({**bad, "best": True}, {**bad, "best": True, "epoch": 5, OVERFITTED: False}):
        (line,) = overfitting_remark([bad, worthless], kept=worthless["epoch"])
        assert "no epoch at full eps withstands PGD better, so the kept model is useless" in line
    assert overfitting_remark([good], kept=3) == ()


def test_the_epoch_before_the_collapse_is_kept_and_the_training_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The validation answers are planted; the loop is the real one."""
    accuracies = iter([(0.5, 0.3), (0.6, 0.5), (0.7, 0.02), (0.7, 0.6)])  # one step, PGD

    def planted(*_: Any, **__: Any) -> dict[str, Any]:
        one_step, pgd = next(accuracies)
        # a balanced accuracy that alone would prefer the third epoch
        return {
            "val_accuracy": 0.7, "val_one_class": False, ONE_STEP: one_step, "val_robust_accuracy": pgd, "monitor": one_step,
        }  # fmt: skip

    monkeypatch.setattr(loop, "_validate", planted)
    images = np.random.default_rng(0).integers(0, 256, (16, 3, 32, 32), dtype=np.uint8)
    examples = Examples(images, np.arange(16) % 7)
    model: nn.Module = build("mobilenet", width=0.1, size=32)
    hardening = Hardening(ThreatModel("linf", Fraction(4)), steps=1, ramp=0.25, method="fgsm-rs")
    history = fit(
        model, examples, examples, classes=CLASSES, recipe=replace(RECIPES["default"], epochs=4, batch=16),
        hardening=hardening, seed=0, folder=tmp_path, resume=False, settings_digest="x",
    )  # fmt: skip
    assert [epoch["best"] for epoch in history] == [True, True, False]
    assert [epoch[OVERFITTED] for epoch in history] == [False, False, True]
