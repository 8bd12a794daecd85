"""Whether this device computes in the precision of the file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity
from skinaudit.audit.checks.precision import layers_text
from skinaudit.audit.evidence.half_precision import HalfPrecision
from skinaudit.engines.engine import UNREPORTED

ABOUT: About = "engine"
RULES = {
    "execution": Rule(
        "Computed in a precision that differs from the file's",
        "This device computes some layers in a different precision than the file stores. The replay does not test that one.",
        "Audit the engine on the device where it will run.",
    ),
}


_BITS = {"fp32": 32, "fp16": 16, "bf16": 16, "int8": 8, "fp8": 8}
_CLEAR_MAJORITY = 2 / 3
"""A builder leaves fewer layers than this share in float. In MobileNet, 13 of 28 layers are depthwise. Together with the
first and the last one, 15 layers may stay in float."""
_FLIPPED = 0.02
"""Share of images whose predicted class may change in the emulation. Above it, a PASS would rest on the wrong arithmetic."""


def check(evidence: Evidence) -> Iterator[Finding]:
    """Warn if the device computes in a different precision than the file's: the replay then does not test that precision.

    If the device computes a half precision file in single precision, the audit also emulates half precision. Overflow in
    the emulation, or a missing emulation, forbids PASS. A plan file has no types of its own, so the report of its runtime
    is used.
    """
    file_layers, executed = evidence.engine.found, evidence.engine.executed
    manifest = evidence.inputs.manifest
    by_rounding = evidence.computed_precision is not None  # has a check of its own
    if manifest is not None and not file_layers:
        promised = sum(manifest.found.values())
        yield from _of_plan(manifest.asked, executed or {}, promised=promised, by_rounding=by_rounding)
    elif manifest is not None and executed is None and manifest.asked != "fp32":
        if not by_rounding:
            yield _of_typed_file(manifest.asked, file_layers)
    elif executed is not None and dict(executed) != dict(file_layers):
        written, computed = layers_text(file_layers), layers_text(executed)
        text = f"layers in the file: {written}; computed here: {computed}. Audit the engine on the device where it will run"
        yield Finding(Severity.WARNING, "execution", None, text)
    if evidence.half_precision is not None:
        yield _of_emulation(evidence.half_precision)


def _of_plan(requested: str, executed: Mapping[str, int], *, promised: int, by_rounding: bool) -> Iterator[Finding]:
    """Judge a file without types by the layers that its runtime reports. promised: the number of layers in the manifest.

    FAIL if a clear majority of the layers is in a wider precision, or half of them in a different one that is not wider.
    Forbid PASS unless most layers have the requested precision: builders leave some layers of a correct plan in float.
    by_rounding: the rounding errors of the outputs judge the layers that are not reported.
    """
    reported = {name: count for name, count in executed.items() if name != UNREPORTED}
    known = sum(reported.values())
    unknown = max(executed.get(UNREPORTED, 0), promised - known)
    total, right = known + unknown, reported.get(requested, 0)
    wider = sum(count for name, count in reported.items() if _BITS.get(name, 0) > _BITS.get(requested, 0))
    other = known - right  # some of them wider
    text = f"{requested} was requested, the runtime reports {layers_text(reported)} of {total} layers"

    def finding(severity: Severity, text: str) -> Finding:
        return Finding(severity, "execution", None, text, figures={"layers": total, "as asked": right})

    if other and (2 * (other - wider) >= total or other >= _CLEAR_MAJORITY * total):
        yield finding(Severity.FAIL, text)
    elif 2 * right > total:
        if right < total:
            yield finding(Severity.NOTE, f"{text}; {unknown} are fused or not reported" if unknown else text)
    elif other and (2 * (right + unknown) <= total or 2 * (other - wider) >= known):
        yield finding(Severity.INCONCLUSIVE, f"{text}: this does not show that most layers compute in {requested}")
    elif requested == "fp32":
        if other:
            yield finding(Severity.NOTE, text)
    elif not by_rounding:
        text = f"the runtime does not report the precision, so it is not shown that this file computes in {requested}"
        yield finding(Severity.INCONCLUSIVE, text)
    elif reported:
        yield finding(Severity.NOTE, f"{text}; the rounding errors of the outputs judge the other layers")


def _of_typed_file(requested: str, layers: Mapping[str, int]) -> Finding:
    """The types in a file prove the floating type in which it computes; layers in 8 bit may be computed in float."""
    text = f"the runtime does not report the precision; layers in the file: {layers_text(layers)}"
    if requested == "int8":
        return Finding(Severity.WARNING, "execution", None, f"{text}; int8 layers may be computed in float here")
    return Finding(Severity.NOTE, "execution", None, text)


def _of_emulation(half: HalfPrecision) -> Finding:
    figures = {"images": half.images, "overflows": half.overflows, "flips": half.flips}
    if half.unseen is not None:
        text = f"this device does not compute in {half.precision}, and the emulation of it did not run: {half.unseen}"
        return Finding(Severity.INCONCLUSIVE, "execution", None, text)
    if half.overflows:
        text = (
            f"{half.precision} overflows: its emulation gives NaN or infinity on {half.overflows} of {half.images} images; "
            f"this device computes in another precision, so it does not show this"
        )
        return Finding(Severity.FAIL, "execution", None, text, figures=figures)
    if half.odd:
        text = (
            f"{half.precision} overflows: its emulation gives NaN or infinity for an input that is {', '.join(half.odd)}; "
            f"audit it on hardware with native {half.precision}"
        )
        return Finding(Severity.INCONCLUSIVE, "execution", None, text, figures=figures)
    text = f"an emulation of {half.precision} predicts a different class for {half.flips} of {half.images} images"
    severity = Severity.INCONCLUSIVE if half.flips > _FLIPPED * half.images else Severity.NOTE
    return Finding(severity, "execution", None, text, figures=figures)
