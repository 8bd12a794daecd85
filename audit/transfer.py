"""Transfer matrix: the images crafted on each model, tested on every model (Table II of Huq and Pervin, 2020)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from skinaudit.artifacts.adversarial_set import AdversarialSet, open_set
from skinaudit.artifacts.files import Progress
from skinaudit.artifacts.logits import predictions
from skinaudit.artifacts.manifest import RunManifest, manifest_path, read_engine_manifest, read_run, resolve, versions
from skinaudit.artifacts.outside import real
from skinaudit.artifacts.perturbation import check_perturbation
from skinaudit.artifacts.run_folder import RunFolder
from skinaudit.artifacts.run_sets import TEST_SET
from skinaudit.audit.evidence.inputs import check_contract, check_engine
from skinaudit.audit.evidence.reference import check_reproduced
from skinaudit.audit.evidence.replay import replay, whole
from skinaudit.audit.figures import metrics
from skinaudit.audit.figures.statistics import Interval, accuracy_interval, balanced_interval
from skinaudit.engines.engine import Engine, Provider
from skinaudit.engines.isolation.launching import engine_processes
from skinaudit.engines.open import LIBRARIES, open_engine
from skinaudit.errors import InvalidInputError, first_few

DEFAULT_ATTACKS = ("pgd-dlr", "pgd")
"""The stronger set with which a run ends: now, and in earlier versions."""


@dataclass(frozen=True)
class Cell:
    """One model on one set: accuracy and balanced accuracy as fractions of 1, each with its 95% interval."""

    accuracy: float
    balanced: float
    interval: Interval
    balanced_interval: Interval


@dataclass(frozen=True)
class TransferMatrix:
    """Robust accuracy by where images were crafted (rows) and where they are tested (columns).

    names: the runs, in the order of the rows. tested: the columns, first the runs in the same order, then further engines.
    digests: of the engine files of the columns. cells[i][j]: crafted on i, tested on j; white-box where a run meets itself.
    clean[j]: the same images unperturbed, on j.
    """

    attack: str
    names: tuple[str, ...]
    tested: tuple[str, ...]
    digests: tuple[str, ...]
    clean: tuple[Cell, ...]
    cells: tuple[tuple[Cell, ...], ...]
    images: int
    lesions: int
    majority_class: str
    majority_share: float
    constant_balanced: float
    dataset: str
    synthetic: bool
    versions: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class _Side:
    """One run: its engine and the digest of its file, its clean set and the set crafted on it."""

    folder: Path
    engine: Engine
    digest: str
    clean: AdversarialSet
    crafted: AdversarialSet


def transfer_matrix(
    runs: Sequence[Path],
    *,
    engines: Sequence[Path] = (),
    attack: str | None = None,
    provider: Provider | None = None,
    threads: int | None = None,
    batch_size: int = 64,
    progress: Progress | None = None,
) -> TransferMatrix:
    """Replay the set that each run crafted on itself on the fp32 engine of every run, and on further engines.

    engines: exported by skinaudit, of any run with the same contract. attack: the set's name, attack or title
    (`pgd linf 2/255`); by default the first of DEFAULT_ATTACKS that all runs have. Raises InvalidInputError if a run lacks
    the set or the engine, if the runs were tested on different images, if an engine does not fit, or if stored logits are
    not reproduced.
    """
    if not runs or len(runs) + len(engines) < 2:
        raise InvalidInputError(
            "transfer needs two or more run folders, or one and an engine: `skinaudit transfer RUN RUN` or `skinaudit "
            "transfer RUN --engine FILE`"
        )
    for paths in (runs, engines):
        places = [real(path) for path in paths]
        for path, place in zip(paths, places, strict=True):
            if places.count(place) > 1:
                raise InvalidInputError(f"{path}: given twice; leave one out")
    with engine_processes():
        return _matrix(runs, engines, attack, provider, threads, batch_size, progress)


def _matrix(
    runs: Sequence[Path], engines: Sequence[Path], attack: str | None, provider: Provider | None, threads: int | None,
    batch_size: int, progress: Progress | None,
) -> TransferMatrix:  # fmt: skip
    chosen = attack or _usual_attack(runs)
    sides = [_open(run, chosen, provider=provider, threads=threads) for run in runs]
    first = sides[0]
    for side in sides[1:]:
        _check_comparable(first, side)
    labels, lesions, classes = first.clean.labels, first.clean.group, first.clean.info.contract.classes
    columns: list[tuple[Engine, str, _Side | None]] = [(side.engine, side.digest, side) for side in sides]
    columns += [(*_further(path, first, provider=provider, threads=threads), None) for path in engines]
    tick = whole(progress, len(labels) * len(columns) * (len(sides) + 1))

    def show(engine: Engine, side: _Side | None, images: AdversarialSet) -> Cell:
        logits = replay(engine, images, batch_size=batch_size, progress=tick).logits
        if side is not None and images in (side.crafted, side.clean):
            check_reproduced(images, logits)
        answers = predictions(logits)
        right = answers == labels
        return Cell(
            metrics.accuracy(answers, labels), metrics.balanced_accuracy(answers, labels),
            accuracy_interval(right, lesions), balanced_interval(right, labels, lesions),
        )  # fmt: skip

    majority, share = metrics.majority_class(labels)
    return TransferMatrix(
        attack=first.crafted.info.title,
        names=_names(runs),
        tested=(*_names(runs), *_engine_names(engines)),
        digests=tuple(digest for _, digest, _ in columns),
        clean=tuple(show(engine, side, (side or first).clean) for engine, _, side in columns),
        cells=tuple(tuple(show(engine, side, crafted.crafted) for engine, _, side in columns) for crafted in sides),
        images=len(labels),
        lesions=len(set(lesions.tolist())),
        majority_class=classes[majority],
        majority_share=share,
        constant_balanced=metrics.constant_balanced_accuracy(labels),
        dataset=first.clean.info.dataset,
        synthetic=any(side.clean.info.synthetic for side in sides),
        versions=versions("numpy", "onnx", "safetensors", *LIBRARIES),
    )


def _usual_attack(runs: Sequence[Path]) -> str:
    """The first of DEFAULT_ATTACKS for which every run has a set; the first one of them if there is none."""
    have = [{image_set.info.attack for image_set in _sets(run, read_run(run))} for run in runs]
    return next((name for name in DEFAULT_ATTACKS if all(name in names for names in have)), DEFAULT_ATTACKS[0])


def _open(folder: Path, attack: str, *, provider: Provider | None, threads: int | None) -> _Side:
    run = read_run(folder)
    path = RunFolder(folder).reference
    if not path.is_file():
        raise InvalidInputError(f"{path}: missing; write it with `skinaudit export {quote(str(folder))} --fp32`")
    manifest = read_engine_manifest(path)
    if manifest.lineage.get("weights") != run.weights.digest:
        raise InvalidInputError(
            f"{path}: not built from the weights of {folder}; write it with `skinaudit export {quote(str(folder))} --fp32`"
        )
    own_sets = [image_set for image_set in _sets(folder, run) if image_set.info.source == run.weights.digest]
    clean = [image_set for image_set in own_sets if image_set.info.threat_model is None]
    crafted = [
        image_set
        for image_set in own_sets
        if image_set.info.threat_model and attack in (image_set.info.name, image_set.info.attack, image_set.info.title)
    ]
    if len(clean) != 1 or len(crafted) != 1:
        names = first_few([f"{image_set.info.name} ({image_set.info.title})" for image_set in own_sets]) or "none"
        raise InvalidInputError(
            f"{folder}: needs one clean set and one set {attack!r} crafted on itself, found {names}; choose with "
            f"--attack or write one with `skinaudit attack {quote(str(folder))}`"
        )
    for image_set in (clean[0], crafted[0]):
        check_contract(image_set.info.contract, manifest.contract, owner=str(image_set.path), other=str(path))
    check_perturbation(crafted[0], clean[0])
    engine = open_engine(path, own=manifest.contract, provider=provider, threads=threads)
    check_engine(engine, manifest.contract, path=path)
    return _Side(folder, engine, manifest.engine.digest, clean[0], crafted[0])


def _further(path: Path, first: _Side, *, provider: Provider | None, threads: int | None) -> tuple[Engine, str]:
    """An engine that is tested on all sets and crafts none, and the digest of its file.

    Its model must have been tested on the same images: it may have been trained on others.
    """
    if path.is_file() and path.suffix != ".json" and not manifest_path(path).is_file():
        raise InvalidInputError(f"{path}: {manifest_path(path).name} is missing; transfer takes only exported engines")
    manifest = read_engine_manifest(path)
    check_contract(manifest.contract, first.clean.info.contract, owner=str(path), other=str(first.folder))
    if TEST_SET not in manifest.lineage:
        raise InvalidInputError(f"{path}: an earlier version recorded no test images in its manifest; export it again")
    if manifest.lineage[TEST_SET] != first.clean.images_digest:
        raise InvalidInputError(_other_images(path, first))
    engine = open_engine(path, own=manifest.contract, provider=provider, threads=threads)
    check_engine(engine, manifest.contract, path=path)
    return engine, manifest.engine.digest


def _other_images(path: Path, first: _Side) -> str:
    return f"{path}: its test images differ from those of {first.folder}; train both with the same data, split and size"


def _sets(folder: Path, run: RunManifest) -> list[AdversarialSet]:
    return [open_set(resolve(folder, record)) for record in run.sets.values()]


def _check_comparable(first: _Side, second: _Side) -> None:
    check_contract(second.clean.info.contract, first.clean.info.contract, owner=str(second.folder), other=str(first.folder))
    if first.clean.images_digest != second.clean.images_digest:
        raise InvalidInputError(_other_images(second.folder, first))
    if first.crafted.info.title != second.crafted.info.title:
        raise InvalidInputError(
            f"{second.folder}: its set is {second.crafted.info.title}, that of {first.folder} {first.crafted.info.title}; "
            "craft both with the same attack and eps"
        )


def _names(runs: Sequence[Path]) -> tuple[str, ...]:
    names = [real(run).name for run in runs]
    return tuple(name if names.count(name) == 1 else str(run) for name, run in zip(names, runs, strict=True))


def _engine_names(engines: Sequence[Path]) -> tuple[str, ...]:
    """`RUN/int8.onnx` for RUN/engines/int8.onnx; the path for other places, and where two would have one name."""
    places = [real(path) for path in engines]
    names = [
        f"{place.parent.parent.name}/{place.name}" if place.parent.name == "engines" else str(path)
        for path, place in zip(engines, places, strict=True)
    ]
    return tuple(name if names.count(name) == 1 else str(path) for name, path in zip(names, engines, strict=True))
