"""Whether the sets allow a comparison with the earlier engine, the baseline."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Earlier, Evidence, Finding, Rule, Severity

ABOUT: About = "sets"
RULES = {
    "baseline-coverage": Rule(
        "Sets that were not compared with the baseline",
        "A set cannot show a loss if one of the two engines never ran on it, or if it is white-box for only one of them.",
        "Audit both engines on the same sets with --sets DIR.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """Report every set that is not compared with the baseline; forbid PASS if no clean or no adversarial set is compared."""
    baseline = evidence.baseline
    if baseline is None:
        return
    compared = set()
    for pair, result in zip(baseline.pairs, evidence.sets, strict=True):
        if pair is None:
            text = "not in the baseline, so compared with the source model only"
            yield Finding(Severity.NOTE, "baseline-coverage", result.title, text)
        elif not pair.fair_for(result):
            before, now = ("white-box" if white else "transfer" for white in (pair.before.white_box, result.white_box))
            text = (
                f"not compared with the baseline: this set is {before} for the baseline and {now} for this engine, so one "
                "of them would look better than it is"
            )
            yield Finding(Severity.WARNING, "baseline-coverage", result.title, text)
        else:
            compared.add(result.clean)
            if not pair.before.called_malignant and evidence.inputs.clean.info.contract.malignant:
                text = (
                    "an earlier version wrote the baseline's report, so it does not say which images its engine calls "
                    "malignant; this engine may call fewer malignant: audit the baseline's engine again"
                )
                yield Finding(Severity.INCONCLUSIVE, "baseline-coverage", result.title, text)
    if baseline.report.engine_digest == evidence.inputs.digest:
        text = "the baseline audited the same file (equal digest), so the comparison with it cannot show any change"
        yield Finding(Severity.WARNING, "baseline-coverage", None, text)
    yield from _about_the_report(baseline)
    for clean, kind in ((True, "clean"), (False, "adversarial")):
        if clean not in compared:
            text = f"no {kind} set is compared with the baseline, so this engine may be worse on {kind} images"
            yield Finding(Severity.INCONCLUSIVE, "baseline-coverage", None, text)


def _about_the_report(baseline: Earlier) -> Iterator[Finding]:
    replayed = {pair.before.images_digest for pair in baseline.pairs if pair is not None}
    absent = [result.title for result in baseline.report.sets if result.images_digest not in replayed]
    if absent:
        text = f"these sets of the baseline were not replayed here: {', '.join(absent)}"
        yield Finding(Severity.WARNING, "baseline-coverage", None, text)
    if not baseline.report.by_image:
        text = "an earlier version wrote the baseline's report without predictions per image: its figures are not proved"
        yield Finding(Severity.NOTE, "baseline-coverage", None, text)
    if baseline.report.emulated:
        text = "the baseline was an emulation: the predictions of its own file are unknown"
        yield Finding(Severity.WARNING, "baseline-coverage", None, text)
    verdict = baseline.report.verdict.value
    if verdict != "PASS":
        yield Finding(Severity.NOTE, "baseline-coverage", None, f"the baseline's own verdict was {verdict}")
