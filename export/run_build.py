"""What the builds of all engines of one run share, and the record that each build returns."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from skinaudit.artifacts.adversarial_set import AdversarialSet
from skinaudit.artifacts.manifest import EngineManifest, RunManifest, resolve
from skinaudit.artifacts.one_writer import one_writer
from skinaudit.artifacts.run_folder import RunFolder
from skinaudit.export.build import BuildOptions
from skinaudit.export.calibration import Calibration, read_calibration

_PATIENCE = 60.0
"""Seconds to wait for another export that is writing an engine to the same place."""

Report = Callable[[str], None]
"""Called with one line before each step."""


@dataclass(frozen=True)
class Exported:
    """An engine file and its manifest. size: bytes. seconds: build time. reused: the existing file was kept unchanged."""

    path: Path
    manifest: EngineManifest
    size: int
    seconds: float
    reused: bool


@dataclass(frozen=True, eq=False)
class RunBuild:
    """What every engine of one run needs."""

    run: Path
    manifest: RunManifest
    clean: AdversarialSet
    options: BuildOptions
    threads: int | None
    progress: Report

    @property
    def reference(self) -> Path:
        """Path of the fp32 graph with which every engine is compared."""
        return RunFolder(self.run).reference

    def calibration(self) -> Calibration:
        """The run's images for int8 ranges."""
        return read_calibration(resolve(self.run, self.manifest.calibration), size=self.manifest.contract.size)


def placing(path: Path) -> AbstractContextManager[None]:
    """Lock the place of an engine while its file and its manifest are replaced, so two exports never mix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return one_writer(path.with_name(f".{path.name}.lock"), place=str(path), wait=_PATIENCE)
