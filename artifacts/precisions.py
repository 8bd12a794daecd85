"""The precisions that engines are asked for: what the exporter offers, and the drift that an audit lets each explain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """What every part must know of a precision.

    help: the line of `skinaudit export --help`. explained_drift: the median drift of the logits over the median logit margin
    that the precision explains.
    """

    help: str
    explained_drift: float


KINDS: Mapping[str, Kind] = {
    "fp32": Kind("Single precision.", explained_drift=1e-3),
    "fp16": Kind("Half precision weights and arithmetic.", explained_drift=0.05),
    "bf16": Kind("bfloat16 weights and arithmetic (plans, OpenVINO).", explained_drift=0.25),
    "fp8": Kind("E4M3 weights and activations, calibrated on training images (plans).", explained_drift=2.0),
    "int8": Kind("Static quantisation, calibrated on training images.", explained_drift=0.6),
}
"""Precisions by name. The bounds of drift are two to ten times what honest exports of trained models showed
(docs/results/drift.md; of fp8 in docs/decisions/export.md)."""
