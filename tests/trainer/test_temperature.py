"""The temperature of logits that were drawn at a known one, and the model that is divided by it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from skinaudit.errors import InvalidInputError
from skinaudit.trainer.models import build
from skinaudit.trainer.temperature import cool, fit_temperature, negative_log_likelihood


def test_the_temperature_that_made_the_labels_is_found() -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 4, (20_000, 3)).astype(np.float32)
    noise = generator.gumbel(size=logits.shape)
    labels = (logits / 2.5 + noise).argmax(axis=1)  # drawn from the softmax at temperature 2.5
    fitted = fit_temperature(logits, labels)
    assert fitted.value == pytest.approx(2.5, rel=0.03)
    assert fitted.after < fitted.before
    for value in (fitted.value * 0.99, fitted.value * 1.01):
        assert negative_log_likelihood(logits.astype(np.float64) / value, labels) > fitted.after


@pytest.mark.parametrize("arch", ["mobilenet", "mobilenet_v2", "vgg16"])
def test_a_cooled_model_answers_divided_logits(arch: str) -> None:
    torch.manual_seed(0)
    model = build(arch, width=0.1, classes=7, size=32).eval()
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        before = model(images)
        cool(model, 2.0)
        torch.testing.assert_close(model(images), before / 2)


def test_a_model_that_ends_otherwise_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="Conv2d"):
        cool(torch.nn.Sequential(torch.nn.Conv2d(3, 7, 1)), 2.0)
