"""Whether the rounding errors in the engine's outputs match the requested precision."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.artifacts.logits import range_text
from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity

ABOUT: About = "engine"
RULES = {
    "computed-precision": Rule(
        "Rounding errors do not match the requested precision",
        "The rounding errors in the outputs do not match the requested precision. A report by the runtime alone is no "
        "proof.",
        "Build the engine again. Check the builder's input, and the precision in which each layer runs.",
    ),
}
_CLOSER = 10
"""An engine that is this many times closer to the source than the emulation does not compute in that precision. Fused
kernels round less often than the emulation: ONNX Runtime's fp16 on a CPU lies 1.7 times closer. fp32 lies 2,900 times
closer."""
_SIMILAR = 4
"""The rounding errors of a correct engine are at most this many times larger or smaller than those of the emulation.
Measured: 1.7 times smaller, and 2.2 times larger for kernels that also sum in fp16. bf16 instead of fp16 gives 7.8 times
larger ones."""
_CORRELATED = 0.3
"""Errors of kernels in the same precision correlate with those of the emulation by at least 0.35, in a different precision
by at most 0.27. docs/decisions/plans.md has the figures."""
_VISIBLE = 1e-6
"""Below this share of the logits' range even fp32 has rounding errors: precisions cannot be distinguished."""


def check(evidence: Evidence) -> Iterator[Finding]:
    """FAIL if the outputs are those of fp32 although a different precision was requested.

    INCONCLUSIVE if no comparison was possible, or if the errors differ from those of the precision in size or direction. A
    note if they agree in both.
    """
    computed = evidence.computed_precision
    if computed is None:
        return

    def finding(severity: Severity, text: str) -> Finding:
        figures = {
            "images": computed.images,
            "engine": computed.engine,
            "emulated": computed.emulated,
            "correlation": computed.correlation,
        }
        return Finding(severity, "computed-precision", None, text, figures=figures)

    precision = computed.precision
    if computed.unseen is not None:
        text = f"the rounding errors could not be compared, so {precision} is not proved: {computed.unseen}"
        yield finding(Severity.INCONCLUSIVE, text)
        return
    sizes = (
        f"its logits differ from the source's {range_text(computed.engine)}, those of an emulation of {precision} "
        f"{range_text(computed.emulated)}"
    )
    figures_text = f"{sizes}; the correlation of these errors is {computed.correlation:.2f}"
    if computed.emulated < _VISIBLE:
        text = f"{precision} makes no visible difference here, so the rounding errors cannot prove it: {sizes}"
        yield finding(Severity.INCONCLUSIVE, text)
    elif computed.engine * _CLOSER < computed.emulated:
        yield finding(Severity.FAIL, f"{precision} was requested, but the engine is too close to fp32: {sizes}")
    elif computed.engine * _SIMILAR < computed.emulated:
        yield finding(Severity.INCONCLUSIVE, f"the rounding errors are too small for {precision}: {figures_text}")
    elif computed.engine > computed.emulated * _SIMILAR:
        yield finding(Severity.INCONCLUSIVE, f"the rounding errors are too large for {precision}: {figures_text}")
    elif computed.correlation < _CORRELATED:
        text = (
            f"the rounding errors do not match {precision}; the engine may compute in a different precision: {figures_text}"
        )
        yield finding(Severity.INCONCLUSIVE, text)
    else:
        yield finding(Severity.NOTE, f"the rounding errors match {precision}: {figures_text}")
