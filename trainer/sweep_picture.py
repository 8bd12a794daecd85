"""Plots robust accuracy against eps and against steps."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from skinaudit.artifacts.files import atomic_path
from skinaudit.trainer.sweep import Point

_COLOURS = ("#4c5fd7", "#c2472f", "#1a7f64", "#b8860b", "#7b3fa0", "#2f8fb3", "#8c564b", "#5a5a5a")


def draw_sweep(
    path: Path, by_eps: Sequence[Point], by_steps: Sequence[Point], *, clean: float, at: str,
    marked: Collection[tuple[str, str, int | None]], title: str,
) -> None:  # fmt: skip
    """Write a PNG atomically, with a curve for each attack; dashed if the attack uses no gradients.

    marked: attack, eps and steps of the points that show a broken attack; they get a ring. clean: accuracy without an
    attack, as a share of 1. at: norm and eps of `by_steps`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    radius_axes, steps_axes = figure.subplots(1, 2, sharey=True)
    names = list(dict.fromkeys(point.attack for point in (*by_eps, *by_steps)))
    for axes, points in ((radius_axes, by_eps), (steps_axes, by_steps)):
        axes.axhline(100 * clean, color="grey", linewidth=0.8, linestyle=":", label="without an attack")
        ringed = False
        for attack in dict.fromkeys(point.attack for point in points):
            curve = [point for point in points if point.attack == attack]
            places = [float(point.threat_model.eps_255) if point.steps is None else point.steps for point in curve]
            shares = [100 * float(point.standing.mean()) for point in curve]
            colour, style = _COLOURS[names.index(attack) % len(_COLOURS)], "--" if curve[0].answers_alone else "-"
            axes.plot(places, shares, style, marker="o", markersize=4, color=colour, label=attack)
            for point, place, share in zip(curve, places, shares, strict=True):
                if (attack, point.threat_model.eps_text, point.steps) in marked:
                    label = None if ringed else "sign of a broken attack"
                    axes.plot(place, share, "o", markersize=12, fillstyle="none", color="red", label=label)
                    ringed = True
        if points:
            axes.set_xscale("log", base=2)
            ticks = sorted({float(point.threat_model.eps_255) if point.steps is None else point.steps for point in points})
            axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_ylim(0, 100)
        axes.legend(fontsize=8)
    norm = by_eps[0].threat_model.norm if by_eps else "linf"
    radius_axes.set(xlabel=f"eps ({norm}), in 255ths", ylabel="robust accuracy, %", title=title)
    steps_axes.set(xlabel=f"steps, at {at}", title="attacks with steps")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120, metadata={"Software": None})
