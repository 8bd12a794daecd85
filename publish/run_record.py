"""Reads a finished run and its audits as one record, for model cards and tracking."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

from skinaudit.artifacts.adversarial_set import CLEAN, AdversarialSet, SetInfo, open_set
from skinaudit.artifacts.files import digest_file, short
from skinaudit.artifacts.logits import Indices, predictions
from skinaudit.artifacts.manifest import RunManifest, manifest_path, read_engine_manifest, read_run, resolve
from skinaudit.artifacts.run_folder import RunFolder
from skinaudit.artifacts.training_log import read_log
from skinaudit.audit.figures.comparison import Comparison, compare
from skinaudit.audit.judgement.reading import read_audit
from skinaudit.audit.judgement.result import AuditResult
from skinaudit.engines.engine_files import digest_engine
from skinaudit.engines.isolation.launching import engine_processes
from skinaudit.errors import InvalidInputError, SkinauditError

CONFIDENCE = 0.95
_FOLDERS = re.compile(r"(?<![\w.])/(?:[^\s/;,]+/)+")
"""Folders of an absolute path inside a text."""


@dataclass(frozen=True)
class SourceFigures:
    """The source model's answers to one stored set. In this comparison the source model takes the place of the engine."""

    info: SetInfo
    images_digest: str
    figures: Comparison


@dataclass(frozen=True)
class FiledAudit:
    """A JSON report of an audit, with the digest of its file.

    engine_now: `same` if the run's engine is the audited one; `partly` if the report is an earlier one that only has the
    digest of the engine's first file; else `changed` or `missing`. other_images: whether it judged other clean images than
    the run's own.
    """

    path: Path
    digest: str
    result: AuditResult
    engine_now: str = "missing"
    other_images: bool = False


@dataclass(frozen=True)
class RunRecord:
    """Everything known about a run. Invariant: each set and audit of the run is in its tuple or, by name, in `left_out`.

    history: epochs of the training log, first to last. audits: only audits of this run's weights, by engine. left_out: what
    could not be used -> why. unaudited: engines of the run whose present file was not audited; an emulation does not count.
    """

    folder: Path
    manifest: RunManifest
    history: tuple[Mapping[str, Any], ...]
    sets: tuple[SourceFigures, ...]
    audits: tuple[FiledAudit, ...]
    left_out: Mapping[str, str]
    unaudited: tuple[str, ...]


def read_run_record(folder: Path, *, audits: Path | None = None) -> RunRecord:
    """Read a finished run. audits: folder with its JSON reports, by default the run's own.

    Raises InvalidInputError if the run, its log or the folder `audits` cannot be read. A set or an audit that cannot be read
    is left out, with the reason.
    """
    manifest, files = read_run(folder), RunFolder(folder)
    history = read_log(files.log)
    if audits is not None and not audits.is_dir():
        raise InvalidInputError(f"{audits}: no such folder of JSON reports of audits")
    left_out: dict[str, str] = {}
    sets = tuple(_sets(folder, manifest, left_out))
    own_images = None if not sets or sets[0].info.threat_model is not None else sets[0].images_digest
    with engine_processes():
        filed = tuple(_audits(folder, audits or files.audits, manifest, left_out, own_images=own_images))
    left_out.update(_damaged_manifests(files))
    audited_names = {
        PurePath(audit.result.engine).name
        for audit in filed
        if audit.engine_now == "same" and not audit.result.emulated and not audit.other_images
    }
    return RunRecord(
        folder=folder,
        manifest=manifest,
        history=history,
        sets=sets,
        audits=filed,
        left_out=left_out,
        unaudited=tuple(name for name in files.engine_names() if name not in audited_names),
    )


def read_filed_audit(path: Path) -> FiledAudit:
    """Read the JSON report of an audit; raises InvalidInputError as skinaudit.audit.judgement.reading.read_audit does."""
    return FiledAudit(path, digest_file(path), read_audit(path))


