"""The plot of a study: hardened models by the origin of the adversarial images, accuracy and balanced accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from skinaudit.artifacts.files import atomic_path
from skinaudit.artifacts.study_folder import StudyModel
from skinaudit.audit.study import PAPER, Figures, Study, paper_name, split_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CONDITIONS = (
    ("clean", True, "clean", "#1a7f64"),
    ("pgd", False, "PGD crafted on the standard model (stale)", "#e0a030"),
    ("pgd", True, "PGD crafted on the hardened model itself", "#c2472f"),
    ("autoattack", True, "AutoAttack on the hardened model itself, on a sample of the images", "#5b2333"),
)
"""Attack, whether the images were crafted on the model itself, text of the legend, colour."""
_BAR = 0.2

Group = dict[tuple[str, bool], Figures]


def draw_study(study: Study, path: Path) -> bool:
    """Write the plot as PNG; returns False and writes nothing if no hardened model is measured yet."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    groups: dict[StudyModel, Group] = {}
    for row in study.rows:
        if row.model.hardened:
            groups.setdefault(row.model, {})[row.attack, row.on_itself] = row.figures
    if not groups:
        return False
    models = sorted(groups, key=lambda model: (model.recipe != "paper", model.split, model.arch))
    figure = Figure(figsize=(max(7.5, 2.6 * len(models) + 2), 7.2), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True)
    _bars(above, [groups[model] for model in models], balanced=False)
    _bars(below, [groups[model] for model in models], balanced=True)
    _of_paper(above, models)
    first = groups[models[0]]["clean", True]
    for axes, share, title in (
        (above, first.majority_share, f"always {study.majority_class}: {first.majority_share:.1%}"),
        (below, first.constant_balanced, f"any constant answer: {first.constant_balanced:.1%}"),
    ):
        axes.axhline(100 * share, color="grey", linewidth=1, linestyle=":", label=title)
        axes.set_ylim(0, 100)
    above.set_ylabel("accuracy, %")
    below.set_ylabel("balanced accuracy, %")
    below.set_xticks(
        range(len(models)), [f"{model.arch}\n{model.recipe} recipe, {split_text(model.split)}" for model in models]
    )
    title = "Hardened models by the origin of the adversarial images"
    above.set_title(f"SYNTHETIC images. {title}" if study.synthetic else title, fontsize=10)
    handles, labels = above.get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=8, loc="outside lower center", ncols=2)
    constant = [pair for pair in zip(*below.get_legend_handles_labels(), strict=True) if pair[1].startswith("any constant")]
    below.legend(*zip(*constant, strict=True), fontsize=8, loc="upper right")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120, metadata={"Software": None})
    return True


def _bars(axes: Axes, groups: Sequence[Group], *, balanced: bool) -> None:
    """Up to four bars per model, each with its interval."""
    for number, (attack, on_itself, label, colour) in enumerate(_CONDITIONS):
        measured = {place: group[attack, on_itself] for place, group in enumerate(groups) if (attack, on_itself) in group}
        if not measured:
            continue
        places = [place + (number - 1.5) * _BAR for place in measured]
        values = [figures.balanced if balanced else figures.accuracy for figures in measured.values()]
        intervals = [figures.balanced_interval if balanced else figures.interval for figures in measured.values()]
        ends = [(value - interval.low, interval.high - value) for value, interval in zip(values, intervals, strict=True)]
        heights, lengths = 100 * np.array(values), 100 * np.array(ends).T.clip(0)
        axes.bar(places, heights, 0.9 * _BAR, color=colour, label=label)
        axes.errorbar(places, heights, yerr=lengths, linestyle="", color="black", capsize=2, linewidth=1)
        for place, height in zip(places, heights, strict=True):
            axes.text(place, 2, f"{height:.0f}", ha="center", fontsize=8, color="white", zorder=5)
    axes.set_xlim(-0.55, len(groups) - 0.45)


def _of_paper(axes: Axes, models: Sequence[StudyModel]) -> None:
    """The paper's clean and PGD accuracies, as lines over the corresponding bars."""
    label = "Huq & Pervin 2020: clean, PGD"
    for place, model in enumerate(models):
        theirs = PAPER.get((paper_name(model.arch), True))
        if theirs is not None:
            axes.hlines(theirs["clean"], place - 2 * _BAR, place - _BAR, color="black", linewidth=2, label=label)
            axes.hlines(theirs["pgd"], place - _BAR, place + _BAR, color="black", linewidth=2)
            label = ""  # named only once
