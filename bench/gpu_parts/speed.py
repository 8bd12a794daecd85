"""Latency and throughput of the engines beside torch."""

from __future__ import annotations

import numpy as np
import torch

from skinaudit.bench.gpu_parts.part import Answer, Keep, Settings
from skinaudit.bench.report import table
from skinaudit.bench.throughput import EAGER, contestants, images_per_second, open_all, sets_of
from skinaudit.trainer.checkpoint import load_run_model

TITLE = "Images per second (times torch eager)"


def measure(settings: Settings, keep: Keep) -> Answer:
    """Images per second by batch, all contestants in turns; with a batch of 1 it is one over the latency."""
    torch.set_num_threads(settings.threads)
    engines, _ = open_all(settings.folder, provider=settings.provider, threads=settings.threads)
    model = load_run_model(settings.folder)
    answers = contestants(model, engines, device=settings.device, compiled=settings.compiled)
    clean = sets_of(settings.folder)[0]
    precision = {opened.name: opened.precision for opened in engines}
    speeds: dict[int, dict[str, float]] = {}

    def answer() -> Answer:
        rows = [
            [name, precision.get(name, "fp32")]
            + [f"{speed[name]:,.0f} ({speed[name] / speed[EAGER]:.2f})" for speed in speeds.values()]
            for name in answers
        ]
        columns = ("", "computes in", *(f"batch {batch}" for batch in speeds))
        about = f"Medians over {settings.rounds} rounds, the conversion from 8-bit images included."
        return Answer(f"{about}\n\n{table(columns, rows)}", {str(batch): values for batch, values in speeds.items()})

    for batch in settings.batches:
        images = next(clean.batches(batch))
        images = np.resize(images, (batch, *images.shape[1:]))  # a set of fewer images is repeated
        speeds[batch] = images_per_second(answers, images, rounds=settings.rounds)
        keep(answer())
    return answer()
