"""The engines of an audit: the one under audit, and the reference, which shows that the stored logits are its source's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.adversarial_set import AdversarialSet
from skinaudit.artifacts.logits import predictions, range_text
from skinaudit.artifacts.manifest import BUILT_TYPED, STRIPPED, engine_file, read_engine_manifest, resolve
from skinaudit.artifacts.run_folder import RunFolder
from skinaudit.artifacts.typed_json import Count
from skinaudit.audit.evidence.inputs import Inputs, check_engine
from skinaudit.audit.evidence.replay import Replayed
from skinaudit.engines.engine import Engine, Provider
from skinaudit.engines.open import RUNTIMES, open_emulated, open_engine
from skinaudit.engines.plans.options import PlanOptions
from skinaudit.errors import InvalidInputError, MissingDependencyError

CONTROL_TOLERANCE = 1e-3
"""How far a reproduced logit may differ from the stored one, as a fraction of the range of the image's stored logits.

Two fp32 runtimes differ by 1e-7 to 1e-4 of this range, two different models by 1e-1 or more.
"""
NEAR_TIE = 2e-4
"""Near tie: the first stored logit leads the second by less than this fraction of the same range, so rounding may change
the prediction. It is twice the largest difference between two fp32 runtimes."""
_TIES = 0.01
"""Share of the images that may be near ties with a different prediction."""


@dataclass(frozen=True)
class Control:
    """Whether the reference reproduces the logits stored in a set.

    ran: false if it was impossible or meaningless; `text` says why. largest_difference: the largest of any logit, as a
    fraction of the range of the image's stored logits. disagreements: number of images with different predictions.
    """

    ran: bool
    text: str
    largest_difference: float | None = None
    disagreements: Count | None = None


@dataclass(frozen=True, eq=False)
class Reference:
    """The reference engine, or why there is none. is_subject: it is the audited engine itself, so it is not run twice."""

    engine: Engine | None
    is_subject: bool
    text: str

    def control(self, image_set: AdversarialSet, controlled: Replayed | None, *, white_box: bool) -> Control:
        """Compare the reference's replay of a set with its stored logits; raises InvalidInputError if they differ."""
        if controlled is None:
            return Control(False, self.text)
        if not white_box:
            return Control(False, "skipped: the stored logits are from a different model")
        return check_reproduced(image_set, controlled.logits)


def check_reproduced(image_set: AdversarialSet, logits: NDArray[np.float32]) -> Control:
    """Compare logits, float32 (N, classes), with those stored in the set.

    Raises InvalidInputError, which names the set, if they differ. Each image has its own scale, at least the median one, so
    that a few large logits do not hide differences of the others. Predictions may differ only on near ties, and on few
    images.
    """
    stored, again = image_set.source_logits.astype(np.float64), logits.astype(np.float64)
    ranges = stored.max(axis=1) - stored.min(axis=1)
    scales = np.maximum(ranges, float(np.median(ranges)) or 1.0)
    largest = float((np.abs(again - stored).max(axis=1) / scales).max())
    differs = predictions(logits) != predictions(image_set.source_logits)
    first_two = np.sort(stored, axis=1)[:, -2:]
    clear = int((differs & (first_two[:, 1] - first_two[:, 0] > NEAR_TIE * scales)).sum())
    disagreements = int(differs.sum())
    if not largest <= CONTROL_TOLERANCE or clear or disagreements > max(1, _TIES * len(image_set)):
        raise InvalidInputError(
            f"{image_set.path}: the reference does not reproduce the stored logits: they differ {range_text(largest)} "
            f"(allowed: {100 * CONTROL_TOLERANCE:g}%), {disagreements} of {len(image_set)} answers differ, {clear} of them "
            "beyond near ties; write the sets and the engine again"
        )
    return Control(True, f"reproduced: logits differ {range_text(largest)}", largest, disagreements)


