"""The interface between the exporter and an engine format. Each format is one file with a row in
`skinaudit.export.formats.FORMATS`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol

from onnx import ModelProto

from skinaudit.engines.engine import Provider
from skinaudit.export.calibration import Calibration


@dataclass(frozen=True)
class BuildOptions:
    """The options of a builder. `Format.options` lists those that each format accepts.

    version_compatible, hardware_compatible: plans that newer runtimes and other GPUs can open, if the library supports
    it. targets: compute capabilities, such as SM86, of the target GPUs; empty for the library's choice. refit: plans
    whose weights can be replaced. strip: plans without their weights, which must be added before they run. timing_cache:
    file that the builder reads and updates. workspace: MiB of scratch memory, None for the builder's default. provider:
    the device for which compiled packages are built. batches: smallest, usual and largest batch of the optimisation
    profile. rebuilds: how often to build each engine, to measure how builds differ.
    """

    version_compatible: bool = False
    hardware_compatible: bool = False
    targets: tuple[str, ...] = ()
    refit: bool = False
    strip: bool = False
    timing_cache: Path | None = None
    workspace: int | None = None
    provider: Provider = "cpu"
    batches: tuple[int, int, int] = (1, 32, 128)
    rebuilds: int = 1

    def given(self) -> tuple[str, ...]:
        """The fields that differ from their defaults, without `rebuilds`, which every format accepts."""
        changed = (field.name for field in fields(self) if getattr(self, field.name) != field.default)
        return tuple(name for name in changed if name != "rebuilds")


@dataclass(frozen=True, eq=False)
class Request:
    """An order to build one engine file.

    graph: the typed ONNX graph to build from; the format may change it. precision: as requested. calibration: training
    images, for formats that quantise by themselves. run: the run's folder, for formats that do not
    start from ONNX. target: where to write the file, in a scratch folder; companions go beside it. where: the final path,
    for messages. options: of the builder.
    """

    graph: ModelProto
    precision: str
    calibration: Calibration
    run: Path
    target: Path
    where: str
    options: BuildOptions = field(default_factory=BuildOptions)


@dataclass(frozen=True)
class Built:
    """The result of a build.

    found: number of weighted layers by precision, read back from the result, never from the request. companions: further
    files that the engine needs, in the same folder. settings: everything that the manifest should record. calibrated:
    True if calibration images were used. kept: names of the layers that the builder left in fp32 on purpose. incomplete:
    what the file still lacks before it can run; None if nothing.
    """

    found: Mapping[str, int]
    companions: tuple[Path, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    calibrated: bool = False
    kept: tuple[str, ...] = ()
    incomplete: str | None = None


class Build(Protocol):
    """Writes the engine file `request.target`.

    Raises InvalidInputError, which names the node, for a graph that cannot be built; MissingDependencyError without the
    library.
    """

    def __call__(self, request: Request) -> Built:
        """Build the file."""


class Check(Protocol):
    """Raises InvalidInputError for options that the format cannot satisfy, before anything is converted or built.

    where: path of the engine, for messages.
    """

    def __call__(self, options: BuildOptions, *, where: str) -> None:
        """Check the options."""