def settings(manifest: RunManifest) -> dict[str, str | int | float | bool]:
    """Every setting of a training by its dotted name, such as `recipe.epochs`.

    Left out: null values, and the folders of absolute paths, which would identify a machine.
    """
    model = {key: value for key, value in manifest.model.items() if key != "parameters"}
    return dict(_flat({**model, "size": manifest.contract.size, "split": manifest.data.get("split"), **manifest.training}))


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, str | int | float | bool]]:
    if isinstance(value, Mapping):
        for key, entry in value.items():
            yield from _flat(entry, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, str):
        path = PurePath(value)
        yield prefix, path.name if path.is_absolute() else _FOLDERS.sub("", value)
    elif isinstance(value, (bool, int, float)):
        yield prefix, value
    elif value is not None:
        yield prefix, json.dumps(value, sort_keys=True)


def _sets(folder: Path, manifest: RunManifest, left_out: dict[str, str]) -> Iterator[SourceFigures]:
    """The sets crafted on this run's weights, which contain its answers: clean first, then in the manifest's order."""
    clean: AdversarialSet | None = None
    clean_answers: Indices | None = None
    for name in sorted(manifest.sets, key=lambda name: name != CLEAN):
        try:
            opened = open_set(resolve(folder, manifest.sets[name]))
        except SkinauditError as error:
            left_out[f"set {name}"] = _reason(error, folder)
            continue
        if opened.info.source != manifest.weights.digest:
            left_out[f"set {name}"] = (
                f"crafted on other weights ({short(opened.info.source)}), whose answers it holds; only audits use it"
            )
            continue
        if opened.info.threat_model is not None and (clean is None or opened.info.clean != clean.images_digest):
            left_out[f"set {name}"] = "the clean images behind it are not available"
            continue
        answers = predictions(opened.source_logits)
        figures = compare(
            answers, None, engine_clean=clean_answers, labels=opened.labels, groups=opened.group,
            contract=opened.info.contract, confidence=CONFIDENCE,
        )  # fmt: skip
        if clean is None:
            clean, clean_answers = opened, answers
        yield SourceFigures(opened.info, opened.images_digest, figures)


def _audits(
    folder: Path, audits: Path, manifest: RunManifest, left_out: dict[str, str], *, own_images: str | None
) -> Iterator[FiledAudit]:
    for path in sorted(audits.glob("*.json")):
        try:
            filed = read_filed_audit(path)
        except SkinauditError as error:
            left_out[f"audit {path.name}"] = _reason(error, folder)
            continue
        weights = filed.result.lineage.get("weights")
        if weights != manifest.weights.digest:
            subject = "an engine with unknown weights" if weights is None else f"the weights {short(weights)}"
            left_out[f"audit {path.name}"] = f"is about {subject}"
            continue
        engine = RunFolder(folder).engines / PurePath(filed.result.engine).name
        clean = filed.result.sets[0].images_digest
        other = filed.result.external is not None or (own_images is not None and clean != own_images)
        yield replace(filed, engine_now=_engine_now(engine, filed.result.engine_digest), other_images=other)


def _damaged_manifests(files: RunFolder) -> Iterator[tuple[str, str]]:
    """Engine manifests that cannot be read, and why. No command can use such an engine, whatever its audit said."""
    for name in files.engine_names():
        engine = files.engines / name
        if manifest_path(engine).exists():
            try:
                read_engine_manifest(engine)
            except SkinauditError as error:
                yield f"manifest {manifest_path(engine).name}", _reason(error, files.path)


def _engine_now(engine: Path, audited: str) -> str:
    """Whether an engine is the audited one. Earlier reports have only the digest of its first file."""
    if not engine.is_file():
        return "missing"
    try:
        if digest_engine(engine) == audited:
            return "same"
    except SkinauditError:
        return "changed"
    return "partly" if digest_file(engine) == audited else "changed"


def _reason(error: SkinauditError, folder: Path) -> str:
    """The message without the path at its start, and without the run's folder."""
    return str(error).replace(f"{folder}/", "").split(": ", 1)[-1]
