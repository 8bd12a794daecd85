"""The content of a run's folder. All file names are defined here and nowhere else."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from skinaudit.artifacts.outside import lies_in
from skinaudit.errors import InvalidInputError, first_few

RUN_FILE = "run.json"
REFERENCE = "fp32.onnx"
"""File name of the engine with which every other engine of a run is compared."""
SET_SUFFIX = ".safetensors"
MANIFEST_SUFFIX = ".json"
EXTERNAL_FILE = "external.json"
"""File in a folder of sets whose images are of another data set than the run's own."""


@dataclass(frozen=True)
class RunFolder:
    """The paths in a run's folder. The files need not exist.

    During a training there are `options`, `checkpoint`, `best` and `log`. A finished run has `manifest`, `weights`,
    `structure`, `pictures`, `calibration`, `log`, `curves` and `sets`; after an export also `engines`, after an audit also
    `audits`. `external` contains a folder of sets for each other data set on which the run was tried.
    """

    path: Path

    @property
    def manifest(self) -> Path:
        """The description of the run. It is written last: a run without it is not finished."""
        return self.path / RUN_FILE

    @property
    def has_manifest(self) -> bool:
        """Whether anything has the manifest's name, even a folder or a pipe, which the reader refuses."""
        return os.path.lexists(self.manifest)

    @property
    def training_lock(self) -> Path:
        """Held while a training writes to the folder."""
        return self.path / ".training.lock"

    @property
    def manifest_lock(self) -> Path:
        """Held while the manifest is being changed."""
        return self.path / ".run.lock"

    @property
    def weights(self) -> Path:
        """The kept weights of the source model."""
        return self.path / "weights.safetensors"

    @property
    def structure(self) -> Path:
        """Operators and connections of the source model, without its weights."""
        return self.path / "structure.json"

    @property
    def pictures(self) -> Path:
        """Digests of the pictures of the data, and robust figures of the training pictures."""
        return self.path / "pictures.safetensors"

    @property
    def sweep(self) -> Path:
        """Robust accuracy against eps and steps, drawn by `skinaudit sweep`."""
        return self.path / "sweep.png"

    @property
    def external(self) -> Path:
        """The folder with one folder of external sets per data set."""
        return self.path / "external"

    @property
    def calibration(self) -> Path:
        """Training images on which int8 ranges are measured."""
        return self.path / "calibration.safetensors"

    @property
    def log(self) -> Path:
        """The training log: one JSON object per line and epoch."""
        return self.path / "log.jsonl"

    @property
    def curves(self) -> Path:
        """The log as a picture."""
        return self.path / "curves.png"

    @property
    def checkpoint(self) -> Path:
        """The state of an unfinished training."""
        return self.path / "checkpoint.safetensors"

    @property
    def best(self) -> Path:
        """The weights of the best epoch so far in an unfinished training."""
        return self.path / "best.safetensors"

    @property
    def options(self) -> Path:
        """The options of an unfinished training."""
        return self.path / "options.json"

    @property
    def sets(self) -> Path:
        """The folder of the clean set and of the adversarial ones."""
        return self.path / "sets"

    @property
    def engines(self) -> Path:
        """The folder of engines, each with its manifest beside it."""
        return self.path / "engines"

    @property
    def reference(self) -> Path:
        """The fp32 engine, which represents the source model."""
        return self.engines / REFERENCE

    @property
    def audits(self) -> Path:
        """The folder of the audits' JSON reports."""
        return self.path / "audits"

    def check_links(self) -> None:
        """Raise InvalidInputError if a folder of the run is elsewhere, through a link: nothing is written there."""
        for folder in (self.sets, self.engines, self.audits, self.external):
            if folder.is_symlink() and not lies_in(folder, self.path):
                raise InvalidInputError(
                    f"{folder}: is a link out of its run, and nothing is written there; move that folder into the run"
                )

    def set_file(self, name: str) -> Path:
        """The file of the set called `name`."""
        return self.sets / f"{name}{SET_SUFFIX}"

    def audit_of(self, engine: str) -> Path:
        """The JSON report on the engine whose file is called `engine`."""
        return self.audits / f"{engine}.json"

    def engine_names(self) -> list[str]:
        """File names of the engines that have a manifest, sorted."""
        return sorted(path.name.removesuffix(MANIFEST_SUFFIX) for path in self.engines.glob(f"*{MANIFEST_SUFFIX}"))


def set_files(folder: Path) -> list[Path]:
    """The sets in a folder, sorted. The folder need not belong to a run."""
    return sorted(folder.glob(f"*{SET_SUFFIX}"))


def check_engine_file(engine: Path) -> None:
    """Raise InvalidInputError if a folder is given instead of an engine; the message names the engines in it."""
    if not engine.is_dir():
        return
    run = RunFolder(engine)
    if run.manifest.exists() and not run.engine_names():
        raise InvalidInputError(f"{engine}: is a run without engines; make one with `skinaudit export {quote(str(engine))}`")
    if run.manifest.exists():
        names = first_few([str(run.engines / name) for name in run.engine_names()])
        raise InvalidInputError(f"{engine}: is a run; name one of its engines ({names}), or all of them: {run.engines}/*")
    raise InvalidInputError(f"{engine}: is a folder; name an engine file in it, or all of them: {engine}/*")


def run_of(engine: Path) -> RunFolder | None:
    """The run with this file in its folder of engines, judged by the path; None if that folder has another name."""
    run = RunFolder(engine.parent.parent)
    return run if engine.parent.name == run.engines.name else None
