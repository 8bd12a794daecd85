from __future__ import annotations

import numpy as np
import pytest

from skinaudit.artifacts.logits import predictions
from skinaudit.audit.figures import metrics
from skinaudit.audit.figures.metrics import Hits
from skinaudit.errors import EngineError, InvalidInputError


def indices(*values: int) -> metrics.Indices:
    return np.array(values, np.int64)


def test_figures_of_a_table_done_by_hand() -> None:
    labels = indices(0, 0, 1, 1, 1, 1, 4)
    predicted = indices(0, 1, 1, 1, 1, 0, 3)
    assert metrics.accuracy(predicted, labels) == pytest.approx(4 / 7)
    assert metrics.hits_per_class(predicted, labels, 5) == (Hits(1, 2), Hits(3, 4), Hits(0, 0), Hits(0, 0), Hits(0, 1))
    assert metrics.balanced_accuracy(predicted, labels) == pytest.approx((1 / 2 + 3 / 4 + 0) / 3)
    assert metrics.classes_present(labels) == (0, 1, 4)
    assert metrics.constant_balanced_accuracy(labels) == pytest.approx(1 / 3)
    assert metrics.majority_class(labels) == (1, pytest.approx(4 / 7))


def test_a_confusion_counts_labels_by_answers() -> None:
    counts = metrics.confusion(indices(0, 1, 1, 1, 2), indices(0, 0, 0, 1, 0), 3)
    assert counts.tolist() == [[1, 2, 1], [0, 1, 0], [0, 0, 0]]
    with pytest.raises(InvalidInputError):
        metrics.confusion(indices(), indices(), 3)


def test_an_absent_class_has_no_sensitivity() -> None:
    assert metrics.hits_per_class(indices(0), indices(0), 2)[1].share is None


def test_every_constant_answer_gets_the_constant_balanced_accuracy() -> None:
    labels = indices(0, 0, 0, 1, 2, 2)
    for answer in (0, 1, 2):
        constant = np.full(len(labels), answer)
        assert metrics.balanced_accuracy(constant, labels) == pytest.approx(metrics.constant_balanced_accuracy(labels))


def test_attack_success_counts_only_what_was_right_on_clean_images() -> None:
    labels = indices(0, 1, 2, 3)
    clean = indices(0, 1, 2, 0)
    attacked = indices(0, 2, 0, 0)
    assert metrics.attack_success(clean, attacked, labels) == Hits(2, 3)
    assert metrics.attack_success(indices(1, 0, 0, 0), attacked, labels) == Hits(0, 0)


def test_only_malignant_images_that_were_called_malignant_can_turn_benign() -> None:
    malignant = (0, 2)
    labels = indices(0, 0, 0, 2, 2, 1, 0)
    source = indices(0, 0, 1, 2, 0, 1, 0)
    engine = indices(1, 2, 1, 1, 3, 0, 0)
    # lost: first, fourth and fifth, which the source calls another cancer. Not: another cancer now; wrong before; benign.
    turned = metrics.turned_benign(np.isin(source, malignant), engine, labels, malignant)
    assert np.flatnonzero(turned).tolist() == [0, 3, 4]
    assert metrics.flips(source, engine) == 5
    assert metrics.malignant_sensitivity(engine, labels, malignant) == Hits(2, 6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_never_an_answer(bad: float) -> None:
    logits = np.zeros((4, 3), np.float32)
    logits[2, 1] = bad
    with pytest.raises(EngineError, match=r"1 of 4 images have NaN or infinity, first at image 2"):
        predictions(logits)


def test_logits_of_another_shape_are_refused() -> None:
    with pytest.raises(EngineError, match="shape"):
        predictions(np.zeros(3, np.float32))


def test_figures_over_nothing_are_refused() -> None:
    no_labels = np.zeros(0, np.int64)
    for figure in (metrics.accuracy, metrics.balanced_accuracy):
        with pytest.raises(InvalidInputError, match="not empty"):
            figure(no_labels, no_labels)
    with pytest.raises(InvalidInputError, match="not empty"):
        metrics.majority_class(no_labels)
