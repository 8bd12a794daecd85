"""Whether the logits differ from the source's by no more than the precision explains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from skinaudit.artifacts.precisions import KINDS
from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity
from skinaudit.audit.figures.drift import median_drift
from skinaudit.errors import InvalidInputError

ABOUT: About = "figures"
RULES = {
    "fidelity": Rule(
        "Logits that differ from the source's by more than the precision explains",
        "The engine computes a different function than its source, even if the predictions on these images agree.",
        "Check that the engine was built from this run, and that nothing was added to or removed from its graph.",
    ),
}


EXPLAINED = {name: kind.explained_drift for name, kind in KINDS.items()}
"""The largest drift that each precision explains: median drift of the logits divided by the median logit margin."""
_WIDENED: Mapping[str, float] = {"onnxruntime": 1.5, "openvino": 2.4}
"""By runtimes that compute half precision in fp32: how many times the drift of the emulated reference is allowed.

Twice what correct exports showed (0.75 and 1.16, docs/results/drift.md).
"""
_NATIVE = 6.0
"""The same for every other engine. Kernels that sum in half precision have 2.2 times the emulation's rounding errors."""


def check(evidence: Evidence) -> Iterator[Finding]:
    """Forbid PASS for a file whose logits drift too far from its source's, even if its accuracy is as good.

    A half precision engine is compared with what its precision does to its own reference. Other engines are compared with
    one bound for all models. Raises InvalidInputError for a precision without a bound: the check must not be skipped
    silently.
    """
    manifest = evidence.inputs.manifest
    if manifest is None:
        return
    if manifest.asked not in EXPLAINED:
        raise InvalidInputError(
            f"{manifest.engine.file}: precision {manifest.asked!r} has no known bound for its drift, so its fidelity cannot "
            f"be judged; the known precisions are {', '.join(EXPLAINED)}"
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
                f"for half of the images the logits differ from the source's by more than {drift.median:.2g}, "
                f"{drift_share:.2g} of the median logit margin; {manifest.asked} explains up to {allowed:g}"
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
                f"for half of the images the logits differ from the source's by more than {drift:.2g}; the source itself in "
                f"{precision} differs by {explained:.2g}, which explains up to {times * explained:.2g} here"
            )
            figures = {"drift": drift, "allowed": times * explained}
            yield Finding(Severity.INCONCLUSIVE, "fidelity", answers.title, text, figures=figures)
