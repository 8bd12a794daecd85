"""Further facts from audits for a model card: operating points, subgroups, and how external images relate to the run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePath

from skinaudit.audit.figures.text import NOTHING, drop_text, share
from skinaudit.audit.judgement.result import AuditResult
from skinaudit.audit.judgement.subgroup_gates import subject_of
from skinaudit.audit.reports.parts.operating import operating_rows, operating_text
from skinaudit.audit.reports.parts.subgroups import Row, parts, subgroups_text, worst_rows
from skinaudit.audit.reports.parts.wording import markdown_text as safe
from skinaudit.publish.run_record import FiledAudit


def operating_points(audits: Sequence[FiledAudit]) -> Iterator[str]:
    """Sensitivity and specificity at the run's threshold, areas under curves and probability errors: model and engine."""
    rows = [
        _row((safe(_name(filed)), safe(entry.title), row.name, row.source, row.engine, row.drop))
        for filed in audits
        for entry in filed.result.sets
        for row in operating_rows(entry)
    ]
    if not rows:
        return
    yield from ("", "### Operating point and probabilities", "")
    for text in dict.fromkeys(operating_text(filed.result) for filed in audits):
        yield f"{safe(text[0].upper() + text[1:])}."
    yield ""
    yield _row(("engine", "set", "figure", "model", "engine's", "drop, points"))
    yield from ("|:--|:--|:--|--:|--:|--:|", *rows)


def subgroups(audits: Sequence[FiledAudit]) -> Iterator[str]:
    """The model on clean images by subgroup; then, over all sets, the subgroups in which engines lose most."""
    with_subgroups = [filed for filed in audits if filed.result.subgroups]
    if not with_subgroups:
        return
    yield from ("", "### Subgroups", "")
    for text in dict.fromkeys(subgroups_text(filed.result) for filed in with_subgroups):
        yield f"{safe(text[0].upper() + text[1:])}."
    yield from _by_subgroup(with_subgroups)
    lost = [(filed, row) for filed in with_subgroups for row in worst_rows(filed.result)]
    if not lost:
        return
    yield from ("", "The subgroups with the most evidence of a loss, engine against model:", "")
    yield _row(("engine", "subgroup", "set", "images", "model", "engine's", "drop, points", "answer"))
    yield "|:--|:--|:--|--:|--:|--:|--:|:--|"
    for filed, row in lost:
        answer = f"**{row.answer}**" if row.failed else row.answer
        figures = (share(row.share.source), share(row.share.engine), drop_text(row.share.drop))
        where = (safe(subject_of(row.figure, row.subgroup)), safe(row.set.title), f"{row.share.engine.count:,}")
        yield _row((safe(_name(filed)), *where, *figures, answer))


def _by_subgroup(audits: Sequence[FiledAudit]) -> Iterator[str]:
    """A table of all subgroups on clean images: the model, and one column per engine."""
    yield from ("", "On clean images:", "")
    yield _row(("subgroup", "figure", "images", "lesions", "model", *(safe(_name(filed)) for filed in audits)))
    yield f"|:--|:--|--:|--:|--:|{'--:|' * len(audits)}"
    by_place = [{_place(row): row for row in _clean_rows(filed.result)} for filed in audits]
    for place, row in by_place[0].items():
        cells = [rows.get(place) for rows in by_place]
        engines = [NOTHING if cell is None else share(cell.share.engine) for cell in cells]
        lesions = f"{row.subgroup.lesions:,}" if row.share is row.subgroup.accuracy else NOTHING
        counts = (f"{row.share.engine.count:,}", lesions)
        yield _row((safe(row.subgroup.title), safe(row.figure), *counts, share(row.share.source), *engines))


def _clean_rows(result: AuditResult) -> Iterator[Row]:
    return (row for part in parts(result) for _, rows in part.subgroups for row in rows if row.set.clean)


def _place(row: Row) -> tuple[str, str]:
    return row.subgroup.title, row.figure


def images_of_run(audits: Sequence[FiledAudit]) -> Iterator[str]:
    """Lines about external images: those that belong to the run, those left out, and a look unlike the training's."""
    for filed in audits:
        external = filed.result.external
        if external is None:
            continue
        for reason, count in external.left_out.items():
            yield f"- {safe(external.name)}: {count:,} {safe(reason)} were left out when the sets were made"
        for origin, count in external.of_run.items():
            of_all = f"{count:,} of {filed.result.sets[0].comparison.images:,} images are {safe(origin)}"
            yield f"- **{safe(external.name)}: {of_all}: no external validation**"
        different = [look for look in external.looks if look.differs]
        if different:
            listed = ", ".join(f"{look.name} {look.median:,.4g} (training {look.middle:,.4g})" for look in different)
            yield f"- {safe(external.name)}: the images look different from the training images: {safe(listed)}"


def _name(filed: FiledAudit) -> str:
    return PurePath(filed.result.engine).name


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
