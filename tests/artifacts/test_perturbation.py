"""eps holds in integers, and one step beyond it is refused by the image's name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from skinaudit.artifacts.adversarial_set import AdversarialSet, open_set
from skinaudit.artifacts.perturbation import check_perturbation, within
from skinaudit.artifacts.threat_model import Norm, ThreatModel
from skinaudit.errors import InvalidInputError

MakeSet = Callable[..., Path]
LINF2 = ThreatModel("linf", Fraction(2))


def pair(
    make_set: MakeSet, folder: Path, *, threat_model: ThreatModel, offset: np.ndarray, **changes: Any
) -> tuple[AdversarialSet, AdversarialSet]:
    """A grey clean set of 300 images and the one perturbed by `offset` int (300, 3, 8, 8)."""
    grey = np.full((300, 3, 8, 8), 100, np.uint8)
    clean = open_set(make_set(folder / "clean", images=grey))
    moved = (grey.astype(int) + offset).astype(np.uint8)
    given_digest = {"clean": clean.images_digest, **changes}
    return open_set(make_set(folder / "pgd", images=moved, threat_model=threat_model, **given_digest)), clean


@pytest.mark.parametrize("eps", [Fraction(2), Fraction(5, 2)])
@pytest.mark.parametrize("sign", [1, -1])
def test_linf_holds_at_eps_and_not_one_step_beyond(make_set: MakeSet, tmp_path: Path, eps: Fraction, sign: int) -> None:
    offset = np.full((300, 3, 8, 8), 2 * sign)
    check_perturbation(*pair(make_set, tmp_path, threat_model=ThreatModel("linf", eps), offset=offset))
    offset[270, 1, 3, 5] += sign
    with pytest.raises(InvalidInputError, match=r"pgd: image bild_270é is outside of linf 2(.5)?/255"):
        check_perturbation(*pair(make_set, tmp_path, threat_model=ThreatModel("linf", eps), offset=offset))


def test_l2_holds_at_eps_and_not_one_step_beyond(make_set: MakeSet, tmp_path: Path) -> None:
    offset = np.zeros((300, 3, 8, 8), int)
    offset[:, 0, 0, 0], offset[:, 2, 7, 7] = 3, -4
    l2 = ThreatModel("l2", Fraction(5))
    check_perturbation(*pair(make_set, tmp_path, threat_model=l2, offset=offset))
    offset[299, 1, 4, 4] = 1
    with pytest.raises(InvalidInputError, match="image bild_299é is outside of l2 5/255"):
        check_perturbation(*pair(make_set, tmp_path, threat_model=l2, offset=offset))


@given(
    norm=st.sampled_from(["linf", "l2"]),
    eps=st.integers(1, 4000).map(lambda steps: Fraction(steps, 8)),
    clean=arrays(np.uint8, (2, 3, 2, 2)),
    moved=arrays(np.uint8, (2, 3, 2, 2)),
)
def test_within_agrees_with_exact_arithmetic(norm: Norm, eps: Fraction, clean: np.ndarray, moved: np.ndarray) -> None:
    inside = within(clean, moved, ThreatModel(norm, eps))
    for answer, first, second in zip(inside, clean.reshape(2, -1).tolist(), moved.reshape(2, -1).tolist(), strict=True):
        difference = [abs(a - b) for a, b in zip(first, second, strict=True)]
        exact = max(difference) <= eps if norm == "linf" else sum(d * d for d in difference) <= eps**2
        assert answer == exact


def test_a_set_of_other_images_is_refused(make_set: MakeSet, tmp_path: Path) -> None:
    adversarial, clean = pair(make_set, tmp_path, threat_model=LINF2, offset=np.zeros((300, 3, 8, 8), int))
    other_images = open_set(make_set(tmp_path / "other", images=np.full((300, 3, 8, 8), 101, np.uint8)))
    check_perturbation(adversarial, clean)
    with pytest.raises(InvalidInputError, match=r"pgd: its images do not come from .*other; use the clean set of its run"):
        check_perturbation(adversarial, other_images)


@pytest.mark.parametrize("change", [{"labels": np.zeros(300, np.int64)}, {"group": np.zeros(300, np.int64)}])
def test_a_set_that_says_other_things_of_the_same_images_is_refused(
    make_set: MakeSet, tmp_path: Path, change: dict[str, Any]
) -> None:
    no_offset = np.zeros((300, 3, 8, 8), int)
    adversarial, clean = pair(make_set, tmp_path, threat_model=LINF2, offset=no_offset, **change)
    with pytest.raises(InvalidInputError, match="labels or image names differ"):
        check_perturbation(adversarial, clean)


def test_the_clean_set_has_nothing_to_prove(make_set: MakeSet, tmp_path: Path) -> None:
    clean = open_set(make_set(tmp_path / "clean"))
    check_perturbation(clean, replace(clean, images_digest="sha256:other"))
