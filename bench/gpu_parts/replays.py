"""What the engines answer on the stored sets, and how much their answers depend on the run and on the batch."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from skinaudit.audit.evidence.consistency import check_consistency
from skinaudit.bench.gpu_parts.part import Answer, Keep, Settings
from skinaudit.bench.report import table
from skinaudit.bench.throughput import agreement, open_all, sets_of
from skinaudit.errors import EngineError

TITLE = "The stored sets, and what moves an answer"
_BATCH = 64  # that of an audit
_SEED = 0  # the same figures each time


def measure(settings: Settings, keep: Keep) -> Answer:
    """Replay each set on each engine that runs here, and look at repeats, batch sizes and neighbours as an audit does."""
    engines, left_out = open_all(settings.folder, provider=settings.provider, threads=settings.threads)
    rows: list[list[str]] = []
    moved: list[list[str]] = []
    figures: dict[str, Any] = {"not run": list(left_out.values())}

    def answer() -> Answer:
        text = table(("engine", "computes in", "set", "source", "engine", "flips"), rows)
        caption = (
            f"The same {_BATCH} images and fewer, in batches of 1, 7, {_BATCH} and {2 * _BATCH + 1}, twice and reversed."
        )
        columns = ("engine", "repeats to the bit", "batch moves no bit", "largest move, of the range", "flips", "odd frames")
        missing = "".join(f"- not run: {reason}\n" for reason in left_out.values())
        return Answer(f"{text}\n{missing}\n{caption}\n\n{table(columns, moved)}", figures)

    for opened in engines:
        figures[opened.name] = {"description": asdict(opened.engine.description), "sets": {}}
        try:
            for stored in sets_of(settings.folder):
                agreed = agreement(opened.engine, stored)
                figures[opened.name]["sets"][stored.info.name] = asdict(agreed)
                rows.append([
                    opened.name, opened.precision, agreed.title, f"{agreed.source:.1%}", f"{agreed.engine:.1%}",
                    f"{agreed.flips} of {agreed.images}",
                ])  # fmt: skip
            clean = sets_of(settings.folder)[0]
            consistency = check_consistency(opened.engine, clean, batch_size=_BATCH, seed=_SEED)
        except EngineError as error:
            rows.append([opened.name, opened.precision, str(error).replace("|", "/"), "-", "-", "-"])
            figures[opened.name]["error"] = str(error)
            keep(answer())
            continue
        figures[opened.name]["consistency"] = asdict(consistency)
        moved.append([
            opened.name, "yes" if consistency.repeats else "NO", "yes" if consistency.identical else "no",
            f"{consistency.largest:.1e}", str(consistency.flips), ", ".join(consistency.odd) or "none",
        ])  # fmt: skip
        keep(answer())
    return answer()
