"""Whether the logits lie as close to the source's as their precision explains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from skinaudit.artifacts.precisions import KINDS
from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity
from skinaudit.audit.figures.drift import median_drift
from skinaudit.errors import InvalidInputError

ABOUT: About = "figures"
RULES = {
    "fidelity": Rule(
        "Logits further from the source's than the precision explains",
        "The engine computes another function than its source, even where its answers agree on these images.",
        "Check that the engine was built from this run, and that nothing was added to or removed from its graph.",
    ),
}


EXPLAINED = {name: kind.explained_drift for name, kind in KINDS.items()}
"""Median drift of the logits over the median logit margin that a precision explains."""
_WIDENED: Mapping[str, float] = {"onnxruntime": 1.5, "openvino": 2.4}
"""How many times further the median image may lie from its source than the emulated half precision of the reference does, by
the runtimes that compute half precision in fp32: twice what honest exports showed (0.75 and 1.16, docs/results/drift.md)."""
_NATIVE = 6.0
"""The same of every other engine. Kernels that also sum in half precision round 2.2 times more than the emulation."""


def check(evidence: Evidence) -> Iterator[Finding]:
    """Forbid PASS for a file whose logits drift too far from its source's, even if its accuracy is as good.

    A half precision engine is measured by what its precision does to its own reference; others by the bound of all models.
    Raises InvalidInputError for a precision without a bound: a check that is silently off is worse than none.
    """
    manifest = evidence.inputs.manifest
    if manifest is None:
        return
    if manifest.asked not in EXPLAINED:
        raise InvalidInputError(
            f"{manifest.engine.file}: precision {manifest.asked!r}: no bound is known for its drift, so its fidelity cannot "
            f"be judged; the known ones are {', '.join(EXPLAINED)}"
        )
    if evidence.halved_reference:
        yield from _beside_reference(evidence, manifest.asked)
        return
    allowed = KINDS[manifest.asked].by_runtime.get(evidence.engine.runtime, EXPLAINED[manifest.asked])
    for result in evidence.sets:
        drift = result.drift
        if drift is None:
            continue
        drift_share = drift.median / max(drift.median_margin, 1e-30)
        if drift_share > allowed:
            text = (
                f"half of the images lie further from the source's logits than {drift.median:.2g}, {drift_share:.2g} of the "
                f"median logit margin; {manifest.asked} explains up to {allowed:g}"
            )
            figures = {"drift": drift.median, "margin": drift.median_margin, "allowed": allowed}
            yield Finding(Severity.INCONCLUSIVE, "fidelity", result.title, text, figures=figures)


def _beside_reference(evidence: Evidence, precision: str) -> Iterator[Finding]:
    executed = evidence.engine.executed or {}
    widened = 2 * executed.get("fp32", 0) > sum(executed.values())
    times = _WIDENED.get(evidence.engine.runtime, _NATIVE) if widened else _NATIVE
    for answers in evidence.halved_reference:
        drift, explained = (median_drift(answers.source, logits) for logits in (answers.engine, answers.halved))
        if drift > times * max(explained, 1e-30):
            text = (
                f"half of the images lie further from the source's logits than {drift:.2g}; the source itself in "
                f"{precision} lies {explained:.2g} from them, which explains up to {times * explained:.2g} here"
            )
            figures = {"drift": drift, "allowed": times * explained}
            yield Finding(Severity.INCONCLUSIVE, "fidelity", answers.title, text, figures=figures)
