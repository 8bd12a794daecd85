"""Everything that an audit reads. It is verified and compared before the first image is run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.adversarial_set import AdversarialSet, open_set
from skinaudit.artifacts.anchor import anchor_of
from skinaudit.artifacts.contract import InputContract
from skinaudit.artifacts.engine_contract import EngineContract, read_engine_contract
from skinaudit.artifacts.files import short
from skinaudit.artifacts.manifest import (
    EngineManifest,
    manifest_path,
    read_engine_manifest,
    read_run,
    resolve,
)
from skinaudit.artifacts.outside import real
from skinaudit.artifacts.perturbation import check_perturbation
from skinaudit.artifacts.precisions import KINDS
from skinaudit.artifacts.run_folder import EXTERNAL_FILE, RUN_FILE, RunFolder, set_files
from skinaudit.artifacts.typed_json import Count
from skinaudit.audit.evidence.external import ExternalImages, external_paths, read_external_images
from skinaudit.audit.evidence.near_copies import Copies, find_copies
from skinaudit.audit.evidence.recorded import Recorded, read_recorded
from skinaudit.audit.evidence.regrouping import regrouped
from skinaudit.engines.engine import Engine
from skinaudit.engines.engine_files import digest_engine, read_own_words
from skinaudit.engines.open import refuse_convertible
from skinaudit.errors import InvalidInputError, first_few

_LINEAGE = ("weights", "onnx", "data")


@dataclass(frozen=True)
class Rebuilds:
    """The export's record of several builds of this engine.

    files: number of different files. flips: the largest number of the clean `images` for which two builds predict different
    classes; None if they could not run on the machine that built them.
    """

    builds: Count
    files: Count
    flips: Count | None
    images: Count


@dataclass(frozen=True, eq=False)
class Inputs:
    """An engine and the sets to replay. Invariant: all contracts agree, every perturbation is within eps.

    digest: of all files of the engine. manifest: None for a foreign engine, which has `contract` instead, from the user's
    contract file. weights: digest of the source model, None if unknown. lineage_gaps: missing parts of the lineage. spent:
    for each adversarial set the share of eps that each image spends, float64 (N,). copies: which clean images are copies of
    others, and the lesions that count for that reason. recorded: what the run, or only the lineage, recorded about its own
    sets; None for a foreign engine and for external sets. external: facts about external sets. anchor: digest of the run's
    state at the end of training; None if it is not available.
    """

    digest: str
    manifest: EngineManifest | None
    contract: EngineContract | None
    weights: str | None
    lineage_gaps: tuple[str, ...]
    clean: AdversarialSet
    adversarial: tuple[AdversarialSet, ...]
    spent: tuple[NDArray[np.float64], ...]
    copies: Copies
    recorded: Recorded | None
    external: ExternalImages | None = None
    anchor: str | None = None

    @property
    def sets(self) -> tuple[AdversarialSet, ...]:
        """Every set, the clean one first."""
        return (self.clean, *self.adversarial)

    @property
    def rebuilds(self) -> Rebuilds | None:
        """The export's record of several builds; None if the engine was built once."""
        noted = None if self.manifest is None else self.manifest.parity.get("rebuilds")
        if not isinstance(noted, dict):
            return None
        return Rebuilds(noted["builds"], noted["files"], noted["flips"], noted["images"])


def read_inputs(engine: Path, *, sets: Path | None, contract: Path | None = None, run: Path | None = None) -> Inputs:
    """Read and verify the files beside `engine` and the sets to replay on it.

    Without `contract`: the manifest, its run, and the run's sets or all sets in the folder `sets`. With it, the file is a
    foreign engine: `sets` must be given, and agree with the contract in size and class names. run: the engine's run, if the
    user names it. Raises InvalidInputError if a digest, a contract, the lineage or an eps is wrong, if a set is missing, or
    if a manifest leads out of the run.
    """
    refuse_convertible(engine)
    if contract is not None:
        return _read_foreign(engine, sets=sets, contract=contract)
    manifest = read_engine_manifest(engine, run=run)
    weights = manifest.lineage.get("weights")
    if not weights:
        raise InvalidInputError(f"{manifest_path(engine)}: the lineage names no weights; export the engine again")
    if manifest.asked not in KINDS:
        raise InvalidInputError(
            f"{manifest_path(engine)}: precision {manifest.asked!r} has no known bound of drift, so its fidelity cannot be "
            f"judged; the known ones are {', '.join(KINDS)}"
        )
    paths, gaps = _set_paths(engine, manifest, weights, sets)
    opened = [open_set(path) for path in paths]
    for image_set in opened:
        check_contract(image_set.info.contract, manifest.contract, owner=str(image_set.path), other=str(engine))
    _check_metadata(engine, manifest, weights)
    clean, adversarial, spent = _sorted_sets(opened, where=sets or real(engine.parent / manifest.run))
    folder, described, recorded, external = real(engine.parent / manifest.run), external_paths(sets), None, None
    if described is None:
        recorded = read_recorded(folder, manifest, (clean, *adversarial))
    else:
        external = read_external_images(described[0], (clean, *adversarial), folder=folder)
    copies = find_copies(clean)
    anchor = anchor_of(read_run(folder)) if RunFolder(folder).has_manifest else None
    return Inputs(
        digest_engine(engine), manifest, None, weights, gaps, clean, adversarial, spent, copies, recorded, external, anchor
    )


