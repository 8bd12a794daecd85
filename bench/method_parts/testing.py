"""Figures of the test images with 95% intervals, by a bootstrap of lesions."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.files import write_bytes
from skinaudit.bench.method_parts.training import Job, data_of, summary, test_logits

DRAWS = 1000


def test(job: Job, *, attack: str) -> dict[str, Any]:
    """The figures on the test images, clean and under each attack, of a finished training: value and interval, shares of 1.

    Written beside the training with the logits; what is there is read.
    """
    if job.tested.exists():
        return dict(json.loads(job.tested.read_text(encoding="utf-8")))
    logits = test_logits(job, attack=attack)
    np.savez(job.path / "test_logits.npz", **logits)  # type: ignore[arg-type]
    dataset, parts = data_of(job.data, job.size, job.images)
    samples = lesion_samples(dataset.groups[parts.test], draws=DRAWS)
    figures = {}
    for name, answers in logits.items():

        def of_rows(chosen: NDArray[np.int64], answers: NDArray[np.float32] = answers) -> dict[str, float]:
            return summary(answers[chosen], dataset, parts.test[chosen])

        figures[name] = with_intervals(of_rows, samples, images=len(parts.test))
    shown = {key: value for key, value in asdict(job).items() if key not in ("folder", "data")}
    result = {**shown, "attack": attack, "test": figures}
    write_bytes(job.tested, json.dumps(result, indent=1).encode())
    return result


def lesion_samples(groups: NDArray[np.int64], *, draws: int) -> list[NDArray[np.int64]]:
    """Rows of `draws` samples of lesions with replacement, each with all of its images. groups: the lesion of each image."""
    generator = np.random.default_rng(0)
    _, lesion = np.unique(groups, return_inverse=True)
    rows = [np.flatnonzero(lesion == number) for number in range(lesion.max() + 1)]
    return [np.concatenate([rows[number] for number in generator.integers(0, len(rows), len(rows))]) for _ in range(draws)]


def with_intervals(
    figures_of: Callable[[NDArray[np.int64]], dict[str, float]], samples: list[NDArray[np.int64]], *, images: int
) -> dict[str, list[float]]:
    """Each figure of all images, and the 2.5% and 97.5% quantiles of those of the samples."""
    drawn = [figures_of(chosen) for chosen in samples]
    low_high = {name: np.quantile([figures[name] for figures in drawn], (0.025, 0.975)) for name in drawn[0]}
    return {
        name: [value, *(float(bound) for bound in low_high[name])] for name, value in figures_of(np.arange(images)).items()
    }
