"""The results of `bench/methods.py` as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from skinaudit.bench.method_parts.candidates import BASELINE
from skinaudit.bench.report import table

Result = Mapping[str, Any]


def page(results: Sequence[Result], tests: Sequence[Result], costs: Mapping[str, float]) -> str:
    """Costs of an epoch, validation figures of all candidates at each eps, test figures of those that were tested."""
    radii = sorted({result["eps"] for result in results if result["eps"]})
    parts = [_costs(costs), *(_validation(results, eps) for eps in radii), *(_tests(tests, eps) for eps in radii if tests)]
    return "\n".join(parts)


def _costs(costs: Mapping[str, float]) -> str:
    rows = [[work, f"{cost:.2f}"] for work, cost in sorted(costs.items(), key=lambda item: item[1])]
    return f"## What an epoch costs\n\nAt full eps, as a multiple of plain PGD's.\n\n{table(('work', 'time'), rows)}"


def _validation(results: Sequence[Result], eps: int) -> str:
    """A row a candidate, the most robust first. The attack is the last one of the results at this eps, the strongest."""
    strongest = [name for result in results for name in result["validation"] if name.endswith(f" {eps}/255")][-1]
    attack = strongest.partition(" ")[0]
    header = (
        "candidate", "epochs", "training, s", "seeds", "clean", "PGD-40", f"{attack} (least to greatest)", "times PGD's",
        f"malignant sensitivity under {attack}",
    )  # fmt: skip
    lines = list(_by_candidate(results, eps, strongest))
    base = next((cells["robust"] for name, _, _, cells in lines if name == BASELINE), float("nan"))
    rows = [
        [
            name, str(epochs), f"{cells['seconds']:.0f}", str(seeds), f"{cells['clean']:.1%}", f"{cells['pgd']:.1%}",
            f"{cells['robust']:.1%} ({cells['least']:.1%} to {cells['greatest']:.1%})",
            f"{cells['robust'] / base:.2f}", f"{cells['malignant']:.1%}",
        ]
        for name, epochs, seeds, cells in sorted(lines, key=lambda line: -line[3]["robust"])
    ]  # fmt: skip
    return (
        f"## Validation images, {eps}/255\n\nBalanced accuracy, mean over the seeds. "
        f"Seconds with all trainings at once.\n\n{table(header, rows)}"
    )


def _by_candidate(results: Sequence[Result], eps: int, strongest: str) -> Iterator[tuple[str, int, int, dict[str, float]]]:
    for name in dict.fromkeys(result["name"] for result in results):
        of_candidate = [result for result in results if result["name"] == name and strongest in result["validation"]]
        if of_candidate:
            by_attack = [result["validation"] for result in of_candidate]
            robust = [result[strongest]["balanced_accuracy"] for result in by_attack]
            cells = {
                "seconds": _mean(result["training_seconds"] for result in of_candidate),
                "least": min(robust),
                "greatest": max(robust),
                "clean": _mean(result["clean"]["balanced_accuracy"] for result in by_attack),
                "pgd": _mean(result[f"pgd {eps}/255"]["balanced_accuracy"] for result in by_attack),
                "robust": _mean(iter(robust)),
                "malignant": _mean(result[strongest]["malignant_sensitivity"] for result in by_attack),
            }
            yield name, of_candidate[0]["epochs"], len(of_candidate), cells


def _mean(values: Iterator[float]) -> float:
    return float(np.mean(list(values)))


def _tests(tests: Sequence[Result], eps: int) -> str:
    """A row a candidate and attack: mean over seeds, their least and greatest, and the interval of the first seed."""
    columns = ("accuracy", "balanced_accuracy", "malignant_sensitivity", "malignant_auc", "sensitivity_mel")
    header = ("candidate", "attack", "accuracy", "balanced", "malignant sensitivity", "malignant AUC", "melanoma")
    rows = []
    for name in dict.fromkeys(result["name"] for result in tests):
        of_candidate = [
            result["test"] for result in tests if result["name"] == name and f"autoattack {eps}/255" in result["test"]
        ]
        for attack in ("clean", f"pgd {eps}/255", f"autoattack {eps}/255") if of_candidate else ():
            cells = (_cell([result[attack][column] for result in of_candidate]) for column in columns)
            rows += [[name, attack, *cells]]
    return (
        f"## Test images, {eps}/255\n\nMean over the seeds (least to greatest of them) and the 95% interval of the first "
        f"seed by a bootstrap of lesions.\n\n{table(header, rows)}"
    )


def _cell(figures: Sequence[Sequence[float]]) -> str:
    values = [figure[0] for figure in figures]
    spread = f" ({100 * min(values):.1f} to {100 * max(values):.1f})" if len(values) > 1 else ""
    low, high = figures[0][1:]
    return f"{100 * float(np.mean(values)):.1f}{spread} [{100 * low:.1f}, {100 * high:.1f}]"
