"""How often the intervals of ROC areas hold the truth, for lesions of one or two images: takes a quarter of a minute."""

from __future__ import annotations

import argparse
import math
from statistics import NormalDist

import numpy as np

from skinaudit.audit.figures.scores import compare_scores

LESIONS = ((30, 120), (175, 725))
DISTANCES = (1.0, 2.5)
"""Of the mean scores of malignant and benign lesions, in standard deviations; the worse model has four fifths of it."""
TOGETHER = 0.8
"""Share of the variance that is the lesion's own."""


def coverage(malignant: int, benign: int, distance: float, *, draws: int, seed: int) -> tuple[float, float, float]:
    """The true area, and the shares of draws whose interval holds it and whose interval of the drop holds that."""
    generator, lesions = np.random.default_rng(seed), malignant + benign
    area, worse = (NormalDist().cdf(part * distance / math.sqrt(2)) for part in (1.0, 0.8))
    covered = held_drop = 0
    for _ in range(draws):
        groups = np.repeat(np.arange(lesions), generator.integers(1, 3, lesions))
        ill = groups < malignant
        own = math.sqrt(TOGETHER) * generator.normal(0, 1, lesions)[groups]
        models = [
            np.stack([np.zeros(len(groups)), part * distance * ill + own + noise], axis=1)
            for part in (0.8, 1.0)
            for noise in [math.sqrt(1 - TOGETHER) * generator.normal(0, 1, len(groups))]
        ]
        figures = compare_scores(
            models[0], models[1],
            labels=ill.astype(np.int64), groups=groups, malignant=(1,), confidence=0.95, probabilities=False,
        )  # fmt: skip
        assert figures.source is not None
        assert figures.source.area is not None
        assert figures.area_drop is not None
        covered += figures.source.area.interval.low <= area <= figures.source.area.interval.high
        held_drop += figures.area_drop.interval.low <= area - worse <= figures.area_drop.interval.high
    return area, covered / draws, held_drop / draws


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print("| malignant lesions | benign lesions | area | holds the area | holds the drop |\n|--:|--:|--:|--:|--:|")
    for malignant, benign in LESIONS:
        for distance in DISTANCES:
            area, covered, held_drop = coverage(malignant, benign, distance, draws=options.draws, seed=options.seed)
            print(f"| {malignant} | {benign} | {area:.3f} | {covered:.1%} | {held_drop:.1%} |")


if __name__ == "__main__":
    main()
