"""What the source model answers: in slices as in one piece, and counted right."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.trainer.evaluate import accuracies, logits_of, one_class, pgd_predictions, slices, to_pixels
from skinaudit.trainer.models import build, folded


@given(count=st.integers(0, 200), size=st.integers(1, 60))
def test_slices_cover_a_range_in_order(count: int, size: int) -> None:
    parts = list(slices(count, size))
    assert [index for part in parts for index in range(part.start, part.stop)] == list(range(count))
    assert all(part.stop - part.start == size for part in parts[:-1])


def test_pixels_are_divided_by_255_exactly_as_float32() -> None:
    every_value = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    pixels = to_pixels(every_value, device=torch.device("cpu")).numpy()
    assert np.array_equal(pixels, every_value.astype(np.float32) / np.float32(255))


@pytest.fixture(scope="module")
def model() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return folded(build("mobilenet", width=0.25, size=32))


IMAGES = np.random.default_rng(0).integers(0, 256, (10, 3, 32, 32), dtype=np.uint8)


@pytest.mark.parametrize("batch", [1, 3, 10, 50])
def test_the_batch_size_does_not_matter(model: nn.Module, batch: int) -> None:
    logits = logits_of(model, IMAGES, batch=batch)
    assert logits.dtype == np.float32
    assert logits.shape == (10, 7)
    np.testing.assert_allclose(logits, logits_of(model, IMAGES), rtol=1e-4, atol=1e-6)


def test_predictions_under_attack_are_worse_and_repeatable() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 7))
    nn.init.normal_(model[1].weight, generator=torch.Generator().manual_seed(0))
    labels = logits_of(model, IMAGES).argmax(1)
    steps: list[tuple[int, int]] = []
    settings = {"threat_model": ThreatModel("linf", Fraction(32)), "steps": 10, "seed": 1, "batch": 4}
    first = pgd_predictions(model, IMAGES, labels, progress=lambda *step: steps.append(step), **settings)  # type: ignore[arg-type]
    again = pgd_predictions(model, IMAGES, labels, **settings)  # type: ignore[arg-type]
    assert np.array_equal(first, again)
    assert (first != labels).mean() > 0.5
    assert steps == [(4, 10), (8, 10), (10, 10)]


def test_accuracy_and_balanced_accuracy_of_a_constant_answer() -> None:
    labels = np.array([1] * 6 + [0] * 3 + [4])
    figures = accuracies(np.ones(10, np.int64), labels, classes=7)
    assert figures == {"accuracy": 0.6, "balanced_accuracy": pytest.approx(1 / 3)}
    assert accuracies(labels, labels, classes=7) == {"accuracy": 1.0, "balanced_accuracy": 1.0}


@pytest.mark.parametrize(
    ("other_answers", "constant"), [(0, True), (9, True), (10, False), (40, False)]
)  # of 40 images of other classes
def test_a_model_that_names_other_classes_too_rarely_answers_one_class(other_answers: int, constant: bool) -> None:
    labels = np.array([1] * 60 + [0] * 30 + [4] * 10)
    predictions = np.array([1] * (100 - other_answers) + [0] * other_answers)
    assert one_class(predictions, labels) == ((1, (100 - other_answers) / 100) if constant else None)


def test_one_answer_is_right_where_all_images_are_of_one_class() -> None:
    assert one_class(np.full(5, 2), np.full(5, 2)) is None
    assert one_class(np.full(5, 3), np.full(5, 2)) == (3, 1.0)
