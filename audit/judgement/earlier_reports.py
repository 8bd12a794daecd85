"""Reads earlier audit reports, of the format `skinaudit-audit/1` and the first ones of today's format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from skinaudit.artifacts.contract import earlier_malignant
from skinaudit.audit.figures.statistics import wilson_interval

EARLIER_FORMAT = "skinaudit-audit/1"

_POLICY = {
    "malignant_margin": 5.0, "malignant_margin_many": 2.5, "many_malignant": 400, "turned_benign": 5.0,
    "agreement_only": "pass", "proof": "optional", "run": None, "subgroups": None, "subgroup_lesions": 30,
    "subgroup_margin": 5.0, "operating_specificity": None, "operating_prevalence": None, "operating_margin": None,
}  # fmt: skip
_LATER: Mapping[str, Mapping[str, Any]] = {
    "description": {"batches": [], "unused": 0},
    "consistency": {"whole": 0, "later": 0, "later_changed": 0, "later_largest": 0.0, "later_flips": 0},
    "policy": {**_POLICY, "probe_required": False, "probe_images": 100, "probe_prove": False},
}
"""Fields that the first reports of today's format lack, with the value that held then, or with today's default."""

_LATER_OF_DROPS: Mapping[str, Any] = {"effective_lesions": None, "discordant_lesions": None}
_LATER_OF_GATES: Mapping[str, Any] = {"effective_lesions": None, "power": None}

_SHARE_OF_SUBGROUP = {"engine", "engine_interval", "source", "drop"}
"""Figures of a subgroup in reports of the version with another test of subgroups."""

_NO_OPERATING_POINT: Mapping[str, Any] = {
    "operating_point": None, "operating_point_lacking": "the report is of an earlier version",
}  # fmt: skip

_BY_ANSWERS = ("square", "spsa")
"""The probes of that time that saw only answers."""


def completed(report: Mapping[str, Any]) -> dict[str, Any]:
    """A report of today's format, with the fields added that its first versions lack.

    These are: batches of the engine, lesions and power, the interval of the malignant sensitivity (computed from single
    images then), the clinical endpoint, which images are called malignant, and the answers per image.
    """
    changed: dict[str, Any] = _with_lesions(dict(report))
    changed["gates"] = _with_each_changed(changed.get("gates"), lambda gate: {**_LATER_OF_GATES, **gate})
    for name, fields in _LATER.items():
        if isinstance(report.get(name), dict):
            changed[name] = {**fields, **changed[name]}
    changed["probes"] = _with_each_changed(
        changed.get("probes"), lambda probe: {"small": False, "malignant_drop": None, **probe}
    )
    changed["sets"] = _with_each_changed(changed.get("sets"), _with_clinical_fields)
    if isinstance(report.get("external"), dict):
        changed["external"] = {"left_out": {}, "of_run": {}, **changed["external"]}
    baseline = changed.get("baseline")
    if isinstance(baseline, dict):
        changed["baseline"] = {
            **baseline,
            "sets": _with_each_changed(baseline.get("sets"), lambda entry: {"pooled": None, "turned": None, **entry}),
        }
    later = {"agreement_only": False, "labels": "", "lesions": "", "external": None, "subgroups": []}
    return {**later, **_NO_OPERATING_POINT, **changed}


def must_hold_answers(report: Mapping[str, Any]) -> bool:
    """Whether a report, judged by its fields, is of a version that stores the answers per image.

    Removing the answers does not make a report look earlier, because it has figures that earlier versions did not compute.
    An earlier report that was written again has no answers.
    """
    return _has_figures(report, _FIGURES_WITH_ANSWERS)


_FIGURES_WITH_ANSWERS = frozenset(
    {"effective_lesions", "power", "malignant_drop", "turned_benign", "called_malignant", "engine_answers", "labels"}
)


def _has_figures(value: Any, names: frozenset[str]) -> bool:
    """Whether one of these fields has a value anywhere in the sets and gates of a report."""
    if isinstance(value, list):
        return any(_has_figures(item, names) for item in value)
    if not isinstance(value, dict):
        return False
    parts = [item for key, item in value.items() if key not in ("policy", "findings", "baseline")]
    return any(value.get(name) not in (None, "", []) for name in names & value.keys()) or _has_figures(parts, names)


def _with_clinical_fields(result: dict[str, Any]) -> dict[str, Any]:
    changed = {
        "called_malignant": "",
        "engine_answers": "",
        "source_answers": "",
        "subgroups": [],
        "scores": None,
        "at_threshold": None,
        **result,
        "flipped": _with_each_changed(result.get("flipped"), lambda flip: {"name": "", **flip}),
    }
    if isinstance(result.get("comparison"), dict):
        changed["comparison"] = {"malignant_drop": None, "turned_benign": None, **result["comparison"]}
    return changed


def _with_lesions(value: Any) -> Any:
    """Add the missing fields of drops and comparisons, wherever they are in a report."""
    if isinstance(value, list):
        return [_with_lesions(item) for item in value]
    if not isinstance(value, dict):
        return value
    changed = {key: _with_lesions(item) for key, item in value.items()}
    if {"lost", "gained", "bootstrap"} <= changed.keys():
        return {**_LATER_OF_DROPS, **changed}
    if changed.keys() == _SHARE_OF_SUBGROUP:
        return {"excess": None, **changed}
    if "engine_malignant" in changed and "engine_malignant_interval" not in changed:
        changed["engine_malignant_interval"] = _interval_of(changed["engine_malignant"])
    return changed


def _interval_of(hits: Any) -> Any:
    """Wilson's interval of a share that an earlier report gives without one; None if it is not a share."""
    right, count = (hits.get("right"), hits.get("count")) if isinstance(hits, dict) else (None, None)
    if not (isinstance(right, int) and isinstance(count, int) and 0 <= right <= count < 2**53):
        return None
    return asdict(wilson_interval(right, count))


