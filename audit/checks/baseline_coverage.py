"""Whether the sets say enough about the earlier engine, the baseline."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Earlier, Evidence, Finding, Rule, Severity

ABOUT: About = "sets"
RULES = {
    "baseline-coverage": Rule(
        "Sets that were not compared with the baseline",
        "A set that one of the two engines never answered, or that is white-box for one of them alone, shows no loss.",
        "Audit both engines on the same sets with --sets DIR.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """Tell of every set that is not compared with the baseline; forbid PASS where no clean or no adversarial set is."""
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
                f"{before} for the baseline and {now} for this engine, which makes one of them look better than it is: not "
                "compared with the baseline"
            )
            yield Finding(Severity.WARNING, "baseline-coverage", result.title, text)
        else:
            compared.add(result.clean)
            if not pair.before.called_malignant and evidence.inputs.clean.info.contract.malignant:
                text = (
                    "the baseline's report is of an earlier version and does not say which images its engine calls "
                    "malignant: nothing shows that this engine calls no fewer so; audit the baseline's engine again"
                )
                yield Finding(Severity.INCONCLUSIVE, "baseline-coverage", result.title, text)
    if baseline.report.engine_digest == evidence.inputs.digest:
        text = "the baseline is an audit of a file with the same digest as this one: equal figures say nothing of a change"
        yield Finding(Severity.WARNING, "baseline-coverage", None, text)
    yield from _about_the_report(baseline)
    for clean, kind in ((True, "clean"), (False, "adversarial")):
        if clean not in compared:
            text = f"no {kind} set is compared with the baseline: nothing shows that this engine is no worse there"
            yield Finding(Severity.INCONCLUSIVE, "baseline-coverage", None, text)


def _about_the_report(baseline: Earlier) -> Iterator[Finding]:
    replayed = {pair.before.images_digest for pair in baseline.pairs if pair is not None}
    absent = [result.title for result in baseline.report.sets if result.images_digest not in replayed]
    if absent:
        text = f"sets of the baseline that were not replayed here: {', '.join(absent)}"
        yield Finding(Severity.WARNING, "baseline-coverage", None, text)
    if not baseline.report.by_image:
        text = "the baseline's report is of an earlier version and keeps no answers by image: its figures are not proved"
        yield Finding(Severity.NOTE, "baseline-coverage", None, text)
    if baseline.report.emulated:
        text = "the baseline was an emulation: what its file answers is unknown"
        yield Finding(Severity.WARNING, "baseline-coverage", None, text)
    verdict = baseline.report.verdict.value
    if verdict != "PASS":
        yield Finding(Severity.NOTE, "baseline-coverage", None, f"the baseline's own verdict was {verdict}")
