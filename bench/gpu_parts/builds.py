"""Every engine that this machine can build, but for the compiled packages, which take as long as all others together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from skinaudit.bench.gpu_parts.part import Answer, Keep, Settings
from skinaudit.bench.report import table
from skinaudit.errors import SkinauditError
from skinaudit.export.build import BuildOptions
from skinaudit.export.export import export_run
from skinaudit.export.formats import FORMATS

TITLE = "Built"
COMPILED = "aotinductor"


def measure(settings: Settings, keep: Keep) -> Answer:
    """Export every precision of every installed format; what a format cannot build is a row that says why."""
    return build(settings, [name for name in FORMATS if name != COMPILED], keep)


def build(settings: Settings, names: Sequence[str], keep: Keep) -> Answer:
    """Export every precision of the formats of these names that are installed, and asked for."""
    rows: list[list[str]] = []
    figures: dict[str, Any] = {}

    def answer() -> Answer:
        columns = ("file", "MB", "seconds, comparison included", "layers found", "agreement on the clean set, measured on")
        return Answer(table(columns, rows), figures)

    for name in names:
        form = FORMATS[name]
        if not form.installed or (settings.formats and name not in settings.formats):
            continue
        for precision in form.graphs:
            label = f"{name} {precision}"
            try:
                (built,) = export_run(
                    settings.folder, precisions=[precision], formats=[name], threads=settings.threads,
                    progress=lambda line: print(line, flush=True),
                    options=BuildOptions(provider=settings.provider) if "provider" in form.options else None,
                )  # fmt: skip
            except SkinauditError as error:
                rows.append([label, "-", "-", "-", str(error).replace("|", "/")])
                figures[label] = {"error": str(error)}
                keep(answer())
                continue
            layers = ", ".join(f"{layer} {count}" for layer, count in built.manifest.found.items())
            how = built.manifest.parity.get("measured_on", "the engine")
            parity = f"{built.manifest.parity['agreement']:.2%} ({how})"
            rows.append([built.path.name, f"{built.size / 1e6:.2f}", f"{built.seconds:.1f}", layers, parity])
            figures[label] = {"seconds": built.seconds, "bytes": built.size, "parity": dict(built.manifest.parity)}
            keep(answer())
    return answer()
