"""The operating point at which source and engine are compared: the run's, at the specificity that the policy names."""

from __future__ import annotations

from dataclasses import dataclass

from skinaudit.artifacts.contract import InputContract
from skinaudit.artifacts.operating_point import OperatingPoint
from skinaudit.audit.evidence.inputs import Inputs


@dataclass(frozen=True)
class Operating:
    """point: None if there is none; `lacking` then says why, and what to do. recorded: whether the run has others."""

    point: OperatingPoint | None
    lacking: str
    recorded: bool


def operating_point(inputs: Inputs, *, specificity: float | None) -> Operating:
    """The threshold that was fixed when the training ended. It is never chosen on the sets of the audit.

    specificity: None for the lowest one that the run recorded.
    """
    of_run = inputs.recorded or inputs.external
    points = () if of_run is None else of_run.operating_points
    fitting = [point for point in points if specificity is None or abs(point.specificity - specificity) < 1e-9]
    if fitting:
        lowest = min(fitting, key=lambda point: point.specificity)
        return Operating(lowest, "", True)
    return Operating(None, _reason_without_point(inputs, points, specificity), bool(points))


def _reason_without_point(inputs: Inputs, points: tuple[OperatingPoint, ...], specificity: float | None) -> str:
    if points and specificity is not None:
        names = ", ".join(f"{point.specificity:g}" for point in points)
        return (
            f"the run fixed a threshold for specificity {names}, the policy names {specificity:g}: name one of these, or "
            f"train with --specificity {specificity:g}"
        )
    if not _tells_apart(inputs.clean.info.contract):
        return "the contract does not name both malignant and other classes, so there is no malignant score"
    if inputs.manifest is None:
        return "an engine of another tool has no threshold from validation images"
    return "the run recorded no threshold: it was trained by an earlier version, or without benign validation images"


def _tells_apart(contract: InputContract) -> bool:
    return 0 < len(contract.malignant) < len(contract.classes)
