"""The precisions that the exporter offers, and the drift that an audit accepts for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Kind:
    """What every part must know about a precision.

    help: the line in `skinaudit export --help`. explained_drift: the median drift of the logits divided by the median logit
    margin that the precision explains; by_runtime: for runtimes that need another bound. layers: kinds of layers
    (skinaudit.engines.networks) that it adds to a network. casts: types to which it casts numbers. rounding: how far the
    largest weight of a layer may have been rounded, relative to itself. spread, factor: limits so that no number overflows
    or vanishes in its type. spread: how many times larger or smaller than a layer's own numbers those between its steps may
    be. factor: how many times a channel's numbers may be scaled.
    """

    help: str
    explained_drift: float
    by_runtime: Mapping[str, float] = field(default_factory=dict)
    layers: tuple[Literal["rounding", "cast"], ...] = ()
    casts: tuple[str, ...] = ()
    rounding: float = 2.0**-13
    spread: float = 256.0
    factor: float = 2.0**20


KINDS: Mapping[str, Kind] = {
    "fp32": Kind("Single precision.", explained_drift=1e-4),
    "fp16": Kind(
        "Half precision weights and arithmetic.",
        explained_drift=0.04,
        layers=("cast",),
        casts=("fp16", "fp32", "fp64"),
        rounding=0.75 * 2.0**-8,
        spread=64.0,
        factor=64.0,
    ),
    "bf16": Kind(
        "bfloat16 weights and arithmetic (plans, OpenVINO).",
        explained_drift=0.3,
        layers=("cast",),
        casts=("bf16", "fp32", "fp64"),
        rounding=0.75 * 2.0**-5,
    ),
    "fp8": Kind(
        "E4M3 weights and activations, calibrated on training images (plans).",
        explained_drift=5.0,
        layers=("rounding",),
        rounding=0.1,
    ),
    "int8": Kind(
        "Static quantisation, calibrated on training images.",
        explained_drift=1.2,
        by_runtime={"openvino": 4.5},
        layers=("rounding",),
        rounding=0.02,
    ),
}
"""Precisions by name.

The bounds of drift are three times the largest drift of honest exports (docs/results/drift.md); for fp32, where only the
last bits differ, twenty times. For fp16 and bf16 an audit has a closer bound: the effect of rounding on the model itself
(skinaudit.audit.checks.fidelity).
"""
