"""The training log as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from skinaudit.artifacts.files import atomic_path


def draw_curves(history: Sequence[Mapping[str, Any]], path: Path, *, title: str) -> None:
    """Write loss and validation accuracies per epoch as a PNG, with the best epoch marked."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    loss, accuracy = figure.subplots(1, 2)
    epochs = [record["epoch"] for record in history]
    loss.plot(epochs, [record["loss"] for record in history], color="#4c5fd7")
    loss.set(xlabel="epoch", ylabel="training loss (class-weighted)", title=title)
    rows = (
        ("val_accuracy", "clean", "#1a7f64", "-"),
        ("val_balanced_accuracy", "clean, balanced", "#1a7f64", "--"),
        ("val_robust_accuracy", "PGD", "#c2472f", "-"),
        ("val_robust_balanced_accuracy", "PGD, balanced", "#c2472f", "--"),
    )
    for key, label, colour, line in rows:
        if key in history[0]:
            accuracy.plot(epochs, [100 * record[key] for record in history], line, color=colour, label=label)
    best = max(record["epoch"] for record in history if record["best"])
    accuracy.axvline(best, color="grey", linewidth=0.8, label=f"kept: epoch {best}")
    accuracy.set(xlabel="epoch", ylabel="validation accuracy, %", ylim=(0, 100))
    accuracy.legend(fontsize=8, loc="lower right")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120, metadata={"Software": None})
