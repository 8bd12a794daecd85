"""Whether the engine rounds its input more coarsely than 8 bit, which hides gradients."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.artifacts.logits import range_text
from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity
from skinaudit.audit.evidence.nearby_images import ALMOST, ALMOST_HALFWAY, STEP, Difference

ABOUT: About = "engine"
RULES = {
    "input-rounding": Rule(
        "The engine rounds its input pixels",
        "The logits jump when pixels change by a tenth of an 8-bit step. This hides gradients from attacks, so the engine "
        "may only seem to be robust.",
        "Look for a rounding or a cast before the first layer. Attack the engine with --probe square, which needs no "
        "gradient.",
    ),
}
_JUMP = 0.4
"""As a share of the change by a whole step. Smooth models moved by 0.04 to 0.09 of it, models that round their input by 0.6
or more."""
_SMOOTH = frozenset({"fp32", "fp16"})


def check(evidence: Evidence) -> Iterator[Finding]:
    """INCONCLUSIVE if no logit changes halfway between two 8-bit steps, or if smooth layers jump under tiny changes.

    Integer layers round their own input to about one 8-bit step, so jumps alone prove nothing there.
    """
    own = evidence.nearby.own
    if STEP not in own or ALMOST not in own or ALMOST_HALFWAY not in own or own[STEP].median == 0:
        return
    shares = {kind: own[kind].median / own[STEP].median for kind in (ALMOST, ALMOST_HALFWAY)}
    still = own[ALMOST_HALFWAY].median == 0
    jumps = bool(evidence.engine.found) and set(evidence.engine.found) <= _SMOOTH and max(shares.values()) > _JUMP
    if still or jumps:
        yield Finding(Severity.INCONCLUSIVE, "input-rounding", None, _text(still, own[STEP], shares), figures={
            "almost": shares[ALMOST], "almost_halfway": shares[ALMOST_HALFWAY], "images": evidence.nearby.images,
        })  # fmt: skip


def _text(still: bool, step: Difference, shares: dict[str, float]) -> str:
    if still:
        return (
            "the input is rounded: for half of the images no logit changes when all pixels move by a tenth of an 8-bit "
            "step, "
            f"halfway between two steps, but the logits change {range_text(step.median)} for a whole step"
        )
    return (
        "the input is rounded: when all pixels move by up to a tenth of an 8-bit step, half of the logits move by "
        f"{max(shares.values()):.0%} of their change for a whole step; in a smooth model this is about 10%"
    )