def upgraded(report: Mapping[str, Any]) -> dict[str, Any]:
    """A report of the earlier format with today's names and fields. The reader refuses what could not be in such a report.

    The source model was called baseline then, each set had the judgement of its gate, the malignant classes were those of
    HAM10000, and a finding did not name its gate.
    """
    changed = dict(report)
    if "malignant" in report:  # a later format under an earlier name; it is read as what it is
        return changed
    classes = report.get("classes")
    names = tuple(name for name in classes if isinstance(name, str)) if isinstance(classes, list) else ()
    changed["malignant"] = list(earlier_malignant(names))
    changed["sets"] = _with_each_changed(report.get("sets"), _set)
    changed["probes"] = _with_each_changed(
        report.get("probes"), lambda probe: {**probe, "by_answers": probe.get("name") in _BY_ANSWERS}
    )
    changed["gates"] = _with_each_changed(report.get("gates"), lambda gate: _gate(gate, names))
    changed["findings"] = _with_each_changed(
        report.get("findings"), lambda finding: {**finding, "gate": _gate_of(finding), "figures": {}}
    )
    if isinstance(report.get("policy"), dict):
        changed["policy"] = {**report["policy"], "clinical": "required", "clinical_reason": ""}
    return changed


def _set(result: dict[str, Any]) -> dict[str, Any]:
    changed = {key: value for key, value in result.items() if key != "judgement"}
    comparison = result.get("comparison")
    if isinstance(comparison, dict):
        renamed = {key.replace("baseline_", "source_", 1): value for key, value in comparison.items()}
        renamed["classes"] = _with_each_changed(
            comparison.get("classes"),
            lambda figures: {"source" if key == "baseline" else key: figures[key] for key in figures},
        )
        changed["comparison"] = renamed
    return changed


def _gate(gate: dict[str, Any], classes: tuple[str, ...]) -> dict[str, Any]:
    subject = gate.get("subject")
    of_class = gate.get("rule") in ("class-sensitivity", "baseline-drop") and subject in classes
    return {**gate, "lesion_class": subject if of_class else None}


def _gate_of(finding: dict[str, Any]) -> str | None:
    """The figure that a finding's gate bounds; for a floor, this was not recorded."""
    lesion_class = finding.get("lesion_class")
    subjects = {
        "drop": "accuracy",
        "probe-drop": "accuracy",
        "malignant-to-benign": "images",
        "baseline-malignant-to-benign": "images",
        "class-sensitivity": lesion_class,
        "baseline-drop": lesion_class or "accuracy",
    }
    rule = finding.get("rule")
    return subjects.get(rule) if isinstance(rule, str) and finding.get("set") is not None else None


def _with_each_changed(values: Any, change: Any) -> Any:
    if not isinstance(values, list):
        return values
    return [change(value) if isinstance(value, dict) else value for value in values]
