"""Latency and throughput of the engines beside torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from skinaudit.bench.gpu_parts.part import Answer, Keep, Settings
from skinaudit.bench.report import table
from skinaudit.bench.throughput import COMPILED, EAGER, Throughput, contestants, open_all, sets_of, throughput
from skinaudit.errors import EngineError
from skinaudit.trainer.checkpoint import load_run_model

TITLE = "Images per second (times torch eager)"

Cell = Throughput | str
"""What was measured of one contestant at one batch size, or why nothing was."""


def measure(settings: Settings, keep: Keep) -> Answer:
    """Images per second by batch, one contestant after the other; with a batch of 1 it is one over the latency.

    Those whose first calls take long come last: engines that compute in int8, and torch.compile.
    """
    torch.set_num_threads(settings.threads)
    engines, left_out = open_all(settings.folder, provider=settings.provider, threads=settings.threads)
    model = load_run_model(settings.folder)
    answers = contestants(model, engines, device=settings.device, compiled=settings.compiled)
    precision = {opened.name: opened.precision for opened in engines}
    order = sorted(answers, key=lambda name: (name == COMPILED, "int8" in precision.get(name, "")))
    clean = sets_of(settings.folder)[0]
    cells: dict[str, dict[int, Cell]] = {}

    def answer() -> Answer:
        rows = [
            [name, precision.get(name, "fp32"), *_row(of_batches, cells[EAGER], settings)]
            for name, of_batches in cells.items()
        ]
        columns = ("", "computes in", *(f"batch {batch}" for batch in settings.batches), "first calls, s")
        caption = f"Medians over {settings.rounds} rounds, the conversion from 8-bit images included."
        return Answer(
            f"{caption}\n\n{table(columns, rows)}",
            {name: _plain(of_batches) for name, of_batches in cells.items()} | left_out,
        )

    for name in order:
        cells[name] = {}
        for batch in settings.batches:
            images = next(clean.batches(batch))
            images = np.resize(images, (batch, *images.shape[1:]))  # a set of fewer images is repeated
            try:
                cells[name][batch] = throughput(answers[name], images, rounds=settings.rounds)
            except (EngineError, RuntimeError) as error:  # the others can still be measured
                cells[name][batch] = " ".join(str(error).split()).replace("|", "/")[:200]
            keep(answer())
    return answer()


def _row(of_batches: Mapping[int, Cell], eager: Mapping[int, Cell], settings: Settings) -> list[str]:
    texts = []
    for batch in settings.batches:
        cell, beside = of_batches.get(batch, "-"), eager.get(batch)
        if isinstance(cell, str):
            texts.append(cell)
        elif isinstance(beside, Throughput):
            texts.append(f"{cell.images_per_second:,.0f} ({cell.images_per_second / beside.images_per_second:.2f})")
        else:
            texts.append(f"{cell.images_per_second:,.0f}")
    preparing = sum(cell.preparing for cell in of_batches.values() if isinstance(cell, Throughput))
    return [*texts, f"{preparing:.1f}"]


def _plain(of_batches: Mapping[int, Cell]) -> dict[str, Any]:
    return {str(batch): cell if isinstance(cell, str) else asdict(cell) for batch, cell in of_batches.items()}
