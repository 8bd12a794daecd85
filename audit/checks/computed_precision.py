"""Whether an engine whose runtime reports no precision rounds as the precision does that was asked for."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity

ABOUT: About = "engine"
RULES = {
    "computed-precision": Rule(
        "Precision not reported by the runtime",
        "The runtime does not say in which precision it computes; only the rounding of the answers tells.",
        "Build the engine again, and look at what the builder was given; audit on a runtime that reports its layers.",
    ),
}
_CLOSER = 10
"""An engine this many times closer to the source than the emulation does not round as it does. Fused kernels round less
often than the emulation: ONNX Runtime's fp16 on a CPU lies 1.7 times closer. fp32 lies 2,900 times closer."""
_VISIBLE = 1e-6
"""Below this share of the logits' range even fp32 rounds: no precision can be told from another."""


def check(evidence: Evidence) -> Iterator[Finding]:
    """FAIL where the answers are those of fp32 although another precision was asked for.

    INCONCLUSIVE where nothing could be compared; a note where the rounding is that of the precision.
    """
    computed = evidence.computed_precision
    if computed is None:
        return

    def finding(severity: Severity, text: str) -> Finding:
        figures = {"images": computed.images, "engine": computed.engine, "emulated": computed.emulated}
        return Finding(severity, "computed-precision", None, text, figures=figures)

    precision = computed.precision
    if computed.unseen is not None:
        text = f"the runtime does not report that it computes in {precision}, and nothing shows it: {computed.unseen}"
        yield finding(Severity.INCONCLUSIVE, text)
        return
    distances = (
        f"its logits lie {computed.engine:.0e} of their range from the source's, those of an emulation of {precision} "
        f"{computed.emulated:.0e}"
    )
    if computed.emulated < _VISIBLE:
        text = (
            f"the runtime does not report that it computes in {precision}, and {precision} changes nothing here: {distances}"
        )
        yield finding(Severity.INCONCLUSIVE, text)
    elif computed.engine * _CLOSER < computed.emulated:
        yield finding(Severity.FAIL, f"{precision} was asked for, and the engine answers as fp32 does: {distances}")
    else:
        text = f"the runtime does not report its precision; the engine rounds as {precision} does: {distances}"
        yield finding(Severity.NOTE, text)
