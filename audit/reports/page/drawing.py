"""Charts as SVG inside a page: drawn by matplotlib, coloured by the page's style sheet, always with the same bytes."""

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
"""Draw in these colours. They become `var(--NAME)` in the page, which has a light and a dark value for each."""
FONT_SIZE = 12
"""In the charts' units, which are pixels if there is enough room."""
_POINTS_PER_INCH = 72  # one unit of matplotlib's SVG is a point

_INK, _MUTED, _RULE = COLOURS["ink"], COLOURS["muted"], COLOURS["rule"]
_SETTINGS = {
    "svg.fonttype": "none",  # real text: small, searchable, in the page's font
    "text.parse_math": False,  # a dollar sign in the name of a set is just a dollar sign
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
    """A drawing for a page. name: unique in it. svg: safe markup with escaped text; its label is `alt`."""

    name: str
    title: str
    svg: str
    alt: str


def draw_chart(draw: Callable[[Figure], None], *, name: str, title: str, alt: str, width: float, height: float) -> Chart:
    """Let `draw` fill a figure of `width` x `height` pixels and convert it to a Chart.

    name: unique in the page, made of letters, digits and hyphens; it keeps the identifiers of different charts apart. Equal
    drawings give equal bytes with the same matplotlib version.
    """
    import matplotlib
    from matplotlib.figure import Figure

    stream = io.StringIO()
    # Like rcdefaults(), which would first read every style file of matplotlib. Setting the backend would load pyplot.
    defaults = {key: value for key, value in matplotlib.rcParamsDefault.items() if key != "backend"}
    settings: Any = {**defaults, **_SETTINGS, "svg.hashsalt": name}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", matplotlib.MatplotlibDeprecationWarning)  # about a setting left at its default
        # a letter that matplotlib's font lacks; the browser's font is used instead
        warnings.simplefilter("ignore", UserWarning)
        with matplotlib.rc_context(settings):
            figure = Figure(figsize=(width / _POINTS_PER_INCH, height / _POINTS_PER_INCH))
            draw(figure)
            figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return Chart(name, title, _inline(stream.getvalue(), name=name, alt=alt, width=width, height=height), alt)


def _inline(svg: str, *, name: str, alt: str, width: float, height: float) -> str:
    """The SVG of a file as an element of a page: no prolog, unique identifiers, the page's colours and font."""
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
