"""Whether the engine computes in the precision that was asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from skinaudit.artifacts.manifest import BUILT_TYPED
from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity

ABOUT: About = "engine"
RULES = {
    "precision": Rule(
        "Another precision than was asked for",
        "The precision found in the opened engine is not what was asked for or what its manifest promises, or is unproved.",
        "Export again, and audit on a runtime that tells the precision of its layers.",
    ),
}


def check(evidence: Evidence) -> Iterator[Finding]:
    """FAIL where most layers have another precision than was asked for, or the file is not what its manifest says.

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
        text = f"{precision} was asked for, and the engine does not tell in which precision it computes"
        yield finding(Severity.INCONCLUSIVE, text)
        return
    if 2 * right <= total:
        yield finding(Severity.FAIL, f"{precision} was asked for, found {layers_text(layers)} of {total} layers")
    elif promised != layers:
        promise = layers_text(promised) or "nothing"
        yield finding(Severity.FAIL, f"the manifest promises {promise}, found {layers_text(layers)} of {total} layers")
    elif right < total:
        yield finding(Severity.NOTE, f"{precision} was asked for, found {layers_text(layers)} of {total} layers")


def layers_found(evidence: Evidence) -> Mapping[str, int]:
    """Counts of weighted layers by precision: of the opened file or, where it does not tell, of its build.

    The network that a plan was built from is trusted only because the digest of the plan is the manifest's.
    """
    manifest, layers = evidence.inputs.manifest, evidence.engine.found
    if not layers and manifest is not None and manifest.settings.get("found_in") == BUILT_TYPED:
        return manifest.found
    return layers


def layers_text(counts: Mapping[str, int]) -> str:
    """`fp32 in 2, int8 in 26`."""
    return ", ".join(f"{name} in {count}" for name, count in sorted(counts.items()))
