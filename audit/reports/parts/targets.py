"""Destinations of reports: `FORMAT=FILE` from the command line, checked before an audit and written after it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from skinaudit.artifacts.files import can_be_written, write_bytes, write_json
from skinaudit.artifacts.outside import real
from skinaudit.artifacts.run_folder import EXTERNAL_FILE, RunFolder, run_of
from skinaudit.audit import reports
from skinaudit.audit.judgement.result import AuditResult
from skinaudit.audit.reports.json_ import to_json
from skinaudit.audit.reports.parts.lineup import Lineup
from skinaudit.errors import InvalidInputError

STDOUT = "-"
ENGINE = "{engine}"
"""Placeholder for an engine's file name in the name of a report, if several engines are audited together."""


@dataclass(frozen=True)
class Target:
    """A report to write. path: None for standard output. Invariant: the format exists."""

    format: str
    path: Path | None


def parse_targets(
    texts: Sequence[str], *, occupied: Sequence[Path] = (), kind: reports.Kind = "audit"
) -> tuple[Target, ...]:
    """Targets from texts such as `junit=audit.xml`; the file `-` means standard output.

    occupied: files that are already written to. kind: of what is shown. Raises InvalidInputError for a text of another form,
    an unknown format, a place that cannot be written to, and two reports in one place; MissingDependencyError if a format's
    libraries are not installed.
    """
    targets: list[Target] = []
    for text in texts:
        name, separator, file = text.partition("=")
        if not (name and separator and file):
            raise InvalidInputError(
                f"--report {text}: write FORMAT=FILE, such as junit=audit.xml, or FORMAT={STDOUT} for standard output; "
                f"the formats are {', '.join(reports.names(kind))}"
            )
        reports.check_name(name, kind)
        reports.check_needs(name, kind)
        target = Target(name, None if file == STDOUT else Path(file))
        if target.path is not None and (target.path.is_dir() or file.endswith("/")):
            raise InvalidInputError(f"--report {text}: {file} is a folder; name a file in it")
        if target.path is not None and not can_be_written(target.path):
            raise InvalidInputError(f"--report {text}: {file} cannot be written; choose another file")
        if _place(target.path) in [_place(earlier.path) for earlier in targets] + [_place(path) for path in occupied]:
            raise InvalidInputError(f"--report {text}: something else goes to {file} already; choose another file")
        targets.append(target)
    return tuple(targets)


def write_targets(targets: Sequence[Target], result: AuditResult | Lineup, kind: reports.Kind = "audit") -> str | None:
    """Write each report atomically; returns the text for standard output, None if no report goes there.

    All reports are rendered before the first is written.
    """
    texts = [reports.render(target.format, result, kind) for target in targets]
    printed = None
    for target, text in zip(targets, texts, strict=True):
        if target.path is None:
            printed = text
        else:
            write_bytes(target.path, text.encode())
    return printed


@dataclass(frozen=True)
class Plan:
    """An engine to audit, the place of its JSON report (None if it cannot be written), and its other reports."""

    engine: Path
    report: Path | None
    targets: tuple[Target, ...]

    def write(self, result: AuditResult) -> str | None:
        """Write every report atomically; returns the text for standard output, None if no report goes there."""
        if self.report is not None:
            write_json(self.report, to_json(result))
        return write_targets(self.targets, result)


def plan_reports(
    engines: Sequence[Path],
    *,
    output: Path | None,
    report_texts: Sequence[str],
    emulate: bool = False,
    baseline: Path | None = None,
    sets: Path | None = None,
    remark: Callable[[str], None] = lambda _: None,
) -> tuple[Plan, ...]:
    """The files of the reports on each engine, checked before the first audit.

    output: of the JSON report; by default it is in the run's audits folder, or beside the engine if there is no run. The
    file name also names the folder `sets` if that is not the run's own. report_texts: see parse_targets. With several
    engines, both need ENGINE in their file names. remark: called with a line if the default place cannot be written to, such
    as a read-only run; the audit is then made without a JSON report. Raises InvalidInputError if ENGINE is missing, if
    `output` cannot be written, if the run's folder of audits is elsewhere, or if a report would overwrite another one or the
    baseline. Also raises the errors of parse_targets.
    """
    if len(engines) > 1:
        if output is not None and ENGINE not in str(output):
            raise InvalidInputError(f"--output {output}: {_SEVERAL}audits/{ENGINE}.json")
        for text in report_texts:
            if ENGINE not in text:
                raise InvalidInputError(f"--report {text}: {_SEVERAL}junit=audits/{ENGINE}.xml")
    occupied = [*engines, *([] if baseline is None else [baseline])]
    plans = []
    for engine in engines:
        report = _report_path(engine, output, emulate=emulate, sets=sets)
        if _place(report) in [_place(path) for path in occupied]:
            raise InvalidInputError(f"{engine}: its report would go to {report}, which is in use; choose another --output")
        targets = parse_targets([text.replace(ENGINE, engine.name) for text in report_texts], occupied=[*occupied, report])
        run = run_of(engine) if output is None else None
        if run is not None:
            run.check_links()
        writable = can_be_written(report)
        if not writable and output is not None:
            raise InvalidInputError(f"--output {report}: cannot be written; choose another file")
        if not writable:
            remark(f"{report}: cannot be written, so this audit leaves no JSON report; --output names another place")
        occupied += [report, *(target.path for target in targets if target.path is not None)]
        plans.append(Plan(engine, report if writable else None, targets))
    return tuple(plans)


_SEVERAL = f"several engines would write to one place; put {ENGINE} into the file's name, such as "


def _report_path(engine: Path, output: Path | None, *, emulate: bool, sets: Path | None) -> Path:
    if output is not None:
        return Path(str(output).replace(ENGINE, engine.name))
    run = run_of(engine)
    name = f"{engine.name}{'.emulated' if emulate else ''}{_of_sets(sets, run)}"
    return engine.parent / f"{name}.audit.json" if run is None else run.audit_of(name)


def _of_sets(sets: Path | None, run: RunFolder | None) -> str:
    """The part of a report's name for a folder of sets that is not the run's own, so that it replaces no other report."""
    if sets is None or (run is not None and real(sets) == real(run.sets)):
        return ""
    if run is None and not (sets / EXTERNAL_FILE).exists():
        return ""  # an engine without a run has one report beside it
    folder = real(sets)
    name = folder.parent.name if folder.name == RunFolder(folder.parent).sets.name else folder.name
    return f".{name}"


def _place(path: Path | None) -> Path | None:
    return None if path is None else real(path)
