"""Signs of a broken attack, on curves that were made up."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from skinaudit.artifacts.threat_model import Norm, ThreatModel, parse_eps
from skinaudit.commands.library.broken_attacks import signs_of
from skinaudit.trainer.sweep import Point

IMAGES = 100


def point(attack: str, eps: str, standing: int, *, steps: int | None = None, norm: Norm = "linf") -> Point:
    """An attack that the first `standing` of IMAGES withstand."""
    alone = attack == "square"
    return Point(attack, ThreatModel(norm, parse_eps(eps)), steps, alone, np.arange(IMAGES) < standing)


def curve(attack: str, *standing: int, norm: Norm = "linf") -> list[Point]:
    """Radii of 1, 2, 4, ... 8-bit steps."""
    return [point(attack, f"{2**place}/255", count, norm=norm) for place, count in enumerate(standing)]


def kinds(by_eps: list[Point], by_steps: list[Point] | None = None) -> list[tuple[str, str, str, int | None]]:
    return [(sign.attack, sign.kind, sign.eps, sign.steps) for sign in signs_of(by_eps, by_steps or [])]


def test_an_honest_curve_shows_nothing() -> None:
    assert kinds(curve("pgd", 70, 66, 50, 20, 3, 0)) == []


def test_one_image_more_is_no_sign_and_six_are() -> None:
    assert kinds(curve("pgd", 60, 50, 51)) == []
    assert kinds(curve("pgd", 60, 50, 56)) == [("pgd", "rising", "4/255", None)]


def test_a_curve_that_stays_where_it_is() -> None:
    assert kinds(curve("pgd", 60, 40, 40)) == [("pgd", "flat", "4/255", None)]
    assert kinds(curve("pgd", 60, 10, 10)) == []  # few are left, and they may be far from the boundary
    near = [point("pgd", "4/255", 40), point("pgd", "5/255", 40)]
    assert kinds(near) == []


def test_what_stands_in_a_ball_that_holds_nearly_every_picture() -> None:
    assert kinds(curve("pgd", 90, 80, 60, 40, 20, 6)) == [("pgd", "never zero", "32/255", None)]
    assert kinds(curve("pgd", 90, 80, 60, 40, 20, 5)) == []
    assert kinds(curve("pgd", 90, 80, 60, 40, 20, 6, norm="l2")) == []


def test_an_attack_without_gradients_breaks_more() -> None:
    by_eps = [*curve("pgd", 70, 60), *curve("square", 70, 50)]
    assert kinds(by_eps) == [("pgd", "beaten without gradients", "2/255", None)]
    assert kinds([*curve("pgd", 70, 50), *curve("square", 70, 60)]) == []
    other_ball = [*curve("pgd", 70, 60), *curve("square", 70, 50, norm="l2")]
    assert kinds(other_ball) == []


def test_steps_that_undo_and_steps_that_do_not_suffice() -> None:
    def by_steps(*standing: int) -> list[Point]:
        return [point("pgd", "4/255", count, steps=10 * 2**place) for place, count in enumerate(standing)]

    assert kinds([], by_steps(50, 45, 44)) == []
    assert kinds([], by_steps(40, 50, 48)) == [("pgd", "rising", "4/255", 20)]
    assert kinds([], by_steps(60, 50, 40)) == [("pgd", "still falling", "4/255", 40)]


def test_a_sign_says_its_figures() -> None:
    (sign,) = signs_of(curve("pgd", 60, 50, 56), [])
    assert "56.0% stand at linf 4/255, 50.0% at linf 2/255" in sign.text
    assert sign.place == ("pgd", "4/255", None)
