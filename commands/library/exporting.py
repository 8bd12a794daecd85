"""`skinaudit.export`: from a run to engine files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from skinaudit.commands.library.arguments import LOG, as_path, as_the_command_takes_them, thread_count
from skinaudit.commands.library.run_folders import LATEST, check_latest

if TYPE_CHECKING:
    from skinaudit.errors import SkinauditError
    from skinaudit.export.run_build import Exported


@as_the_command_takes_them
def export(
    run: str | Path = LATEST,
    *,
    format: Sequence[str] = (),
    precision: Sequence[str] = ("fp32",),
    output: str | Path | None = None,
    provider: Literal["cpu", "cuda"] = "cpu",
    batches: tuple[int, int, int] = (1, 32, 128),
    target: Sequence[str] = (),
    version_compatible: bool = False,
    hardware_compatible: bool = False,
    refit: bool = False,
    strip: bool = False,
    timing_cache: str | Path | None = None,
    workspace: int | None = None,
    rebuilds: int = 1,
    threads: int | None = None,
    progress: Callable[[str], None] = LOG.info,
    refused: Callable[[SkinauditError], None] | None = None,
    remark: Callable[[str], None] = LOG.warning,
) -> tuple[Exported, ...]:
    """Compile a run to engine files, prove their precision and measure their parity; returns an entry for each file.

    Each argument is the option of `skinaudit export` with the same name, and has the same default; `precision` stands for
    the options `--fp32`, `--fp16` and so on. progress: called with a line of text before each step. refused: called with the
    error of each engine that is not written; the other engines are still written. Without it the first such error is
    raised. remark: called with a line that names the run of `runs/latest`. Raises InvalidInputError for a run or options
    that cannot be used, EngineError for an engine whose answers differ from those of the model, and MissingDependencyError
    if a step needs a library that is not installed.
    """
    check_latest(Path(run), remark=remark)
    from skinaudit.export.build import BuildOptions
    from skinaudit.export.export import export_run
    from skinaudit.export.formats import format_of

    output, chosen = as_path(output), tuple(format)
    options = BuildOptions(
        version_compatible=version_compatible, hardware_compatible=hardware_compatible, targets=tuple(target), refit=refit,
        strip=strip, timing_cache=as_path(timing_cache), workspace=workspace, provider=provider, batches=batches,
        rebuilds=rebuilds,
    )  # fmt: skip
    return export_run(
        Path(run), precisions=tuple(precision), formats=chosen or (None if output is None else (format_of(output),)),
        output=output, options=options, threads=thread_count(threads), progress=progress, refused=refused,
    )  # fmt: skip
