"""How often a floor of the policy is wrong: engines whose true figure is the floor, docs/results/floors.md.

    python bench/floors.py --output docs/results/floors.md

Answers are drawn, no model and no image is run. Intervals and p-values are those of the audit.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.contract import InputContract
from skinaudit.audit.figures.comparison import compare
from skinaudit.audit.judgement.gates import judge
from skinaudit.audit.judgement.policy import Floor, Policy
from skinaudit.audit.judgement.result import Verdict
from skinaudit.bench.report import table

SHARES = {"akiec": 0.033, "bcc": 0.051, "bkl": 0.110, "df": 0.011, "mel": 0.111, "nv": 0.670, "vasc": 0.014}
"""Shares of the classes of HAM10000."""
TRUTH = 0.8
"""Probability of a right answer in every class, and each floor but that of malignant sensitivity."""
OTHERS = 20
"""Further comparisons of an audit with a clean and an adversarial set of seven classes; Holm counts them, too."""
ROWS = ((300, 1), (1_000, 1), (1_000, 10), (3_000, 10))
"""Images, and images of a lesion, which are right or wrong together."""
FIGURES = ("accuracy", "balanced accuracy", "malignant sensitivity", "worst class")


def main() -> None:
    """Parse the command line, simulate, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rows = []
    for images, together in ROWS:
        counts = wrong(images, together, draws=options.draws, seed=options.seed)
        name = f"{images:,} images, {together} a lesion"
        cells = [[f"{100 * counts[figure, verdict] / options.draws:.1f}" for verdict in WHAT] for figure in FIGURES]
        rows.append([name, *(" / ".join(cell) for cell in cells)])
        print(rows[-1], file=sys.stderr, flush=True)
    command = shlex.join(["python", "bench/floors.py", *sys.argv[1:]])
    options.output.write_text(_page(command, table(("", *FIGURES), rows), options.draws), encoding="utf-8")


WHAT = ("PASS", "FAIL alone", "FAIL among others")


def wrong(images: int, together: int, *, draws: int, seed: int) -> Counter[tuple[str, str]]:
    """How often the floor of each figure passes, and fails, where the figure's true value is the floor."""
    contract, generator = InputContract(size=8), np.random.default_rng([seed, images, together])
    malignant = TRUTH + (1 - TRUTH) * (len(contract.malignant) - 1) / (len(contract.classes) - 1)
    true = {
        "accuracy": TRUTH,
        "balanced_accuracy": TRUTH,
        "malignant_sensitivity": malignant,
        "worst_class_sensitivity": TRUTH,
    }
    floors = [Floor(**{name: 100 * share}) for name, share in true.items()]
    counts = Counter[tuple[str, str]]()
    for _ in range(draws):
        labels, answers, groups = _drawn(images, together, contract, generator)
        common: dict[str, Any] = {"labels": labels, "groups": groups, "contract": contract, "confidence": 0.95}
        compared = compare(answers, None, engine_clean=None, **common)
        of_set: Any = SimpleNamespace(name="clean", title="clean", attack="clean", comparison=compared, subgroups=())
        for figure, floor in zip(FIGURES, floors, strict=True):
            (gate,) = judge([of_set], [], policy := Policy(floors={"clean": floor}))
            assert gate.p_value is not None
            counts[figure, "PASS"] += gate.judgement.verdict is Verdict.PASS
            counts[figure, "FAIL alone"] += gate.judgement.verdict is Verdict.FAIL
            counts[figure, "FAIL among others"] += gate.p_value * (OTHERS + 1) < policy.alpha
    return counts


def _drawn(
    images: int, together: int, contract: InputContract, generator: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Labels, answers and lesions; all images of a lesion have one answer."""
    lesions, classes = images // together, len(contract.classes)
    shares = np.array([SHARES[name] for name in contract.classes])
    labels = generator.choice(classes, lesions, p=shares / shares.sum())
    wrong_labels = (labels + generator.integers(1, classes, lesions)) % classes
    answers = np.where(generator.random(lesions) < TRUTH, labels, wrong_labels)
    groups = np.repeat(np.arange(lesions), together)
    return labels[groups], answers[groups], groups


def _page(command: str, rows: str, draws: int) -> str:
    return f"""# Floors: how often they are wrong

    {command}

Answers are simulated; no model and no image is involved. The seven classes are as frequent as in HAM10000. The engine
is right on {TRUTH:.0%} of the images of each class, and each floor is the true value of its figure. The three figures
are in percent of {draws:,} draws: PASS; FAIL, if the floor were the only comparison; FAIL among {OTHERS} other
comparisons (Holm), as in an audit of a clean and an adversarial set. Each should be at most 2.5%; the standard error of
2.5% is {100 * (0.025 * 0.975 / draws) ** 0.5:.1f} points.

{rows}"""


if __name__ == "__main__":
    main()
