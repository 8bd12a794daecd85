"""Where reports go: `FORMAT=FILE` from the command line, checked before an audit and written after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from skinaudit.artifacts.files import write_bytes
from skinaudit.audit import reports
from skinaudit.audit.result import AuditResult
from skinaudit.errors import InvalidInputError

STDOUT = "-"


@dataclass(frozen=True)
class Target:
    """A report to write. path: None for standard output. Invariant: there is such a format."""

    format: str
    path: Path | None


def parse_targets(given: Sequence[str], *, taken: Sequence[Path] = ()) -> tuple[Target, ...]:
    """Targets from texts such as `junit=audit.xml`, where the file `-` is standard output.

    taken: files that are written to already. Raises InvalidInputError for a text of another form, an unknown format, a
    folder, and two reports in one place.
    """
    found: list[Target] = []
    for text in given:
        name, separator, file = text.partition("=")
        if not (name and separator and file):
            raise InvalidInputError(
                f"--report {text}: write FORMAT=FILE, such as junit=audit.xml, or FORMAT={STDOUT} for standard output; "
                f"the formats are {', '.join(reports.names())}"
            )
        reports.check_name(name)
        target = Target(name, None if file == STDOUT else Path(file))
        if target.path is not None and (target.path.is_dir() or file.endswith("/")):
            raise InvalidInputError(f"--report {text}: {file} is a folder; name a file in it")
        if _place(target.path) in [_place(one.path) for one in found] + [_place(path) for path in taken]:
            raise InvalidInputError(f"--report {text}: something else goes to {file} already; choose another file")
        found.append(target)
    return tuple(found)


def write_targets(targets: Sequence[Target], result: AuditResult) -> str | None:
    """Write each report atomically; returns the text for standard output, None where no report goes there.

    All are rendered before the first is written.
    """
    texts = [reports.render(one.format, result) for one in targets]
    printed = None
    for one, text in zip(targets, texts, strict=True):
        if one.path is None:
            printed = text
        else:
            write_bytes(one.path, text.encode())
    return printed


def _place(path: Path | None) -> Path | None:
    return None if path is None else path.resolve()
