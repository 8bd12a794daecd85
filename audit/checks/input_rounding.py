"""Whether the engine rounds its input to coarser steps than those of the images, which hides gradients."""

from __future__ import annotations

from collections.abc import Iterator

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity
from skinaudit.audit.evidence.nearby_images import ALMOST, ALMOST_HALFWAY, STEP, Difference

ABOUT: About = "engine"
RULES = {
    "input-rounding": Rule(
        "Pixels that are rounded by the engine",
        "The engine's logits move in jumps where pixels move by a tenth of a step of the 8-bit grid. That hides gradients "
        "from attacks, so that robustness may only seem to be there.",
        "Look for a rounding or a cast in front of the first layer; attack the engine through it with --probe square.",
    ),
}
_JUMP = 0.4
"""Of the change by a whole step. Smooth models moved by 0.04 to 0.09 of it, models behind a rounding by 0.6 or more."""
_SMOOTH = frozenset({"fp32", "fp16"})


def check(evidence: Evidence) -> Iterator[Finding]:
    """INCONCLUSIVE where nothing moves halfway between two steps, or, if all layers are smooth, where tiny changes jump.

    Integer layers round their input themselves, to about a step of the grid, so jumps alone are no sign there.
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
            "no logit of half of the images moves where all pixels do by a tenth of a step halfway between two steps of the "
            f"8-bit grid, and by {step.median:.0e} of their range where they do by a whole one: the input is rounded"
        )
    return (
        f"where all pixels move by up to a tenth of a step of the 8-bit grid, half of the logits move by "
        f"{max(shares.values()):.0%} as much as by a whole one, a smooth model by about a tenth: the input is rounded"
    )