def _read_foreign(engine: Path, *, sets: Path | None, contract: Path) -> Inputs:
    if manifest_path(engine).is_file():
        raise InvalidInputError(f"{engine}: has a manifest, so it needs no contract; leave --contract out")
    if sets is None:
        raise InvalidInputError(
            f"{engine}: a foreign engine has no sets of its own; name a folder of sets with --sets DIR, or images "
            "with --data DIR"
        )
    engine_contract = read_engine_contract(contract)
    opened = [open_set(path) for path in _sets_in(sets)]
    for image_set in opened:
        expected = image_set.info.contract
        check_contract(expected, opened[0].info.contract, owner=str(image_set.path), other=str(opened[0].path))
        if expected.size != engine_contract.size:
            raise InvalidInputError(
                f"{contract}: size {engine_contract.size}, but {image_set.path} has {expected.size}; --data DIR makes a "
                "clean set of the engine's size from images"
            )
        if engine_contract.mapping is None and len(expected.classes) != len(engine_contract.classes):
            raise InvalidInputError(
                f"{contract}: names {len(engine_contract.classes)} classes, {image_set.path} has {len(expected.classes)}: "
                f"{', '.join(expected.classes)}; say with [output.mapping] which of them each column stands for"
            )
    clean, adversarial, spent = _sorted_sets(opened, where=sets, alone=(sets / EXTERNAL_FILE).exists())
    if engine_contract.mapping is not None:
        clean, *adversarial_sets = (
            regrouped(image_set, engine_contract.tasks, where=str(contract)) for image_set in (clean, *adversarial)
        )
        adversarial = tuple(adversarial_sets)
    copies, described = find_copies(clean), external_paths(sets)
    external = None if described is None else read_external_images(described[0], (clean, *adversarial), folder=None)
    return Inputs(digest_engine(engine), None, engine_contract, None, (), clean, adversarial, spent, copies, None, external)


def _check_metadata(engine: Path, manifest: EngineManifest, weights: str) -> None:
    """Raise InvalidInputError if an ONNX file names other weights or other classes than its manifest."""
    if engine.suffix.lower() != ".onnx":
        return
    own_weights, classes = read_own_words(engine)
    wrong = ""
    if own_weights is not None and own_weights != weights:
        wrong = f"was built from weights {short(own_weights)}, but its manifest says {short(weights)}"
    elif classes is not None and classes != manifest.contract.classes:
        wrong = f"answers {' '.join(classes)}, its manifest names {' '.join(manifest.contract.classes)}"
    if wrong:
        raise InvalidInputError(
            f"{engine}: according to its own metadata it {wrong}, so file and manifest do not belong together; export it "
            "again"
        )


def _sorted_sets(
    opened: list[AdversarialSet], *, where: Path, alone: bool = False
) -> tuple[AdversarialSet, tuple[AdversarialSet, ...], tuple[NDArray[np.float64], ...]]:
    """The clean set, the others, and the shares of eps that they spend. alone: a clean set alone is enough."""
    clean = [image_set for image_set in opened if image_set.info.threat_model is None]
    adversarial = [image_set for image_set in opened if image_set.info.threat_model is not None]
    if len(clean) != 1:
        names = first_few([image_set.path.name for image_set in clean]) or "none"
        raise InvalidInputError(
            f"{where}: needs exactly one set of clean images, found {names}; `skinaudit train` writes it"
        )
    if not adversarial and not alone:
        raise InvalidInputError(f"{where}: holds no adversarial set; write some with `skinaudit attack RUN`")
    spent = tuple(check_perturbation(image_set, clean[0]) for image_set in adversarial)
    return clean[0], tuple(adversarial), spent


