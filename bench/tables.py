"""Print the audits of runs as one Markdown table: `python bench/tables.py runs/standard runs/hardened`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def rows(report: dict[str, Any]) -> list[list[str]]:
    """One row a set: source and engine accuracy, balanced accuracy, first malignant class, drop, flips, verdict."""
    lines = []
    verdicts = {gate["set"]: gate["judgement"]["verdict"] for gate in report["gates"] if gate["rule"] == "drop"}
    for entry in report["sets"]:
        comparison = entry["comparison"]
        drop = comparison["drop"]
        low, high = (100 * drop["interval"][side] for side in ("low", "high"))
        first = next(item for item in comparison["classes"] if item["name"] == report["malignant"][0])
        lines.append(
            [
                f"{report['run_name']} {Path(report['engine']).name}{', emulated' if report['emulated'] else ''}",
                entry["title"],
                pair(comparison["source_accuracy"], comparison["engine_accuracy"]),
                pair(comparison["source_balanced"], comparison["engine_balanced"]),
                pair(share(first["source"]), share(first["engine"])),
                f"{100 * drop['value']:+.1f} [{low:+.1f}, {high:+.1f}]",
                f"{comparison['flips']} ({comparison['malignant_to_benign']})",
                verdicts[entry["title"]],
            ]
        )
    return lines


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
        for path in sorted((run / "audits").glob("*.json"), key=lambda report_path: report_path.stem):
            for row in rows(json.loads(path.read_text(encoding="utf-8"))):
                print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
