"""Whether the engine computes in the requested precision."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from skinaudit.artifacts.manifest import BUILT_TYPED
from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity

ABOUT: About = "engine"
RULES = {
    "precision": Rule(
        "The precision differs from the requested one",
        "The precision found in the opened engine differs from the requested one or from its manifest, or is not proved.",
        "Export the engine again, and audit it with a runtime that reports the precision of its layers.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """FAIL if most layers do not have the requested precision, or if the file differs from its manifest.

    A precision that cannot be verified forbids PASS.
    """
    manifest = evidence.inputs.manifest
    if manifest is None:
        return
    precision, promised, layers = manifest.asked, dict(manifest.found), dict(layers_found(evidence))
    total, right = sum(layers.values()), layers.get(precision, 0)
    figures = {"layers": total, "as asked": right}

    def finding(severity: Severity, text: str) -> Finding:
        return Finding(severity, "precision", None, text, figures=figures)

    if total == 0:
        text = f"{precision} was requested, but the engine does not report in which precision it computes"
        yield finding(Severity.INCONCLUSIVE, text)
        return
    if 2 * right <= total:
        yield finding(Severity.FAIL, f"{precision} was requested, found {layers_text(layers)} of {total} layers")
    elif promised != layers:
        promise = layers_text(promised) or "nothing"
        yield finding(Severity.FAIL, f"the manifest promises {promise}, found {layers_text(layers)} of {total} layers")
    elif right < total:
        yield finding(Severity.NOTE, f"{precision} was requested, found {layers_text(layers)} of {total} layers")


def layers_found(evidence: Evidence) -> Mapping[str, int]:
    """Counts of weighted layers by precision, from the opened file or, if the file does not report them, from its build.

    The counts of a plan's build are trusted only because the plan has the digest of the manifest.
    """
    manifest, layers = evidence.inputs.manifest, evidence.engine.found
    if not layers and manifest is not None and manifest.settings.get("found_in") == BUILT_TYPED:
        return manifest.found
    return layers


def layers_text(counts: Mapping[str, int]) -> str:
    """`fp32 in 2, int8 in 26`."""
    return ", ".join(f"{name} in {count}" for name, count in sorted(counts.items()))
