"""Charts as SVG inside of a page: drawn by matplotlib, coloured by the page's style sheet, the same bytes every time."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS: Mapping[str, str] = {
    "ink": "#00010a",
    "muted": "#00010b",
    "rule": "#00010c",
    "paper": "#00010d",
    "source": "#00010e",
    "engine": "#00010f",
    "pass": "#00011a",
    "fail": "#00011b",
    "inconclusive": "#00011c",
}
"""What to draw in so that it becomes `var(--NAME)` in the page, which has two values for it: for light and for dark."""
FONT_SIZE = 12
"""In units of the charts, which are pixels where there is room for them."""
_POINTS_PER_INCH = 72  # and one unit of matplotlib's SVG is a point

_INK, _MUTED, _RULE = COLOURS["ink"], COLOURS["muted"], COLOURS["rule"]
_SETTINGS = {
    "svg.fonttype": "none",  # real text: small, searchable, in the page's font
    "text.parse_math": False,  # a dollar in the name of a set is a dollar
    "font.size": FONT_SIZE,
    "axes.labelsize": FONT_SIZE,
    "xtick.labelsize": FONT_SIZE,
    "ytick.labelsize": FONT_SIZE,
    "legend.fontsize": FONT_SIZE,
    "legend.frameon": False,
    "text.color": _INK,
    "axes.labelcolor": _MUTED,
    "axes.edgecolor": _RULE,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _RULE,
    "grid.linewidth": 0.6,
    "xtick.color": _RULE,
    "xtick.labelcolor": _MUTED,
    "ytick.color": _RULE,
    "ytick.labelcolor": _INK,
    "figure.facecolor": "none",
}


@dataclass(frozen=True)
class Chart:
    """A drawing for a page. name: unique in it. svg: safe markup, every text escaped, which carries `alt` as its label."""

    name: str
    title: str
    svg: str
    alt: str


def draw_chart(draw: Callable[[Figure], None], *, name: str, title: str, alt: str, width: float, height: float) -> Chart:
    """Let `draw` fill a figure of `width` x `height` pixels and turn it into a Chart.

    name: unique in the page, of letters, digits and hyphens; it keeps the identifiers of two charts apart. Equal drawings
    give equal bytes with the same matplotlib.
    """
    import matplotlib
    from matplotlib.figure import Figure

    stream = io.StringIO()
    # As rcdefaults() does, which reads every style file of matplotlib first. To set the backend would load pyplot.
    defaults = {key: value for key, value in matplotlib.rcParamsDefault.items() if key != "backend"}
    settings: Any = {**defaults, **_SETTINGS, "svg.hashsalt": name}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", matplotlib.MatplotlibDeprecationWarning)  # of a setting left at its default
        warnings.simplefilter("ignore", UserWarning)  # a letter that its own font lacks: the browser's font counts
        with matplotlib.rc_context(settings):
            figure = Figure(figsize=(width / _POINTS_PER_INCH, height / _POINTS_PER_INCH))
            draw(figure)
            figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return Chart(name, title, _inline(stream.getvalue(), name=name, alt=alt, width=width, height=height), alt)


def _inline(svg: str, *, name: str, alt: str, width: float, height: float) -> str:
    """A file's SVG as an element of a page: no prolog, no identifier twice, the page's colours and font."""
    body = svg[svg.index("<svg") :]
    body = body[body.index(">") + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>\s*", "", body, flags=re.DOTALL)
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r'(href="|url\()#', rf"\1#{name}-", body)
    body = body.replace("xlink:href", "href")
    body = re.sub(r"font: (?:(\w+) )?([\d.]+)px [^;\"]+", _font, body)
    for colour, value in COLOURS.items():
        body = body.replace(value, f"var(--{colour})")
    view = f'viewBox="0 0 {width:g} {height:g}" style="max-width: {1.15 * width:g}px"'
    return f'<svg role="img" aria-label="{escape(alt)}" {view}>\n{body.strip()}'


def _font(match: re.Match[str]) -> str:
    weight = f"; font-weight: {match[1]}" if match[1] else ""
    return f"font-size: {match[2]}px{weight}"
