"""Own test beside external validation."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from skinaudit.artifacts.pictures import STATISTICS
from skinaudit.audit.evidence.answers import AnsweredSet
from skinaudit.audit.figures.external import Estimate, ExternalFigure, _of_difference, _same_malignant, looks
from skinaudit.audit.figures.statistics import Interval, wilson_interval


@pytest.mark.parametrize(("rights", "by_chance"), [((280, 275), True), ((280, 200), False), ((200, 280), False)])
def test_chance_explains_a_difference_of_its_own_size(rights: tuple[int, int], by_chance: bool) -> None:
    own, external = (Estimate(right / 400, wilson_interval(right, 400), 400) for right in rights)
    figure = ExternalFigure(
        "clean", "accuracy", own, external, 0.5, own.value - external.value, _of_difference(own, external)
    )
    assert figure.by_chance is by_chance


def test_the_interval_of_a_difference_covers_it_as_often_as_it_says() -> None:
    """MOVER from Wilson's limits is Newcombe's interval (1998, method 10)."""
    generator = np.random.default_rng(0)
    covered = 0
    for first, second in zip(generator.binomial(150, 0.7, 400), generator.binomial(200, 0.6, 400), strict=True):
        own = Estimate(first / 150, wilson_interval(int(first), 150), 150)
        external = Estimate(second / 200, wilson_interval(int(second), 200), 200)
        interval = _of_difference(own, external)
        covered += interval.low <= 0.1 <= interval.high
    assert 0.92 <= covered / 400 <= 0.98


@pytest.mark.parametrize(("shift", "spread", "differs"), [(0, 10, False), (4, 10, False), (15, 10, True), (0, 30, True)])
def test_looks_differ_in_the_middle_or_in_the_ends(shift: float, spread: float, differs: bool) -> None:
    own = np.random.default_rng(0).normal(100, 10, (500, len(STATISTICS))).astype(np.float32)
    external = np.random.default_rng(1).normal(100 + shift, spread, (200, len(STATISTICS))).astype(np.float32)
    differences = looks(STATISTICS, own, external, confidence=0.95)
    assert [look.differs for look in differences] == [differs] * len(STATISTICS)
    assert [look.name for look in differences] == list(STATISTICS)


def test_a_figure_without_an_own_test_has_nothing_to_explain() -> None:
    assert ExternalFigure("clean", "accuracy", None, Estimate(0.5, Interval(0.4, 0.6), 90), 0.5, None, None).by_chance


def test_without_training_pictures_nothing_looks_otherwise() -> None:
    empty = np.empty((0, len(STATISTICS)), np.float32)
    external = np.ones((5, len(STATISTICS)), np.float32)
    assert looks(STATISTICS, empty, external, confidence=0.95) == looks(STATISTICS, external, empty, confidence=0.95) == ()


def of_contract(labels: list[int], answers: list[int], *, malignant: tuple[int, ...] = (0, 1)) -> Any:
    """A set of three classes with these answers; every image is a lesion of its own."""
    contract = SimpleNamespace(malignant_labels=malignant)
    return SimpleNamespace(
        info=SimpleNamespace(contract=contract), labels=np.array(labels), group=np.arange(len(labels)),
        source_logits=np.eye(3, dtype=np.float32)[answers],
    )  # fmt: skip


def same_malignant(own: Any, external: Any) -> ExternalFigure | None:
    answered = SimpleNamespace(
        images=external, title="clean", logits=external.source_logits, source_logits=None, lesions=external.group
    )
    return _same_malignant(cast(AnsweredSet, answered), own, confidence=0.95)


def test_malignant_classes_of_the_own_test_count_as_often_as_they_are_external() -> None:
    """Half of the first class and all of the second are found on both; of the second one there are fewer elsewhere."""
    own = of_contract([0] * 40 + [1] * 40 + [2] * 9, [0] * 20 + [2] * 20 + [1] * 40 + [2] * 9)
    external = of_contract([0] * 40 + [1] * 10, [0] * 20 + [2] * 20 + [0] * 10)
    figure = same_malignant(own, external)
    assert figure is not None
    assert figure.own is not None
    assert (figure.own.value, figure.external.value, figure.engine) == pytest.approx((0.6, 0.6, 0.6))
    assert (figure.own.images, figure.external.images) == (80, 50)
    assert figure.by_chance


def test_a_malignant_class_that_is_lost_elsewhere_is_more_than_chance() -> None:
    own = of_contract([0] * 90 + [1] * 10, [0] * 90 + [1] * 10)
    figure = same_malignant(own, of_contract([0] * 60, [0] * 30 + [2] * 30))
    assert figure is not None
    assert not figure.by_chance
    assert figure.difference == pytest.approx(0.5)


def test_without_a_shared_malignant_class_or_with_one_alone_there_is_no_such_figure() -> None:
    assert same_malignant(of_contract([0, 2], [0, 2]), of_contract([1, 2], [1, 2])) is None
    assert same_malignant(of_contract([0, 2], [0, 2], malignant=(0,)), of_contract([0, 2], [0, 2], malignant=(0,))) is None
