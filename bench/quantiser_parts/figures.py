"""What quantised files answer to a run's stored sets, and the tables of it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skinaudit.artifacts.adversarial_set import AdversarialSet
from skinaudit.artifacts.logits import Indices, predictions
from skinaudit.artifacts.manifest import read_run, resolve
from skinaudit.audit.evidence.replay import replay
from skinaudit.audit.figures import metrics
from skinaudit.bench.quantiser_parts.quantiser import Order, Quantiser
from skinaudit.bench.report import table
from skinaudit.engines import onnx_graph
from skinaudit.export.calibration import read_calibration
from skinaudit.export.export import export_run

EIGHT_BIT = ("int8", "fp8")


@dataclass(frozen=True)
class SetFigures:
    """Answers to one set. agreement: images answered as by the source; accuracies as fractions of 1.

    lost: malignant images that the source names rightly and that are called benign.
    """

    title: str
    images: int
    agreement: int
    accuracy: float
    balanced: float
    lost: int


@dataclass(frozen=True)
class Quantised:
    """What came of one quantiser. layers: weighted layers by precision, read from the file. size: bytes of all its files."""

    name: str
    ships_in: str
    layers: Mapping[str, int]
    size: int
    seconds: float
    sets: tuple[SetFigures, ...]


def quantise(quantiser: Quantiser, run: Path, sets: Sequence[AdversarialSet], *, threads: int) -> Quantised:
    """Quantise the run's fp32 graph, which is exported if it is not there, and show the sets to the result.

    seconds: of the quantiser alone. Raises as the quantiser does, and EngineError where its file cannot be run.
    """
    manifest = read_run(run)
    (reference,) = export_run(run, precisions=("fp32",), threads=threads)
    calibration = read_calibration(resolve(run, manifest.calibration), size=manifest.contract.size)
    with tempfile.TemporaryDirectory() as scratch:
        order = Order(onnx_graph.load(reference.path), calibration, run, Path(scratch))
        started = time.perf_counter()
        path = quantiser.quantise(order)
        seconds = time.perf_counter() - started
        engine = quantiser.open(path, threads=threads)
        weights = (path.with_suffix(".bin"),) if path.suffix == ".xml" else ()
        size = sum(file.stat().st_size for file in (path, *weights))
        figures = tuple(set_figures(image_set, predictions(replay(engine, image_set).logits)) for image_set in sets)
        return Quantised(quantiser.name, quantiser.ships_in, engine.description.found, size, seconds, figures)


def set_figures(image_set: AdversarialSet, answers: Indices) -> SetFigures:
    """Compare answers (N,) to a set with its stored source logits and its labels."""
    source, labels = predictions(image_set.source_logits), image_set.labels
    malignant = image_set.info.contract.malignant_labels
    return SetFigures(
        image_set.info.title, len(image_set), len(image_set) - metrics.flips(source, answers),
        metrics.accuracy(answers, labels), metrics.balanced_accuracy(answers, labels),
        int(metrics.turned_benign(np.isin(source, malignant), answers, labels, malignant).sum()),
    )  # fmt: skip


def run_tables(sets: Sequence[AdversarialSet], quantised: Sequence[Quantised]) -> str:
    """Agreement with the source model, and what the answers are worth, as two Markdown tables."""
    source = [set_figures(image_set, predictions(image_set.source_logits)) for image_set in sets]
    titles = [figures.title for figures in source]
    best = [_best(quantised, index) for index in range(len(titles))]
    agreement, worth = [], [["source", *map(_worth, source)]]
    for result in quantised:
        shares = [_share(figures, best=figures.agreement == top) for figures, top in zip(result.sets, best, strict=True)]
        in_float = sum(count for name, count in result.layers.items() if name not in EIGHT_BIT)
        layers = f"{in_float} of {sum(result.layers.values())}"
        agreement.append(
            [result.name, result.ships_in, layers, f"{result.size / 1024:,.0f}", f"{result.seconds:.0f}", *shares]
        )
        worth.append([result.name, *map(_worth, result.sets)])
    heads = ("quantiser", "made for", "layers in float", "KiB", "seconds", *titles)
    images = " and ".join(f"{number:,}" for number in sorted({figures.images for figures in source}))
    return (
        f"Agreement with the source, % of {images} images:\n\n{table(heads, agreement)}\n"
        f"Accuracy / balanced accuracy, %, and in brackets the lost images:\n\n{table(('quantiser', *titles), worth)}"
    )


def _best(quantised: Sequence[Quantised], index: int) -> int:
    return max((result.sets[index].agreement for result in quantised), default=-1)


def _share(figures: SetFigures, *, best: bool) -> str:
    share = f"{100 * figures.agreement / figures.images:.1f}"
    return f"**{share}**" if best else share


def _worth(figures: SetFigures) -> str:
    return f"{100 * figures.accuracy:.1f} / {100 * figures.balanced:.1f} ({figures.lost})"
