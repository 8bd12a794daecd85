"""The charts of an audit: drops against the margin, accuracies, and robust accuracy against eps."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.threat_model import parse_eps
from skinaudit.audit.figures.comparison import Comparison
from skinaudit.audit.figures.set_result import SetResult
from skinaudit.audit.figures.statistics import Interval, wilson_interval
from skinaudit.audit.figures.text import margin_text
from skinaudit.audit.judgement.result import AuditResult, Verdict
from skinaudit.audit.reports.page import words
from skinaudit.audit.reports.page.drawing import COLOURS, FONT_SIZE, Chart, draw_chart
from skinaudit.audit.reports.page.words import percent, points, span
from skinaudit.audit.reports.parts.wording import margin_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH = 420.0
_ROW = 36.0
_LABEL = 22  # characters of a row's name in one line
_MARKERS = {Verdict.PASS: "o", Verdict.INCONCLUSIVE: "D", Verdict.FAIL: "X"}  # different shapes as well as different colours
_INK, _MUTED, _PAPER = COLOURS["ink"], COLOURS["muted"], COLOURS["paper"]
_SOURCE, _ENGINE = COLOURS["source"], COLOURS["engine"]


@dataclass(frozen=True)
class Accuracy:
    """Accuracy of one model on one set, in percent, with Wilson's interval over images."""

    value: float
    interval: Interval


def drop_chart(result: AuditResult) -> Chart | None:
    """The drop of every compared set with its interval and the margin; None if nothing was compared."""
    sets = [set_result for set_result in result.sets if set_result.comparison.drop is not None]
    if not sets:
        return None
    margins, names = [margin_points(set_result, result) for set_result in sets], _names(sets)
    single = len(set(margins)) == 1
    descriptions = (
        f"{set_result.title}: {span(set_result.comparison.drop)}, {_verdict(result, set_result).value}"
        + ("" if single else f", margin {margin_text(margin)}")
        for set_result, margin in zip(sets, margins, strict=True)
    )
    against = f"a margin of {margin_text(margins[0])}" if single else "each set's own margin"
    alt = f"Drop in accuracy in points with its interval, against {against}. {'; '.join(descriptions)}."

    def draw(figure: Figure) -> None:
        axes = _rows(figure, names, above=30, right=46)
        rows = np.arange(len(sets))
        drops = [set_result.comparison.drop for set_result in sets if set_result.comparison.drop is not None]
        lows, highs = [100 * drop.interval.low for drop in drops], [100 * drop.interval.high for drop in drops]
        verdicts = [_verdict(result, set_result) for set_result in sets]
        axes.hlines(rows, lows, highs, colors=[_colour(verdict) for verdict in verdicts], linewidth=3, zorder=2)
        for verdict in dict.fromkeys(verdicts):
            verdict_rows = [row for row in rows if verdicts[row] is verdict]
            values = [100 * drops[row].value for row in verdict_rows]
            axes.plot(values, verdict_rows, _MARKERS[verdict], color=_colour(verdict), markersize=9, markeredgecolor=_PAPER)
        for row, drop in enumerate(drops):
            axes.text(1.02, row, points(drop.value), transform=axes.get_yaxis_transform(), va="center")
        low, high = min(0.0, *lows), max(*margins, *highs)
        room = 0.08 * (high - low)
        axes.set_xlim(low - room, high + room)
        axes.axvline(0, color=_MUTED, linewidth=1)
        beyond = high + room - np.array(margins)
        axes.barh(rows, beyond, left=margins, height=1, color=COLOURS["fail"], alpha=0.13, linewidth=0)
        axes.vlines(margins, rows - 0.5, rows + 0.5, color=COLOURS["fail"], linewidth=1.5, linestyle=(0, (4, 3)))
        text = f"margin {margin_text(margins[0])}" if single else "margins"
        axes.text(margins[0], 1.03, text, transform=axes.get_xaxis_transform(), ha="right", color=COLOURS["fail"])
        axes.text(1.02, 1.03, "drop", transform=axes.transAxes, color=_MUTED)
        axes.set_xlabel("drop, points (right: engine worse)")

    title = f"Drop against the margin, {words.confidence(result.policy)} intervals"
    return draw_chart(draw, name="drops", title=title, alt=alt, width=_WIDTH, height=78 + _height(names))


