"""Audit results as one HTML page for people: it stands alone, loads nothing, runs nothing, and prints."""

from __future__ import annotations

import shlex
from importlib.resources import files
from importlib.util import find_spec
from typing import TYPE_CHECKING

from skinaudit.artifacts.contract import MALIGNANT
from skinaudit.artifacts.files import short
from skinaudit.audit.reports.page import words
from skinaudit.audit.reports.page.charts import accuracy_chart, drop_chart, robustness_charts
from skinaudit.audit.reports.page.gallery import shelves
from skinaudit.audit.result import EMULATION, AuditResult, Severity
from skinaudit.audit.verdict import about, margin_text
from skinaudit.audit.wording import OWN_SETS, baseline_rows, counted_images, margin_points, own_sets_compared
from skinaudit.errors import missing

if TYPE_CHECKING:
    from jinja2 import Environment

_LIBRARIES = {"jinja2": "jinja2", "matplotlib": "matplotlib", "PIL": "pillow"}
_FILTERS = {
    "about": about,
    "class_title": words.class_title,
    "count": words.count,
    "counted_images": counted_images,
    "logits": words.logits,
    "margin": margin_text,
    "margin_points": margin_points,
    "percent": words.percent,
    "points": words.points,
    "share": words.share,
    "short": short,
    "span": words.span,
}


def render(result: AuditResult, *, pictures: bool = True) -> str:
    """The whole report as the text of an HTML file; equal results and set files give equal text.

    pictures: embed the images that the engine lost, read from the set files beside the engine. Leave them out where the
    report goes further than the images may. Raises MissingDependencyError without the libraries of the extra `report`.
    """
    for module, library in _LIBRARIES.items():
        if find_spec(module) is None:
            raise missing(library, "report", "the HTML report")
    charts = [drop_chart(result), accuracy_chart(result), *robustness_charts(result)]
    order = sorted(range(len(result.classes)), key=lambda index: result.classes[index] not in MALIGNANT)
    return (
        _environment()
        .get_template("page.html.jinja")
        .render(
            audit=result,
            baseline_rows=list(baseline_rows(result)),
            charts=[chart for chart in charts if chart is not None],
            command=shlex.join(result.arguments),
            emulation=EMULATION,
            findings={severity: [one for one in result.findings if one.severity is severity] for severity in Severity},
            malignant=MALIGNANT,
            order=order,
            own_sets=OWN_SETS if own_sets_compared(result) else None,
            shelves=shelves(result, pictures=pictures),
            style=files("skinaudit.audit.reports.page").joinpath("style.css").read_text(encoding="utf-8"),
            words=words,
        )
    )


def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("skinaudit.audit.reports", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(_FILTERS)
    return environment
