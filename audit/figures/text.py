"""Figures as text. All rounding, signs and plurals for findings and reports are made here."""

from __future__ import annotations

from skinaudit.audit.figures.metrics import Hits
from skinaudit.audit.figures.statistics import Interval, PairedDrop
from skinaudit.errors import counted

NOTHING = "-"
"""Shown if there is no figure."""


def percent(fraction: float | None) -> str:
    """A fraction of 1 as percentage with one decimal: `67.4%`."""
    return NOTHING if fraction is None else f"{100 * fraction:.1f}%"


def share(hits: Hits | None) -> str:
    """Share of correct predictions as percentage; NOTHING if there is no image."""
    return NOTHING if hits is None else percent(hits.share)


def points(fraction: float) -> str:
    """A fraction of 1 in percentage points: `0.9`."""
    return f"{100 * fraction:.1f}"


def signed_points(fraction: float) -> str:
    """A difference of fractions of 1 in percentage points: `+0.9`; never a signed zero."""
    rounded = round(100 * fraction, 1)
    return f"{rounded:+.1f}" if rounded else "0.0"


def span(interval: Interval) -> str:
    """An interval in percentage points: `[0.1, 1.7]`."""
    return f"[{points(interval.low)}, {points(interval.high)}]"


def drop_text(drop: PairedDrop | None) -> str:
    """A drop in points with its interval: `+0.9 [+0.1, +1.7]`."""
    if drop is None:
        return NOTHING
    low, high = signed_points(drop.interval.low), signed_points(drop.interval.high)
    return f"{signed_points(drop.value)} [{low}, {high}]"


def margin_text(margin: float) -> str:
    """A margin in points with one decimal, or with more if it has more: `1.0`, `0.25`."""
    return f"{margin:.1f}" if round(margin, 1) == margin else f"{margin:g}"


def power_text(gate_power: float | None) -> str:
    """The power of a gate in whole percent, never rounded up to certainty: `84%`, `> 99%`."""
    if gate_power is None:
        return NOTHING
    return "> 99%" if 0.995 <= gate_power < 1 else f"{gate_power:.0%}"


def counted_images(count: float) -> str:
    """`1 image`, `8 images`, `1,143 images`."""
    return counted(round(count), "image")


def about(images: int) -> str:
    """Rounded up to two significant digits, because it extrapolates an observed discordance: `2,300`."""
    unit = 10 ** max(0, len(str(images)) - 2)
    return f"{-(-images // unit) * unit:,}"