def accuracy_chart(result: AuditResult) -> Chart:
    """Accuracy of source and engine on every set, and that of always answering the most frequent class."""
    sets, names = result.sets, _names(result.sets)
    clean, confidence = sets[0].comparison, result.policy.confidence
    descriptions = (f"{set_result.title}: {_source_and_engine(set_result)}" for set_result in sets)
    constant = f"always {clean.majority_class}: {percent(clean.majority_share)}"
    alt = f"Accuracy of source and engine. {'; '.join(descriptions)}; {constant}."

    def draw(figure: Figure) -> None:
        axes = _rows(figure, names, above=30, right=16)
        accuracies = [_accuracies(set_result.comparison, confidence=confidence) for set_result in sets]
        for position, shift, style in ((0, -0.17, _SOURCE_STYLE), (1, 0.17, _ENGINE_STYLE)):
            plotted = {row: accuracy for row, pair in enumerate(accuracies) if (accuracy := pair[position]) is not None}
            if plotted:
                values, rows = [accuracy.value for accuracy in plotted.values()], [row + shift for row in plotted]
                axes.errorbar(values, rows, xerr=_bars(plotted.values()), linestyle="", **style)
        axes.axvline(100 * clean.majority_share, color=_MUTED, linewidth=1.5, linestyle=":")
        axes.set_xlim(0, 100)
        axes.set_xlabel("accuracy, % of all images")
        _legend(axes, constant)

    title = f"Accuracy, {words.confidence(result.policy)} intervals"
    return draw_chart(draw, name="accuracies", title=title, alt=alt, width=_WIDTH, height=78 + _height(names))


def robustness_charts(result: AuditResult) -> tuple[Chart, ...]:
    """Accuracy against eps for every attack and norm with sets at two or more eps. The clean set is at eps 0."""
    families: dict[tuple[str, str, bool], list[SetResult]] = {}
    for set_result in result.sets:
        if set_result.norm is not None:
            families.setdefault((set_result.attack, set_result.norm, set_result.white_box), []).append(set_result)
    curves = [(key, sets) for key, sets in families.items() if len({_eps(set_result) for set_result in sets}) > 1]
    return tuple(
        _robustness_chart(
            result, sets, name=f"robustness-{number}", title=f"{attack} {norm}{'' if white_box else ', transfer'}"
        )
        for number, ((attack, norm, white_box), sets) in enumerate(curves)
    )


def _robustness_chart(result: AuditResult, sets: Sequence[SetResult], *, name: str, title: str) -> Chart:
    # If two sets have the same eps, the stronger attack counts: it comes last and replaces the other.
    chosen = {
        _eps(set_result): set_result
        for set_result in sorted(sets, key=lambda set_result: -set_result.comparison.engine_accuracy)
    }
    curve = sorted({0.0: result.sets[0], **chosen}.items())
    clean, confidence = result.sets[0].comparison, result.policy.confidence
    descriptions = (f"eps {eps:g}/255: {_source_and_engine(set_result)}" for eps, set_result in curve)
    constant = f"always {clean.majority_class}: {percent(clean.majority_share)}"

    def draw(figure: Figure) -> None:
        height = 300.0
        axes = figure.add_axes((54 / _WIDTH, 46 / height, 1 - 70 / _WIDTH, 1 - 82 / height))
        for position, style, line in ((0, _SOURCE_STYLE, "--"), (1, _ENGINE_STYLE, "-")):
            accuracies = [
                (eps, accuracy)
                for eps, set_result in curve
                if (accuracy := _accuracies(set_result.comparison, confidence=confidence)[position])
            ]
            if accuracies:
                # next to each other, because the engine's would hide the source's
                shift = (position - 0.5) * 0.016 * curve[-1][0]
                heights, bars = [accuracy.value for _, accuracy in accuracies], _bars(accuracy for _, accuracy in accuracies)
                axes.errorbar([eps + shift for eps, _ in accuracies], heights, yerr=bars, linestyle=line, **style)
        axes.axhline(100 * clean.majority_share, color=_MUTED, linewidth=1.5, linestyle=":")
        axes.set_ylim(0, 100)
        axes.set_xticks([eps for eps, _ in curve], [f"{eps:g}" for eps, _ in curve])
        axes.set_xlabel("eps, in 255ths of the pixel range (0: clean images)")
        axes.set_ylabel("accuracy, %")
        _legend(axes, constant)

    alt = f"Accuracy against eps under {title}. {'; '.join(descriptions)}; {constant}."
    return draw_chart(draw, name=name, title=f"Robust accuracy against eps: {title}", alt=alt, width=_WIDTH, height=300)


