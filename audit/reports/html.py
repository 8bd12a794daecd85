"""Audit results as one HTML page for people. It loads nothing, runs no script, and can be printed."""

from __future__ import annotations

import gc
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files

from skinaudit.audit.checks import Severity
from skinaudit.audit.checks.emulation import EMULATION
from skinaudit.audit.judgement.result import AuditResult
from skinaudit.audit.reports import Needs
from skinaudit.audit.reports.page import words
from skinaudit.audit.reports.page.charts import accuracy_chart, drop_chart, robustness_charts
from skinaudit.audit.reports.page.gallery import shelves
from skinaudit.audit.reports.page.templates import page_template
from skinaudit.audit.reports.parts.operating import operating_rows, operating_text
from skinaudit.audit.reports.parts.subgroups import parts, subgroups_text
from skinaudit.audit.reports.parts.wording import (
    EXTERNAL_NOTE,
    MANY_CLASSES,
    NO_OWN_TEST,
    OWN_SETS,
    baseline_rows,
    batches_text,
    clinical_rows,
    external_rows,
    first_lines,
    own_sets_compared,
)

NEEDS = Needs("the HTML report", {"jinja2": "jinja2", "matplotlib": "matplotlib", "PIL": "pillow"}, extra="report")


def render(result: AuditResult, *, pictures: bool = True) -> str:
    """The whole report as the text of an HTML file; equal results and set files give equal text.

    pictures: embed the images that the engine lost, read from the set files beside the engine. Leave them out if the report
    goes to people who may not see the images. Raises MissingDependencyError without the libraries of the extra `report`.
    """
    NEEDS.check()
    with _collector_paused():
        charts = [drop_chart(result), accuracy_chart(result), *robustness_charts(result)]
        order = sorted(range(len(result.classes)), key=lambda index: result.classes[index] not in result.malignant)
        return page_template().render(
            audit=result,
            batches=batches_text(result),
            baseline_rows=list(baseline_rows(result)),
            charts=[chart for chart in charts if chart is not None],
            command=_command(result.arguments),
            clinical_rows=list(clinical_rows(result)),
            emulation=EMULATION,
            external_note=EXTERNAL_NOTE,
            no_own_test=NO_OWN_TEST if result.external is not None and result.external.figures else None,
            external_rows=[] if result.external is None else list(external_rows(result.external)),
            first_lines=list(first_lines(result)),
            findings={
                severity: [finding for finding in result.findings if finding.severity is severity] for severity in Severity
            },
            malignant=result.malignant,
            operating=[(entry, rows) for entry in result.sets if (rows := list(operating_rows(entry)))],
            operating_text=operating_text(result),
            many_classes=(many := len(result.classes) > MANY_CLASSES),
            upright=many or words.too_wide(result.classes),
            order=order,
            own_sets=OWN_SETS if own_sets_compared(result) else None,
            shelves=shelves(result, pictures=pictures),
            subgroup_parts=parts(result),
            subgroups_text=subgroups_text(result),
            style=files("skinaudit.audit.reports.page").joinpath("style.css").read_text(encoding="utf-8"),
            words=words,
        )


def _command(arguments: Sequence[str]) -> str:
    """The command of an audit, for a shell. A report from elsewhere cannot make it name another program."""
    own = ("skinaudit", "audit")
    return shlex.join(arguments if tuple(arguments[:2]) == own else (*own, *arguments))


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Pause the garbage collector. It would find nothing, because everything lives until the page is done."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
