"""The bench of hardening methods: equal time, one measure of rank, intervals that hold what they say."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skinaudit.artifacts.contract import MALIGNANT
from skinaudit.bench import methods
from skinaudit.bench.method_parts.candidates import BASELINE, CANDIDATES, STANDARD, Candidate, named
from skinaudit.bench.method_parts.costs import epochs_of
from skinaudit.bench.method_parts.page import page
from skinaudit.bench.method_parts.testing import lesion_samples, with_intervals
from skinaudit.bench.method_parts.training import area


def test_every_candidate_is_a_setting_of_the_trainer() -> None:
    assert len({candidate.name for candidate in CANDIDATES}) == len(CANDIDATES)
    for candidate in CANDIDATES:
        recipe = candidate.recipe_of(epochs=10, batch=64, malignant=MALIGNANT)
        hardening = candidate.hardening_for(Fraction(2), recipe=recipe, malignant=MALIGNANT)
        assert (hardening is None) == (candidate.hardening == "none")


def test_equal_time_is_shared_between_clean_and_hardened_epochs() -> None:
    costs = {"none": 0.2, "pgd": 1.0, "trades:beta=6": 1.5, "fgsm-rs": 0.5}
    (standard, pgd, trades, fast) = named((STANDARD, BASELINE, "trades", "fgsm-rs"))
    assert epochs_of(pgd, costs, epochs=20) == 20
    per_epoch = 0.4 * 0.2 + 0.6  # of plain PGD
    assert epochs_of(standard, costs, epochs=20) == round(20 * per_epoch / 0.2)
    assert epochs_of(trades, costs, epochs=20) == round(20 * per_epoch / (0.4 * 0.2 + 0.6 * 1.5))
    assert epochs_of(fast, costs, epochs=20) == round(20 * per_epoch / (0.4 * 0.2 + 0.6 * 0.5))
    assert epochs_of(Candidate("slow", "trades:beta=6"), {**costs, "trades:beta=6": 100}, epochs=20) == 5


def test_the_area_counts_pairs_and_halves_of_ties() -> None:
    scores, ill = np.array([3.0, 1.0, 2.0, 2.0, 0.0]), np.array([True, False, True, False, False])
    pairs = [(a > b) + (a == b) / 2 for a in scores[ill] for b in scores[~ill]]
    assert area(scores, ill) == pytest.approx(np.mean(pairs))


def test_lesions_are_drawn_whole() -> None:
    groups = np.array([0, 0, 1, 2, 2, 2])
    for chosen in lesion_samples(groups, draws=20):
        counts = np.bincount(chosen, minlength=6)
        assert counts[0] == counts[1]
        assert counts[3] == counts[4] == counts[5]
    figures = with_intervals(
        lambda rows: {"share": float((rows < 3).mean())}, lesion_samples(np.arange(600), draws=200), images=600
    )
    value, low, high = figures["share"]
    assert low <= value == 3 / 600 <= high
    assert high - low == pytest.approx(4 * np.sqrt(3) / 600, rel=0.5)


def written(folder: Path, name: str, seed: int, robust: float) -> dict[str, Any]:
    figures = {"accuracy": 0.7, "balanced_accuracy": robust, "malignant_sensitivity": 0.5}
    result = {
        "name": name, "eps": 2, "seed": seed, "epochs": 20, "training_seconds": 30.4,
        "validation": dict.fromkeys(("clean", "pgd 2/255", "autoattack 2/255"), figures),
    }  # fmt: skip
    path = folder / f"{name.replace(' ', '-')}-2-{seed}"
    path.mkdir(parents=True)
    (path / "result.json").write_text(json.dumps(result))
    return result


def test_the_best_are_chosen_by_the_mean_over_seeds(tmp_path: Path) -> None:
    results = [
        written(tmp_path, "pgd", 0, 0.3), written(tmp_path, "pgd", 1, 0.34),
        written(tmp_path, "trades", 0, 0.2), written(tmp_path, "trades", 1, 0.6), written(tmp_path, "mart", 0, 0.35),
    ]  # fmt: skip
    assert methods.best(tmp_path, 2) == ["trades", "mart", "pgd"]
    text = page(results, [], {"pgd": 1.0, "none": 0.2})
    assert "| trades | 20 | 30 | 2 | 40.0% | 40.0% | 40.0% (20.0% to 60.0%) | 1.25 | 50.0% |" in text
