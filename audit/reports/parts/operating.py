"""The operating point and the figures of probabilities, worded for all reports."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from skinaudit.audit.figures.at_threshold import AtThreshold, ModelAtThreshold, Predictive
from skinaudit.audit.figures.scores import AreaDrop, ModelScores, RocArea
from skinaudit.audit.figures.set_result import SetResult
from skinaudit.audit.figures.text import NOTHING, drop_text, percent, signed_points, span
from skinaudit.audit.judgement.result import AuditResult


@dataclass(frozen=True)
class Row:
    """One figure of one set: its name, source and engine as text, the drop with its interval; NOTHING for none."""

    name: str
    source: str
    engine: str
    drop: str


def operating_text(result: AuditResult) -> str:
    """The threshold and its figures on the validation images, or why there is none."""
    point, prevalence = result.operating_point, result.policy.operating_prevalence
    if point is None:
        return f"no operating point: {result.operating_point_lacking}"
    sensitivity = "" if point.sensitivity is None else f" and sensitivity {percent(point.sensitivity)}"
    shown = "the policy states no prevalence, so there are no predictive values"
    if prevalence is not None:
        shown = f"predictive values at a prevalence of {prevalence:.3g}"
    return (
        f"operating point: malignant if the malignant score is above {point.probability:.3g}. On "
        f"{point.benign + point.malignant:,} validation images it reached specificity "
        f"{percent(point.reached)}{sensitivity}; {shown}"
    )


def operating_rows(set_result: SetResult) -> Iterator[Row]:
    """The figures of one set, in this order: area, sensitivity and specificity, predictive values, calibration."""
    scores, at = set_result.scores, set_result.at_threshold
    if scores is not None and scores.engine.area is not None:
        source = None if scores.source is None else scores.source.area
        yield Row("ROC AUC", _area(source), _area(scores.engine.area), _area_drop(scores.area_drop))
    if at is not None:
        yield from _at_threshold(at)
    if scores is not None:
        yield Row("calibration error", _error(scores.source), _error(scores.engine), NOTHING)
        yield Row("Brier score", _brier(scores.source), _brier(scores.engine), NOTHING)


def short_figures(set_result: SetResult) -> tuple[str, ...]:
    """Area, sensitivity, specificity, calibration error and Brier score of a set, `source -> engine`, for a narrow table."""
    scores, at = set_result.scores, set_result.at_threshold
    models = () if scores is None else tuple(model for model in (scores.source, scores.engine) if model is not None)
    called = () if at is None else tuple(model for model in (at.source, at.engine) if model is not None)
    areas = [model.area for model in models if model.area is not None]
    return (
        _arrow(f"{area.value:.3f}" for area in areas),
        _arrow(percent(model.sensitivity.share).rstrip("%") for model in called),
        _arrow(percent(model.specificity.share).rstrip("%") for model in called),
        _arrow(percent(model.calibration_error).rstrip("%") for model in models),
        _arrow(f"{model.brier:.3f}" for model in models),
    )


def _arrow(figures: Iterable[str]) -> str:
    return " -> ".join(figures) or NOTHING


def _at_threshold(at: AtThreshold) -> Iterator[Row]:
    source, engine = at.source, at.engine
    if engine.sensitivity.count:
        yield Row("sensitivity", _sensitivity(source), _sensitivity(engine), drop_text(at.sensitivity_drop))
    if engine.specificity.count:
        yield Row("specificity", _specificity(source), _specificity(engine), drop_text(at.specificity_drop))
    if engine.positive is not None and engine.negative is not None:
        of_source = (None, None) if source is None else (source.positive, source.negative)
        yield Row("positive predictive value", _predictive(of_source[0]), _predictive(engine.positive), NOTHING)
        yield Row("negative predictive value", _predictive(of_source[1]), _predictive(engine.negative), NOTHING)


def _area(area: RocArea | None) -> str:
    return NOTHING if area is None else f"{area.value:.3f} [{area.interval.low:.3f}, {area.interval.high:.3f}]"


def _area_drop(drop: AreaDrop | None) -> str:
    if drop is None:
        return NOTHING
    low, high = signed_points(drop.interval.low), signed_points(drop.interval.high)
    return f"{signed_points(drop.value)} [{low}, {high}]"


def _sensitivity(model: ModelAtThreshold | None) -> str:
    return NOTHING if model is None else f"{percent(model.sensitivity.share)} {span(model.sensitivity_interval)}"


def _specificity(model: ModelAtThreshold | None) -> str:
    return NOTHING if model is None else f"{percent(model.specificity.share)} {span(model.specificity_interval)}"


def _predictive(value: Predictive | None) -> str:
    return NOTHING if value is None else f"{percent(value.value)} {span(value.interval)}"


def _error(scores: ModelScores | None) -> str:
    return NOTHING if scores is None else percent(scores.calibration_error)


def _brier(scores: ModelScores | None) -> str:
    return NOTHING if scores is None else f"{scores.brier:.3f}"