def open_subject(
    path: Path,
    inputs: Inputs,
    *,
    runtime: str | None,
    emulate: bool,
    provider: Provider | None,
    threads: int | None,
    plan: PlanOptions | None = None,
    allow_code: bool = False,
) -> Engine:
    """Open the engine under audit or, with `emulate`, the graph from which it was built."""
    manifest = inputs.manifest
    if manifest is None:
        if emulate:
            raise InvalidInputError(f"{path}: a foreign engine has no known graph to emulate it; leave --emulate out")
        order = inputs.clean.info.contract.classes
        return open_engine(
            path, runtime=runtime, contract=inputs.contract, order=order, provider=provider, threads=threads,
            plan=plan, allow_code=allow_code,
        )  # fmt: skip
    if emulate:
        graph = engine_file(path, manifest, manifest.graph)
        emulation = open_emulated(graph, precision=manifest.asked, threads=threads, own=manifest.contract)
        if not emulation.description.found.get(manifest.asked):
            raise InvalidInputError(
                f"{path}: its builder converted {manifest.graph.file} to {manifest.asked} by itself, so that graph "
                "cannot emulate it; leave --emulate out"
            )
        return emulation
    if STRIPPED in manifest.settings.get("flags", ()):
        raise InvalidInputError(
            f"{path}: a stripped plan, without its weights; audit one that is built without {STRIPPED}, or replay its graph "
            "with --emulate"
        )
    named = runtime or manifest.runtime
    return open_engine(
        path, runtime=named, own=manifest.contract, provider=provider, threads=threads, plan=plan, allow_code=allow_code
    )


def open_reference(
    path: Path,
    inputs: Inputs,
    engine: Engine,
    *,
    control: Path | None,
    provider: Provider | None,
    threads: int | None,
    plan: PlanOptions | None = None,
    allow_code: bool = False,
) -> Reference:
    """Open `control`, or the reference named in the manifest of `path`. engine: the opened engine under audit."""
    manifest = inputs.manifest
    if manifest is None:
        if control is not None:
            raise InvalidInputError(f"{control}: a foreign engine shares no weights with it; leave --control out")
        return Reference(None, False, "not run, because the engine is foreign and its model is not available")
    if control is not None:
        other = _open_control(control, inputs, provider=provider, threads=threads, plan=plan, allow_code=allow_code)
        return Reference(other, False, "")
    record = manifest.reference
    if record.digest == manifest.engine.digest and engine.description.runtime == manifest.runtime:
        _check_single(engine, path=path)
        return Reference(engine, True, "")
    run = RunFolder(path.parent / manifest.run)
    folder = next((place for place in (path.parent, run.engines) if (place / record.file).is_file()), None)
    if folder is None:
        return Reference(None, False, f"not run, reference missing ({record.file})")
    file = resolve(folder, record, further=[run.path])
    try:
        reference = open_engine(file, own=manifest.contract, threads=threads)
    except MissingDependencyError as error:
        return Reference(None, False, f"not run, {error}")
    check_engine(reference, manifest.contract, path=file)
    _check_single(reference, path=file)
    return Reference(reference, False, "")


def _open_control(
    control: Path,
    inputs: Inputs,
    *,
    provider: Provider | None,
    threads: int | None,
    plan: PlanOptions | None,
    allow_code: bool,
) -> Engine:
    assert inputs.manifest is not None
    named = Path(inputs.manifest.run)
    manifest = read_engine_manifest(control, run=named if named.is_absolute() else None)
    if manifest.lineage.get("weights") != inputs.weights:
        raise InvalidInputError(
            f"{control}: its weights differ from those of the audited engine; name an engine of the same run"
        )
    if manifest.asked != "fp32":
        raise InvalidInputError(f"{control}: is {manifest.asked}; a control is the source model in fp32")
    runtime = manifest.runtime
    if plan is not None and runtime in RUNTIMES:
        plan = plan.only(RUNTIMES[runtime].plan_options)  # a plan runs like the engine under audit, on the same device
    reference = open_engine(
        control, runtime=runtime, own=manifest.contract, provider=provider, threads=threads, plan=plan, allow_code=allow_code
    )
    check_engine(reference, inputs.clean.info.contract, path=control)
    typed = manifest.settings.get("found_in") == BUILT_TYPED
    _check_single(reference, path=control, built=manifest.found if typed else None)
    return reference


def _check_single(reference: Engine, *, path: Path, built: Mapping[str, int] | None = None) -> None:
    """Raise InvalidInputError unless all layers of the opened file itself are in fp32, whatever its manifest says.

    built: for a plan, which does not report its layers, the counts from its build.
    """
    precisions = reference.description.found or built or {}
    if set(precisions) != {"fp32"}:
        layers = ", ".join(f"{name} in {count}" for name, count in sorted(precisions.items())) or "unknown"
        raise InvalidInputError(f"{path}: the precision of its layers is {layers}; a reference is the source model in fp32")
