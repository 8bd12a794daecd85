"""What `bench/quantisers.py` asks of a quantiser: one file of this folder for each maker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from onnx import ModelProto

from skinaudit.engines.engine import Engine
from skinaudit.export.calibration import Calibration


@dataclass(frozen=True, eq=False)
class Order:
    """What every quantiser is given.

    graph: the run's fp32 graph, which nobody changes in place. calibration: the run's own calibration images. run: the run's
    folder. folder: an empty scratch folder of this quantiser.
    """

    graph: ModelProto
    calibration: Calibration
    run: Path
    folder: Path


class Quantise(Protocol):
    """Writes one engine file into `order.folder`, companions beside it, and returns its path."""

    def __call__(self, order: Order) -> Path: ...


class Open(Protocol):
    """Opens what a quantiser wrote in the runtime in which its figures are measured."""

    def __call__(self, path: Path, *, threads: int) -> Engine: ...


class Require(Protocol):
    """Versions of what a quantiser needs, by distribution; raises MissingDependencyError where it is not installed."""

    def __call__(self) -> Mapping[str, str]: ...


@dataclass(frozen=True)
class Quantiser:
    """A way to make an int8 or fp8 file. name: as tables show it. ships_in: the runtime that the file is made for."""

    name: str
    ships_in: str
    quantise: Quantise
    open: Open
    require: Require
