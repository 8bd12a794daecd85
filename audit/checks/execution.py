"""Whether this device computes in the precision that the file has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity
from skinaudit.audit.checks.precision import layers_text
from skinaudit.audit.evidence.half_precision import HalfPrecision
from skinaudit.engines.engine import UNREPORTED

ABOUT: About = "engine"
RULES = {
    "execution": Rule(
        "Computed in another precision than the file has",
        "This device computes layers in another precision than they are stored in: the replay shows less than it seems.",
        "Audit the engine on the device where it will run.",
    ),
}


_FLIPPED = 0.02
"""Share of images that an emulation may name otherwise before a PASS would rest on the wrong arithmetic."""


def check(evidence: Evidence) -> Iterator[Finding]:
    """Warn where the device computes in another precision than the file has: the replay then does not test that precision.

    A half precision file that the device computes in single precision is also emulated. Overflow in the emulation, or a
    missing emulation, forbids PASS. A plan has no types of its own: what it computes is what its runtime reports.
    """
    file_layers, executed = evidence.engine.found, evidence.engine.executed
    manifest = evidence.inputs.manifest
    by_rounding = evidence.computed_precision is not None  # has a check of its own
    if manifest is not None and not file_layers:
        yield from _of_plan(manifest.asked, executed or {}, by_rounding=by_rounding)
    elif manifest is not None and executed is None and manifest.asked != "fp32":
        if not by_rounding:
            yield _of_typed_file(manifest.asked, file_layers)
    elif executed is not None and dict(executed) != dict(file_layers):
        written, computed = layers_text(file_layers), layers_text(executed)
        text = f"the file has {written} layers, this device computes {computed}: audit it where it will run"
        yield Finding(Severity.WARNING, "execution", None, text)
    if evidence.half_precision is not None:
        yield _of_emulation(evidence.half_precision)


def _of_plan(asked: str, executed: Mapping[str, int], *, by_rounding: bool) -> Iterator[Finding]:
    """FAIL where most layers of a file without types are reported in another precision; forbid PASS where it is unknown.

    by_rounding: what is not reported is judged by the rounding of the answers.
    """
    right, unknown, total = executed.get(asked, 0), executed.get(UNREPORTED, 0), sum(executed.values())
    figures = {"layers": total, "as asked": right}
    if 2 * right > total:
        if right < total:
            text = f"{asked} was asked for, the runtime reports {layers_text(executed)} of {total} layers"
            yield Finding(Severity.NOTE, "execution", None, text, figures=figures)
    elif total and 2 * (right + unknown) <= total:
        text = f"{asked} was asked for, the runtime reports {layers_text(executed)} of {total} layers"
        yield Finding(Severity.FAIL, "execution", None, text, figures=figures)
    elif asked != "fp32" and not by_rounding:
        text = f"precision not reported by the runtime: nothing shows that this file computes in {asked}"
        yield Finding(Severity.INCONCLUSIVE, "execution", None, text, figures=figures)


def _of_typed_file(asked: str, layers: Mapping[str, int]) -> Finding:
    """The types of a file prove in which floating type it computes; layers in 8 bit may be computed in float."""
    text = f"precision not reported by the runtime; the file itself has {layers_text(layers)} layers"
    if asked == "int8":
        return Finding(Severity.WARNING, "execution", None, f"{text}, which may be computed in float here")
    return Finding(Severity.NOTE, "execution", None, text)


def _of_emulation(half: HalfPrecision) -> Finding:
    figures = {"images": half.images, "overflows": half.overflows, "flips": half.flips}
    if half.unseen is not None:
        text = f"this device does not compute in {half.precision}, and its emulation did not run: {half.unseen}"
        return Finding(Severity.INCONCLUSIVE, "execution", None, text)
    if half.overflows:
        text = (
            f"{half.precision} overflows: NaN or infinity on {half.overflows} of {half.images} images in an emulation, "
            "which this device does not show"
        )
        return Finding(Severity.FAIL, "execution", None, text, figures=figures)
    if half.odd:
        text = (
            f"{half.precision} overflows: NaN or infinity to a frame that is {', '.join(half.odd)} in an emulation of it, "
            f"which this device does not show: audit it on hardware with native {half.precision}"
        )
        return Finding(Severity.INCONCLUSIVE, "execution", None, text, figures=figures)
    text = f"an emulation of {half.precision} answers {half.flips} of {half.images} images otherwise"
    severity = Severity.INCONCLUSIVE if half.flips > _FLIPPED * half.images else Severity.NOTE
    return Finding(severity, "execution", None, text, figures=figures)
