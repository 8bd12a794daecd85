"""Whether the answers of an engine are rounded as the precision explains that was asked for."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity

ABOUT: About = "engine"
RULES = {
    "computed-precision": Rule(
        "Rounding of another precision",
        "The rounding of the answers does not show the precision that was asked for; a report of the runtime is no proof.",
        "Build the engine again, and look at what the builder was given and in which precision it runs each layer.",
    ),
}
_CLOSER = 10
"""An engine this many times closer to the source than the emulation does not round as it does. Fused kernels round less
often than the emulation: ONNX Runtime's fp16 on a CPU lies 1.7 times closer. fp32 lies 2,900 times closer."""
_SIMILAR = 4
"""An honest engine rounds at most this many times more or less than the emulation. Measured: 1.7 times less, and 2.2 times
more by kernels that also sum in fp16. bf16 in place of fp16 rounds 7.8 times more."""
_CORRELATED = 0.3
"""Kernels of the same precision have errors that correlate with the emulation's by 0.35 at least, of another one by 0.27 at
most; docs/decisions/plans.md has the figures."""
_VISIBLE = 1e-6
"""Below this share of the logits' range even fp32 rounds: no precision can be told from another."""


def check(evidence: Evidence) -> Iterator[Finding]:
    """FAIL where the answers are those of fp32 although another precision was asked for.

    INCONCLUSIVE where nothing could be compared, and where the errors differ from those of the precision in size or
    direction; a note where they agree in both.
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
        text = f"the rounding of the answers could not be compared, so nothing proves {precision}: {computed.unseen}"
        yield finding(Severity.INCONCLUSIVE, text)
        return
    sizes = (
        f"its logits lie {computed.engine:.0e} of their range from the source's, those of an emulation of {precision} "
        f"{computed.emulated:.0e}"
    )
    both = f"{sizes}, and these errors correlate by {computed.correlation:.2f}"
    if computed.emulated < _VISIBLE:
        text = f"{precision} changes nothing here, so the rounding of the answers cannot prove it: {sizes}"
        yield finding(Severity.INCONCLUSIVE, text)
    elif computed.engine * _CLOSER < computed.emulated:
        yield finding(Severity.FAIL, f"{precision} was asked for, and the engine is too close to fp32: {sizes}")
    elif computed.engine * _SIMILAR < computed.emulated:
        yield finding(Severity.INCONCLUSIVE, f"the engine rounds less than {precision} explains: {both}")
    elif computed.engine > computed.emulated * _SIMILAR:
        yield finding(Severity.INCONCLUSIVE, f"the engine rounds more than {precision} explains: {both}")
    elif computed.correlation < _CORRELATED:
        text = f"the engine's errors are not those of {precision}; it may compute in another precision: {both}"
        yield finding(Severity.INCONCLUSIVE, text)
    else:
        yield finding(Severity.NOTE, f"the rounding of the answers agrees with {precision}: {both}")
