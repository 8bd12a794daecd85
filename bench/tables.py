"""Print the audits of runs as one Markdown table: `python bench/tables.py runs/standard runs/hardened`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def rows(report: dict[str, Any]) -> list[list[str]]:
    """One row a set: source and engine accuracy, balanced accuracy, first malignant class, drop, flips, verdict."""
    made = []
    verdicts = {gate["set"]: gate["judgement"]["verdict"] for gate in report["gates"] if gate["rule"] == "drop"}
    for one in report["sets"]:
        found = one["comparison"]
        drop = found["drop"]
        low, high = (100 * drop["interval"][side] for side in ("low", "high"))
        first = next(item for item in found["classes"] if item["name"] == report["malignant"][0])
        made.append(
            [
                f"{report['run_name']} {Path(report['engine']).name}{', emulated' if report['emulated'] else ''}",
                one["title"],
                pair(found["source_accuracy"], found["engine_accuracy"]),
                pair(found["source_balanced"], found["engine_balanced"]),
                pair(share(first["source"]), share(first["engine"])),
                f"{100 * drop['value']:+.1f} [{low:+.1f}, {high:+.1f}]",
                f"{found['flips']} ({found['malignant_to_benign']})",
                verdicts[one["title"]],
            ]
        )
    return made


def share(counted: dict[str, int]) -> float:
    """The share of a counted fraction."""
    return counted["right"] / counted["count"]


def pair(source: float, engine: float) -> str:
    """Two shares as percentages."""
    return f"{100 * source:.1f} / {100 * engine:.1f}"


def main(runs: list[Path]) -> None:
    """Read every audit of the runs and print the table."""
    head = ["engine", "set", "accuracy", "balanced", "melanoma", "drop [95%], points", "flips (mal. to benign)", "verdict"]
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for run in runs:
        for path in sorted((run / "audits").glob("*.json"), key=lambda one: one.stem):
            for row in rows(json.loads(path.read_text(encoding="utf-8"))):
                print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
