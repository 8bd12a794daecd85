"""The precisions that engines are asked for: what the exporter offers, and the drift that an audit lets each explain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Kind:
    """What every part must know of a precision.

    help: the line of `skinaudit export --help`. explained_drift: the median drift of the logits over the median logit margin
    that the precision explains. layers: kinds of layers (skinaudit.engines.networks) that it adds to a network.
    """

    help: str
    explained_drift: float
    layers: tuple[Literal["rounding", "cast"], ...] = ()


KINDS: Mapping[str, Kind] = {
    "fp32": Kind("Single precision.", explained_drift=1e-3),
    "fp16": Kind("Half precision weights and arithmetic.", explained_drift=0.05, layers=("cast",)),
    "bf16": Kind("bfloat16 weights and arithmetic (plans, OpenVINO).", explained_drift=0.25, layers=("cast",)),
    "fp8": Kind(
        "E4M3 weights and activations, calibrated on training images (plans).", explained_drift=2.0, layers=("rounding",)
    ),
    "int8": Kind("Static quantisation, calibrated on training images.", explained_drift=0.6, layers=("rounding",)),
}
"""Precisions by name. The bounds of drift are two to ten times what honest exports of trained models showed
(docs/results/drift.md; of fp8 in docs/decisions/export.md)."""
