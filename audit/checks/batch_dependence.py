"""Whether an image's answer depends on the size of its batch or on its neighbours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from skinaudit.audit.checks import About, Evidence, Finding, Rule, Severity
from skinaudit.audit.evidence.consistency import FEW_FLIPS

ABOUT: About = "engine"
RULES = {
    "batch-dependence": Rule(
        "Answers that depend on the batch",
        "The same image gets other logits in a batch of another size or at another place of it.",
        "Look for batch norm in training mode and operations across the batch axis. A contract may declare the batch.",
    ),
}


TOLERANCES: Mapping[str, float] = {"fp64": 1e-3, "fp32": 1e-3, "fp16": 1e-2, "bf16": 2e-2, "fp8": 0.25, "int8": 0.25}
"""How far a logit may move with the batch, relative to the range of all, by the type of the engine's layers: other kernels
round otherwise. On a GPU fp32 moved by 2e-7, fp16 by 5e-4, bf16 by 2e-3 (docs/results/gpu.md). In 8 bit a last bit before a
step of the quantiser is a whole step behind it, and logits moved by up to 0.15 where nothing was wrong."""

_UNDECIDED = 0.005
"""Share of images whose class may change with the batch before a PASS at one batch says too little of others: half of the
default margin."""

_OTHER = 1e-2
"""The tolerance of an engine that tells no type known here."""

_FLIPPED = 0.02
"""Share of images whose class may change with the batch before it is a FAIL."""


def check(evidence: Evidence) -> Iterator[Finding]:
    """FAIL where many classes change, or several beyond the tolerance; forbid PASS or warn where fewer do.

    Logits that move beyond the tolerance are a warning as long as hardly a class changes. Classes that change only when all
    sets are answered singly forbid PASS at most: a service of one batch size may never see it, and its contract can say so.
    """
    consistency = evidence.consistency
    yield from _served(evidence)
    if consistency.identical:
        return
    images = consistency.images + consistency.whole
    text = (
        f"{consistency.images} images in {len(consistency.sizes)} batches from {consistency.sizes[0]} to "
        f"{consistency.sizes[-1]} and in another order"
        + (f", {consistency.whole:,} of all sets in another size" if consistency.whole else "")
        + f": logits differ by up to {consistency.largest:.0e} of their range, and {consistency.flips} predictions change"
    )
    beyond = consistency.largest > tolerance(evidence)
    severity = Severity.WARNING if consistency.flips or beyond else Severity.NOTE
    if consistency.flips > max(FEW_FLIPS, _UNDECIDED * images):
        severity = Severity.INCONCLUSIVE
    only_singly = consistency.whole > 0 and not evidence.engine.batches
    if not only_singly and consistency.flips > (_UNDECIDED * images if beyond else max(FEW_FLIPS, _FLIPPED * images)):
        severity, text = Severity.FAIL, f"{text}; the answer to an image depends on its batch"
    figures = {"images": images, "largest": consistency.largest, "flips": consistency.flips}
    yield Finding(severity, "batch-dependence", None, text, figures=figures)


def _served(evidence: Evidence) -> Iterator[Finding]:
    contract = evidence.inputs.contract
    if contract is not None and contract.batch is not None:
        text = f"judged in batches of {contract.batch}, as the contract says that it is served; nothing is known of others"
        yield Finding(Severity.NOTE, "batch-dependence", None, text, figures={"batch": contract.batch})


def tolerance(evidence: Evidence) -> float:
    """The widest tolerance among the types that the file, the runtime or the manifest names."""
    manifest = evidence.inputs.manifest
    types = {*evidence.engine.found, *(evidence.engine.executed or ()), *([manifest.asked] if manifest is not None else ())}
    return max((TOLERANCES[name] for name in types & TOLERANCES.keys()), default=_OTHER)
