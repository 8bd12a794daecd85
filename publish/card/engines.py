"""The sections of a model card about what was built from the model: engines with their audits, and all digests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePath

from skinaudit.audit.figures.set_result import SetResult
from skinaudit.audit.figures.text import NOTHING, drop_text, margin_text, percent, share
from skinaudit.audit.judgement.result import AuditResult
from skinaudit.audit.reports.parts.cases import Case, cases
from skinaudit.audit.reports.parts.wording import EXTERNAL_NOTE, NO_OWN_TEST, external_rows, margin_points, precision_text
from skinaudit.audit.reports.parts.wording import markdown_text as safe
from skinaudit.publish.card import judged
from skinaudit.publish.run_record import FiledAudit, RunRecord

_NOW = {
    "same": "",
    "changed": ", of an earlier build",
    "missing": ", the file is not in the run",
    "partly": ", audited without a digest of its weights",
}
_ANSWERS = {"PASS": "passed", "FAIL": "failed", "INCONCLUSIVE": "undecided", "open": "open"}


def engines(record: RunRecord) -> Iterator[str]:
    """Verdicts, figures per set, and the gates that were not passed; then engines without an audit, and unreadable ones."""
    yield "## Engines and their audits"
    yield ""
    own_audits = [filed for filed in record.audits if not filed.other_images]
    if own_audits:
        yield (
            "Each engine against the model above on the same stored images: the drop in points with its interval, and "
            "whether it is below the policy's margin. A PASS says that the file is as good as the model, not that the "
            "model is good."
        )
        yield ""
        yield _row(("engine", "runtime", "precision", "verdict", "gates", "why"))
        yield "|:--|:--|:--|:--|:--|:--|"
        for filed in own_audits:
            yield _verdict(filed)
        yield ""
        yield _row(("engine", "set", "model", "engine", "drop", "margin", "balanced", "malignant", "verdict"))
        yield "|:--|:--|--:|--:|--:|--:|--:|--:|:--|"
        for filed in own_audits:
            for set_result in filed.result.sets:
                yield _set(filed.result, set_result)
        yield from judged.operating_points(own_audits)
        yield from judged.subgroups(own_audits)
        yield from _open_gates(own_audits)
    else:
        yield "**No audit of an engine of this model could be read.**"
    yield from _external([filed for filed in record.audits if filed.other_images])
    if record.unaudited:
        yield ""
        yield f"Not audited as they are now: {safe(', '.join(record.unaudited))}."
    if record.left_out:
        yield ""
        yield "Left out of this card:"
        yield ""
        for reason in dict.fromkeys(record.left_out.values()):
            names = [name for name, why in record.left_out.items() if why == reason]
            yield f"- {', '.join(map(safe, names))}: {safe(reason)}"


def _external(audits: Sequence[FiledAudit]) -> Iterator[str]:
    """Audits on images of other data sets: their verdicts, and a table of own test and external validation."""
    if not audits:
        return
    yield ""
    yield "### External validation"
    yield ""
    yield "Engines on images of other data sets than the run's own test images. The verdict covers these images only."
    yield ""
    yield _row(("engine", "images", "verdict", "why"))
    yield "|:--|:--|:--|:--|"
    for filed in audits:
        yield _row((
            safe(_name(filed)), safe(_images(filed.result)), f"**{filed.result.verdict.value}**", safe(filed.result.reason)
        ))  # fmt: skip
    yield ""
    rows = [(_name(filed), _images(filed.result), *row) for filed in audits for row in _external_rows(filed.result)]
    if rows:
        heads = ("engine", "images", "set", "figure", "own test", "external", "engine there", "difference", "explained by")
        yield _row(heads)
        yield "|:--|:--|:--|:--|--:|--:|--:|--:|:--|"
        yield from (_row(map(safe, row)) for row in rows)
        yield ""
    yield f"{safe(EXTERNAL_NOTE if rows else NO_OWN_TEST)}."
    lines = list(dict.fromkeys(judged.images_of_run(audits)))
    yield from ("", *lines) if lines else ()
    yield from judged.operating_points(audits)
    yield from judged.subgroups(audits)


def _external_rows(result: AuditResult) -> Iterator[tuple[str, ...]]:
    """Rows of the table. Only the accuracies if the report does not say that its images are external."""
    if result.external is not None:
        yield from external_rows(result.external)
        return
    for entry in result.sets:
        accuracies = (percent(entry.comparison.source_accuracy), percent(entry.comparison.engine_accuracy))
        yield entry.title, "accuracy", NOTHING, *accuracies, NOTHING, NOTHING


def _images(result: AuditResult) -> str:
    return f"other images of {result.dataset}" if result.external is None else result.external.name


def digests(record: RunRecord) -> Iterator[str]:
    """The digest of every file that the card mentions, and the versions that made the run."""
    manifest = record.manifest
    yield "## Digests and versions"
    yield ""
    digests_by_name = {"weights": manifest.weights.digest, "data": manifest.data.get("digest", "unknown")}
    digests_by_name |= {"calibration": manifest.calibration.digest}
    digests_by_name |= {f"set {name}": file_record.digest for name, file_record in manifest.sets.items()}
    digests_by_name |= {f"engine {_name(filed)}": filed.result.engine_digest for filed in record.audits}
    digests_by_name |= {f"audit {filed.path.name}": filed.digest for filed in record.audits}
    yield _row(("what", "digest"))
    yield "|:--|:--|"
    for name, digest in digests_by_name.items():
        yield _row((safe(name), safe(str(digest))))
    yield ""
    yield f"Made with {safe(', '.join(f'{name} {version}' for name, version in sorted(manifest.created_with.items())))}."


def _verdict(filed: FiledAudit) -> str:
    result = filed.result
    answers = Counter(map(_outcome, cases(result)))
    counts = ", ".join(f"{answers[key]} {word}" for key, word in _ANSWERS.items() if answers[key])
    about = result.description
    return _row((
        safe(f"{_name(filed)}{_NOW[filed.engine_now]}{', emulated' if result.emulated else ''}"
             f"{'' if result.by_image else ', figures not proved'}"),
        safe(f"{about.runtime} {about.version} {about.provider}"), safe(precision_text(result)),
        f"**{result.verdict.value}**", counts, safe(result.reason),
    ))  # fmt: skip


def _set(result: AuditResult, set_result: SetResult) -> str:
    comparison = set_result.comparison
    judgement = result.judgement_of(set_result.title)
    verdict = "not compared" if judgement is None else f"**{judgement.verdict.value}**"
    return _row((
        safe(PurePath(result.engine).name),
        safe(set_result.title if set_result.clean or set_result.white_box else f"{set_result.title}, transfer"),
        percent(comparison.source_accuracy), percent(comparison.engine_accuracy), drop_text(comparison.drop),
        margin_text(margin_points(set_result, result)),
        percent(comparison.engine_balanced), share(comparison.engine_malignant), verdict,
    ))  # fmt: skip


def _open_gates(audits: Iterable[FiledAudit]) -> Iterator[str]:
    """Gates that failed, were not decided or have a warning."""
    rows = [
        _row((safe(_name(filed)), safe(case.set or "all"), safe(case.name), _outcome(case), safe(case.text)))
        for filed in audits
        for case in cases(filed.result)
        if _outcome(case) in ("FAIL", "INCONCLUSIVE") or (_outcome(case) == "open" and case.findings)
    ]
    yield ""
    yield "### Gates"
    yield ""
    yield (
        "An open gate does not bind; usually a class has too few images to show its margin. The JSON reports contain all "
        "gates."
    )
    yield ""
    if not rows:
        yield "No gate failed or was left undecided, and no audit warns."
        return
    yield "Gates that failed or were not decided, and warnings:"
    yield ""
    yield _row(("engine", "set", "gate", "answer", "figures"))
    yield "|:--|:--|:--|:--|:--|"
    yield from rows


def _outcome(case: Case) -> str:
    return "open" if case.outcome is None else case.outcome.value


def _name(filed: FiledAudit) -> str:
    return PurePath(filed.result.engine).name


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