_SOURCE_STYLE: dict[str, Any] = {
    "color": _SOURCE, "marker": "o", "markersize": 7, "markerfacecolor": _PAPER, "markeredgewidth": 1.8, "linewidth": 1.8,
    "label": "source",
}  # fmt: skip
_ENGINE_STYLE: dict[str, Any] = {"color": _ENGINE, "marker": "s", "markersize": 6, "linewidth": 1.8, "label": "engine"}


def _accuracies(comparison: Comparison, *, confidence: float) -> tuple[Accuracy | None, Accuracy]:
    def of(fraction: float) -> Accuracy:
        interval = wilson_interval(round(fraction * comparison.images), comparison.images, confidence=confidence)
        return Accuracy(100 * fraction, Interval(100 * interval.low, 100 * interval.high))

    return None if comparison.source_accuracy is None else of(comparison.source_accuracy), of(comparison.engine_accuracy)


def _bars(accuracies: Iterable[Accuracy]) -> NDArray[np.float64]:
    """Lengths of the error bars: float64 (2, N), first those towards lower values."""
    lengths = [(accuracy.value - accuracy.interval.low, accuracy.interval.high - accuracy.value) for accuracy in accuracies]
    return np.asarray(np.maximum(0.0, lengths).T, np.float64)


def _source_and_engine(set_result: SetResult) -> str:
    comparison = set_result.comparison
    return f"source {percent(comparison.source_accuracy)}, engine {percent(comparison.engine_accuracy)}"


def _verdict(result: AuditResult, set_result: SetResult) -> Verdict:
    judgement = result.judgement_of(set_result.title)
    return Verdict.INCONCLUSIVE if judgement is None else judgement.verdict


def _colour(verdict: Verdict) -> str:
    return COLOURS[verdict.value.lower()]


def _eps(set_result: SetResult) -> float:
    return float(parse_eps(set_result.eps)) if set_result.eps is not None else 0.0


def _names(sets: Sequence[SetResult]) -> list[str]:
    marked = (
        set_result.title if set_result.white_box or set_result.clean else f"{set_result.title} *" for set_result in sets
    )
    return [textwrap.fill(name, _LABEL, max_lines=3, placeholder=" …") for name in marked]


def _height(names: Sequence[str]) -> float:
    lines = max(name.count("\n") for name in names)
    return len(names) * (_ROW + 1.2 * FONT_SIZE * max(0, lines - 1))


def _rows(figure: Figure, names: Sequence[str], *, above: float, right: float) -> Axes:
    """Axes with one row per name, the first on top. The space on the left fits the names."""
    width, height = (72 * inches for inches in figure.get_size_inches())
    longest = max(len(line) for name in names for line in name.split("\n"))
    left = 0.62 * FONT_SIZE * longest + 12
    axes = figure.add_axes((left / width, 48 / height, 1 - (left + right) / width, 1 - (48 + above) / height))
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    return axes


def _legend(axes: Axes, constant: str) -> None:
    handles, labels = axes.get_legend_handles_labels()
    entries = dict(zip(labels, handles, strict=True))
    line = axes.get_lines()[-1]
    axes.legend(
        [*entries.values(), line], [*entries, constant], loc="upper left", bbox_to_anchor=(0, 1),
        bbox_transform=axes.figure.transFigure, ncols=3, borderpad=0, handlelength=1.6, columnspacing=1.4,
    )  # fmt: skip
