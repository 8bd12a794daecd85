"""Temperature scaling: logits are divided by one number, fitted on validation images, inside the last layer.

Guo, Pleiss, Sun, Weinberger, On Calibration of Modern Neural Networks, ICML 2017, https://arxiv.org/abs/1706.04599.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from skinaudit.errors import InvalidInputError

LARGEST = 20.0
"""Temperatures are searched from 1 / LARGEST to LARGEST. A result at an end means that the images determine none."""

_GOLDEN = (math.sqrt(5) - 1) / 2
_STEPS = 60


@dataclass(frozen=True)
class Temperature:
    """The divisor of the logits, and the mean negative log-likelihood on the validation images before and after."""

    value: float
    before: float
    after: float


def fit_temperature(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> Temperature:
    """The temperature with the least mean negative log-likelihood. logits: (N, classes). labels: (N,).

    The likelihood is convex in 1 / temperature, so a golden section search over its logarithm finds the minimum.
    """
    answers = logits.astype(np.float64)
    low, high = -math.log(LARGEST), math.log(LARGEST)
    for _ in range(_STEPS):
        first, second = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        if negative_log_likelihood(answers / math.exp(first), labels) <= negative_log_likelihood(
            answers / math.exp(second), labels
        ):
            high = second
        else:
            low = first
    value = math.exp((low + high) / 2)
    return Temperature(
        value, negative_log_likelihood(answers, labels), negative_log_likelihood(answers / value, labels)
    )  # fmt: skip


def negative_log_likelihood(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Mean over the images. logits: (N, classes). labels: (N,)."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return float((np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]).mean())


@torch.no_grad()
def cool(model: nn.Module, temperature: float) -> None:
    """Divide weights and bias of the last layer, so that the logits are divided in every file made from the model.

    The graph keeps its layers, so the calibrated model is what is exported, quantised, attacked and proved. Raises
    InvalidInputError if the last layer with weights is not linear.
    """
    layer = [layer for layer in model.modules() if any(True for _ in layer.parameters(recurse=False))][-1]
    if not isinstance(layer, nn.Linear):
        raise InvalidInputError(
            f"--calibrate: the last layer is {type(layer).__name__}, not linear, so a temperature cannot be put into it; "
            "leave it out"
        )
    layer.weight.div_(temperature)
    if layer.bias is not None:
        layer.bias.div_(temperature)
