"""Whether the output for an image depends on the batch size or on the other images of the batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from skinaudit.artifacts.logits import range_text
from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity
from skinaudit.audit.evidence.consistency import FEW_FLIPS

ABOUT: About = "engine"
RULES = {
    "batch-dependence": Rule(
        "Predictions that depend on the batch",
        "The same image gets different logits in a batch of a different size or at a different position in the batch.",
        "Look for batch norm in training mode and operations across the batch axis. A contract may fix the batch size.",
    ),
}


TOLERANCES: Mapping[str, float] = {"fp64": 1e-3, "fp32": 1e-3, "fp16": 1e-2, "bf16": 2e-2, "fp8": 0.25, "int8": 0.25}
"""How far a logit may move with the batch size, as a share of the range of all logits, by the type of the engine's layers.
Different batch sizes use different kernels, which round differently. On a GPU fp32 moved by 2e-7, fp16 by 5e-4, bf16 by 2e-3
(docs/results/gpu.md). In 8 bit, a difference in the last bit before a quantiser can become a whole quantisation step after
it: logits moved by up to 0.15 in engines without a fault."""

_UNDECIDED = 0.005
"""Share of images whose predicted class may change with the batch size. Above it, a PASS at one batch size says too little
about other sizes. It is half of the default margin."""

_OTHER = 1e-2
"""The tolerance if the engine reports no type of this table."""

_FLIPPED = 0.02
"""Share of images whose predicted class may change with the batch size. Above it, the audit is a FAIL."""


def check(evidence: Evidence) -> Iterator[Finding]:
    """FAIL if many predictions change, or several change and the logits move beyond the tolerance; otherwise forbid PASS or
    warn.

    If logits move beyond the tolerance and almost no prediction changes, this is a warning. If predictions change only when
    all sets run with batch size 1, PASS is forbidden and nothing more: a service with one fixed batch size never sees this,
    and its contract can say so.
    """
    consistency = evidence.consistency
    yield from _served(evidence)
    if consistency.identical:
        return
    images = consistency.images + consistency.whole
    text = (
        f"{consistency.images} images in {len(consistency.sizes)} batches from {consistency.sizes[0]} to "
        f"{consistency.sizes[-1]} and in a different order"
        + (f", {consistency.whole:,} of all sets in a different batch size" if consistency.whole else "")
        + f": logits differ {range_text(consistency.largest)} at most, and {consistency.flips} predictions change"
    )
    beyond = consistency.largest > tolerance(evidence)
    severity = Severity.WARNING if consistency.flips or beyond else Severity.NOTE
    if consistency.flips > max(FEW_FLIPS, _UNDECIDED * images):
        severity = Severity.INCONCLUSIVE
    only_singly = consistency.whole > 0 and not evidence.engine.batches
    if not only_singly and consistency.flips > (_UNDECIDED * images if beyond else max(FEW_FLIPS, _FLIPPED * images)):
        severity, text = Severity.FAIL, f"{text}; the prediction for an image depends on its batch"
    figures = {"images": images, "largest": consistency.largest, "flips": consistency.flips}
    yield Finding(severity, "batch-dependence", None, text, figures=figures)


def _served(evidence: Evidence) -> Iterator[Finding]:
    contract = evidence.inputs.contract
    if contract is not None and contract.batch is not None:
        text = f"judged with batch size {contract.batch} only, which the contract says is used; other sizes were not tested"
        yield Finding(Severity.NOTE, "batch-dependence", None, text, figures={"batch": contract.batch})


def tolerance(evidence: Evidence) -> float:
    """The widest tolerance among the types that the file, the runtime and the manifest report."""
    manifest = evidence.inputs.manifest
    types = {*evidence.engine.found, *(evidence.engine.executed or ()), *([manifest.asked] if manifest is not None else ())}
    return max((TOLERANCES[name] for name in types & TOLERANCES.keys()), default=_OTHER)
