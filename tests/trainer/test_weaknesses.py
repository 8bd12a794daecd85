"""A kept model that is worth nothing is named, with what to change, and a good one is not."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from skinaudit.artifacts.adversarial_set import AdversarialSet, open_set
from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.trainer.recipes import Hardening
from skinaudit.trainer.weaknesses import weaknesses

LINF4 = ThreatModel("linf", Fraction(4))
HARDENING = Hardening(LINF4, warm_up=0.4)
LABELS = np.arange(28) % 7
MIXED = {"val_one_class": False}


def opened(make_set: Callable[..., Path], path: Path, answers: np.ndarray, **changes: object) -> AdversarialSet:
    logits = np.eye(7, dtype=np.float32)[answers]
    return open_set(make_set(path, count=28, labels=LABELS, source_logits=logits, **changes))


def constant_under_attack(make_set: Callable[..., Path], folder: Path) -> tuple[AdversarialSet, AdversarialSet]:
    """Right on all clean images, and one answer for all attacked ones."""
    clean = opened(make_set, folder / "clean.safetensors", LABELS)
    attacked = opened(
        make_set, folder / "pgd.safetensors", np.ones(28, np.int64), threat_model=LINF4
    )  # fmt: skip
    return clean, attacked


def test_a_model_that_answers_one_class_is_named_with_that_class(make_set: Callable[..., Path], tmp_path: Path) -> None:
    clean = opened(make_set, tmp_path / "clean.safetensors", np.ones(28, np.int64))
    (line,) = weaknesses(clean, [], kept={"val_one_class": True}, hardening=None)
    assert line.startswith("the model predicts nv for 100.0% of the clean test images")


def test_validation_images_can_show_it_alone(make_set: Callable[..., Path], tmp_path: Path) -> None:
    clean = opened(make_set, tmp_path / "clean.safetensors", LABELS)
    assert weaknesses(clean, [], kept=MIXED, hardening=None) == ()
    (line,) = weaknesses(clean, [], kept={"val_one_class": True}, hardening=None)
    assert line.startswith("the model predicts one class for nearly all clean validation images")


def test_hardening_that_is_no_better_than_a_constant_answer_failed(make_set: Callable[..., Path], tmp_path: Path) -> None:
    clean, attacked = constant_under_attack(make_set, tmp_path)
    (line,) = weaknesses(clean, [attacked], kept=MIXED, hardening=HARDENING)
    assert line.startswith(
        "no better than always answering one class, whose balanced accuracy is 14.3%: it has 14.3% on pgd linf 4/255; "
    )
    assert weaknesses(clean, [attacked], kept=MIXED, hardening=None) == ()  # a standard model promises nothing


def test_a_standard_model_below_a_constant_answer_is_named_too(make_set: Callable[..., Path], tmp_path: Path) -> None:
    clean = opened(make_set, tmp_path / "clean.safetensors", (LABELS + 1) % 7)
    (line,) = weaknesses(clean, [], kept=MIXED, hardening=None)
    assert "whose balanced accuracy is 14.3%: it has 0.0% on clean; train longer" in line


def test_hardening_that_held_has_no_weakness(make_set: Callable[..., Path], tmp_path: Path) -> None:
    clean = opened(make_set, tmp_path / "clean.safetensors", LABELS)
    answers = np.where(np.arange(28) < 14, LABELS, 0)
    attacked = opened(make_set, tmp_path / "pgd.safetensors", answers, threat_model=LINF4)
    assert weaknesses(clean, [attacked], kept=MIXED, hardening=HARDENING) == ()


@pytest.mark.parametrize(
    ("hardening", "advice"),
    [
        (Hardening(LINF4, steps=1, warm_up=0.4), "overfit to a one-step attack: use --hardening pgd --steps 3"),
        (Hardening(LINF4, steps=3, warm_up=0.0), "give --warm-up 0.4, or a finished standard run as --weights"),
        (HARDENING, "train longer (--epochs), on more images, with a smaller --eps"),
    ],
)
def test_the_advice_fits_the_hardening(
    make_set: Callable[..., Path], tmp_path: Path, hardening: Hardening, advice: str
) -> None:
    clean, attacked = constant_under_attack(make_set, tmp_path)
    (line,) = weaknesses(clean, [attacked], kept=MIXED, hardening=hardening)
    assert advice in line
