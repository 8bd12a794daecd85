"""The facts about a run and an audit that are sent to a tracker, independent of the tracker.

Images, sets and weights are never sent.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath
from typing import Any, Literal

from skinaudit.artifacts.files import digest_parts
from skinaudit.artifacts.outside import lies_in, read_regular
from skinaudit.artifacts.printable import printable_value
from skinaudit.artifacts.run_folder import RunFolder
from skinaudit.audit import reports
from skinaudit.audit.checks.emulation import EMULATION
from skinaudit.audit.figures.comparison import Comparison
from skinaudit.audit.judgement.result import AuditResult
from skinaudit.audit.judgement.verdict import exit_code
from skinaudit.audit.reports import html
from skinaudit.audit.reports.parts.cases import cases
from skinaudit.audit.reports.parts.wording import markdown_text, precision_text
from skinaudit.errors import MissingDependencyError
from skinaudit.publish.card.model_card import model_card
from skinaudit.publish.run_record import FiledAudit, RunRecord, settings

SYNTHETIC = "SYNTHETIC images: these figures say nothing about patients"
_LONGEST_KEY = 250
_MAX_SENT = 2**26
"""Largest file that is sent, in bytes. Learning curves have some 50 KB, the report of an audit at most 16 MiB."""


@dataclass(frozen=True)
class Metric:
    """One figure. step: epoch, 0 if there is none. time: of the measurement, in milliseconds since 1970."""

    key: str
    value: float
    step: int
    time: int


@dataclass(frozen=True)
class Entry:
    """One run or one audit to log. Invariant: equal `key` means the same weights or the same JSON report.

    content: digest of everything that is logged except the times; it changes if something was added. weights: digest
    that links an audit with its run, None for an engine of another tool. note: text for people. files: by name, small
    and without images. started, ended: milliseconds since 1970. left_out: what is not logged -> why.
    """

    kind: Literal["run", "audit"]
    key: str
    content: str
    name: str
    weights: str | None
    params: Mapping[str, str]
    metrics: tuple[Metric, ...]
    tags: Mapping[str, str]
    note: str
    files: Mapping[str, bytes]
    started: int
    ended: int
    left_out: Mapping[str, str]


def run_entry(record: RunRecord) -> Entry:
    """A run: its settings, every epoch, the source model's figures, curves, card and digests."""
    manifest = record.manifest
    files = RunFolder(record.folder)
    ended = _modified(files.log if files.log.is_file() else files.manifest)
    metrics = (*_epochs(record, ended=ended), *_source_figures(record, time=ended))
    params = {name: _text(value) for name, value in settings(manifest).items()}
    params |= {"parameters": _text(manifest.model.get("parameters", "unknown"))}
    digests = {"weights": manifest.weights.digest, "calibration": manifest.calibration.digest}
    digests |= {"data": str(manifest.data.get("digest", "unknown"))}
    digests |= {f"sets/{name}": file_record.digest for name, file_record in manifest.sets.items()}
    tags = {"weights": manifest.weights.digest, "data": digests["data"], "synthetic": _text(manifest.synthetic)}
    tags |= {f"version.{name}": version for name, version in manifest.created_with.items()}
    sent = {"README.md": model_card(record).encode(), "digests.json": _json(digests)}
    left_out = dict(record.left_out)
    if not files.curves.is_file():
        left_out[files.curves.name] = "not in the run"
    elif not lies_in(files.curves, record.folder):
        left_out[files.curves.name] = "a link that leads out of the run"
    else:
        sent[files.curves.name] = _bytes(files.curves)
    entry = Entry(
        kind="run",
        key=manifest.weights.digest,
        content=_content(params, metrics, tags, sent),
        name=manifest.name,
        weights=manifest.weights.digest,
        params=params,
        metrics=metrics,
        tags=tags,
        note=f"{SYNTHETIC}. " * manifest.synthetic + markdown_text(str(manifest.data.get("title"))),
        files=sent,
        started=ended - sum(_milliseconds(epoch) for epoch in record.history),
        ended=ended,
        left_out=left_out,
    )
    return printable_value(entry)


def audit_entry(filed: FiledAudit) -> Entry:
    """An audit: verdict, figures and gates of each set, and its JSON, Markdown and HTML reports, without pictures."""
    result = filed.result
    about, ended = result.description, _modified(filed.path)
    params = {"engine": PurePath(result.engine).name, "runtime": about.runtime, "provider": about.provider}
    params |= {"device": about.device, "threads": str(about.threads), "precision": precision_text(result)}
    params |= {"emulated": _text(result.emulated), "dataset": result.dataset}
    params |= {f"policy.{name}": _text(value) for name, value in asdict(result.policy).items()}
    tags = {"verdict": result.verdict.value, "reason": result.reason, "engine": result.engine_digest, "report": filed.digest}
    tags |= {"synthetic": _text(result.synthetic), "control": result.control}
    tags |= {f"lineage.{name}": digest for name, digest in result.lineage.items()}
    tags |= {f"version.{name}": version for name, version in result.versions.items()}
    files = {"audit.json": _bytes(filed.path), "audit.md": reports.render("markdown", result).encode()}
    left_out = {}
    try:
        files["audit.html"] = html.render(result, pictures=False).encode()
    except MissingDependencyError as error:
        left_out["audit.html"] = str(error)
    warned = [SYNTHETIC] * result.synthetic + [EMULATION] * result.emulated
    weights = result.lineage.get("weights")
    entry = Entry(
        kind="audit",
        key=filed.digest,
        content=filed.digest,
        name=f"audit {PurePath(result.engine).name}",
        weights=weights,
        params=params,
        metrics=tuple(Metric(key, value, 0, ended) for key, value in _distinct(_audit_figures(result))),
        tags=tags if weights is None else {**tags, "weights": weights},
        note=". ".join((f"**{result.verdict.value}**: {markdown_text(result.reason)}", *warned)),
        files=files,
        started=ended,
        ended=ended,
        left_out=left_out,
    )
    return printable_value(entry)