def check_contract(contract: InputContract, expected: InputContract, *, owner: str, other: str) -> None:
    """Raise InvalidInputError unless both contracts agree on pixels and on the columns of logits."""
    for field in ("classes", "malignant", "positive", "threshold", "size", "layout", "dtype", "scale", "resize"):
        actual, wanted = getattr(contract, field), getattr(expected, field)
        if actual != wanted:
            raise InvalidInputError(
                f"{owner}: {field} is {_plain(actual)}, but {other} has {_plain(wanted)}; use the sets of its own run"
            )


def check_engine(engine: Engine, contract: InputContract, *, path: Path) -> None:
    """Raise InvalidInputError unless the opened engine has the size and the number of classes of its manifest."""
    description = engine.description
    if (description.size, description.classes) != (contract.size, len(contract.classes)):
        raise InvalidInputError(
            f"{path}: has image size {description.size} and {description.classes} classes, the sets have "
            f"{contract.size} and {len(contract.classes)}; export it again"
        )


def titles(sets: Sequence[AdversarialSet]) -> list[str]:
    """A distinct name for each set: its title, plus its file's name if two sets share a title."""
    plain = [image_set.info.title for image_set in sets]
    return [
        title if plain.count(title) == 1 else f"{title} ({image_set.path.stem})"
        for title, image_set in zip(plain, sets, strict=True)
    ]


def _set_paths(
    engine: Path, manifest: EngineManifest, weights: str, sets: Path | None
) -> tuple[list[Path], tuple[str, ...]]:
    required = (*_LINEAGE, "calibration") if manifest.asked == "int8" else _LINEAGE
    gaps = [name for name in required if not manifest.lineage.get(name)]
    folder = real(engine.parent / manifest.run)
    paths: list[Path] = []
    if RunFolder(folder).has_manifest:
        run = read_run(folder)
        if run.weights.digest != weights:
            raise InvalidInputError(
                f"{engine}: built from weights {short(weights)}, but {folder / RUN_FILE} has {short(run.weights.digest)}: "
                "the run was trained again; export it again, or name the engine's own run with --run"
            )
        check_contract(run.contract, manifest.contract, owner=str(folder / RUN_FILE), other=str(engine))
        if (run.data["digest"], run.synthetic) != (manifest.lineage["data"], manifest.synthetic):
            raise InvalidInputError(
                f"{engine}: built from data {short(manifest.lineage['data'])}, synthetic {manifest.synthetic}, but "
                f"{folder / RUN_FILE} has data {short(run.data['digest'])}, synthetic {run.synthetic}; export it again"
            )
        if manifest.operating_points not in ((), run.operating_points):
            raise InvalidInputError(
                f"{engine}: its manifest and {folder / RUN_FILE} hold different operating points; export it again"
            )
        if sets is None:
            paths = [resolve(folder, record) for record in run.sets.values()]
    elif sets is None:
        raise InvalidInputError(
            f"{engine}: its run {folder} has no {RUN_FILE}. If the engine was moved, name the folder of its run "
            "with --run RUN; without its run, name a folder of sets with --sets DIR"
        )
    else:
        gaps.append("run")
    if sets is not None:
        paths = _sets_in(sets)
    if not paths:
        raise _no_sets(folder)
    return paths, tuple(gaps)


def _sets_in(folder: Path) -> list[Path]:
    if RunFolder(folder).has_manifest:
        raise InvalidInputError(f"{folder}: is the folder of a run; name its folder of sets: {RunFolder(folder).sets}")
    described = external_paths(folder)
    paths = set_files(folder) if described is None else described[1]
    if not paths:
        raise _no_sets(folder)
    return paths


def clean_set_in(folder: Path) -> AdversarialSet:
    """The only clean set in a folder; raises InvalidInputError if there is none or there are several."""
    opened = [open_set(path) for path in _sets_in(folder)]
    clean, _, _ = _sorted_sets(
        [image_set for image_set in opened if image_set.info.threat_model is None], where=folder, alone=True
    )
    return clean


def _no_sets(folder: Path) -> InvalidInputError:
    return InvalidInputError(f"{folder}: holds no sets (*.safetensors); write some with `skinaudit attack RUN`")


def _plain(value: object) -> str:
    return " ".join(value) if isinstance(value, tuple) else str(value)