def _epochs(record: RunRecord, *, ended: int) -> Iterator[Metric]:
    """Every number in the log. An epoch's time is the log's last change minus the duration of the later epochs."""
    time = ended
    for epoch in reversed(record.history):
        for name, value in epoch.items():
            if name != "epoch" and type(value) in (int, float):
                yield Metric(_key(f"epoch/{name}"), float(value), epoch["epoch"], time)
        time -= _milliseconds(epoch)


def _source_figures(record: RunRecord, *, time: int) -> Iterator[Metric]:
    results: dict[str, Iterable[tuple[str, float]]] = {
        name: figures.items() for name, figures in record.manifest.results.items()
    }
    results |= {set_figures.info.name: _figures(set_figures.figures) for set_figures in record.sets}
    named = ((f"test/{name}/{figure}", value) for name, figures in results.items() for figure, value in figures)
    yield from (Metric(key, value, 0, time) for key, value in _distinct(named))


def _figures(comparison: Comparison) -> Iterator[tuple[str, float]]:
    """Figures of a comparison's engine, named like the figures of a run's results."""
    yield "accuracy", comparison.engine_accuracy
    yield "balanced_accuracy", comparison.engine_balanced
    yield "majority_share", comparison.majority_share
    shares = [("sensitivity_malignant", comparison.engine_malignant.share)]  # a class may have the same name
    shares += [(f"sensitivity_{kind.name}", kind.engine.share) for kind in comparison.classes]
    shares += [("attack_success", comparison.attack_success.share if comparison.attack_success is not None else None)]
    yield from ((name, share) for name, share in shares if share is not None)


def _audit_figures(result: AuditResult) -> Iterator[tuple[str, float]]:
    names = {set_result.title: set_result.name for set_result in result.sets}
    for set_result in result.sets:
        comparison = set_result.comparison
        yield from ((f"{set_result.name}/engine_{name}", value) for name, value in _figures(comparison))
        counted = {"source_accuracy": comparison.source_accuracy, "source_balanced_accuracy": comparison.source_balanced}
        counted |= {"flips": comparison.flips, "malignant_to_benign": comparison.malignant_to_benign}
        if comparison.drop is not None:
            counted |= {
                "drop": comparison.drop.value,
                "drop_low": comparison.drop.interval.low,
                "drop_high": comparison.drop.interval.high,
            }
        yield from ((f"{set_result.name}/{name}", value) for name, value in counted.items() if value is not None)
        yield f"{set_result.name}/images_per_second", set_result.images_per_second
    for probe in result.probes:
        yield f"{_part(probe.title)}/fresh_accuracy", probe.fresh_accuracy
        yield f"{_part(probe.title)}/worst_accuracy", probe.worst_accuracy
    for gate in result.gates:
        where = f"gates/{names.get(gate.set) or _part(gate.set)}/{gate.rule}/{_part(gate.subject)}"
        yield f"{where}/value", gate.value
        yield f"{where}/limit", gate.limit
    answers = Counter("open" if case.outcome is None else case.outcome.value.lower() for case in cases(result))
    yield from ((f"gates/{answer}", answers[answer]) for answer in ("pass", "fail", "inconclusive", "open"))
    yield "exit_code", exit_code(result.verdict)


def _content(
    params: Mapping[str, str], metrics: Iterable[Metric], tags: Mapping[str, str], files: Mapping[str, bytes]
) -> str:
    figures = sorted((metric.key, metric.step, metric.value) for metric in metrics)
    parts = [part for name in sorted(files) for part in (name.encode(), files[name])]
    return digest_parts(_json(params), _json(figures), _json(tags), *parts)


def _distinct(figures: Iterable[tuple[str, float]]) -> Iterator[tuple[str, float]]:
    """The figures with distinct keys: a repeated key gets a number.

    Two sets may have the same name. Names of classes may differ only in characters that a key cannot contain, or beyond its
    largest length. A class may also have the name of a figure.
    """
    taken = set[str]()
    for name, value in figures:
        key, number = _key(name), 1
        while key in taken:
            number += 1
            key = f"{_key(name)[: _LONGEST_KEY - len(f' {number}')]} {number}"
        taken.add(key)
        yield key, float(value)


def _part(text: str) -> str:
    """The text as one part of a key. Slashes separate parts."""
    return text.replace("/", "-of-")


def _key(text: str) -> str:
    """The text with only the characters that MLflow accepts in a key; other trackers accept them too."""
    return re.sub(r"[^A-Za-z0-9_\-. :/]", "_", text)[:_LONGEST_KEY]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _milliseconds(epoch: Mapping[str, Any]) -> int:
    return int(1000 * float(epoch.get("seconds", 0)))


def _bytes(path: Path) -> bytes:
    return read_regular(path, kind="file to send", limit=_MAX_SENT)


def _modified(path: Path) -> int:
    return int(1000 * path.stat().st_mtime)
