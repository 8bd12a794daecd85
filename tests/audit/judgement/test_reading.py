from __future__ import annotations

import copy
import json
import re
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skinaudit.artifacts.files import write_json
from skinaudit.artifacts.operating_point import OperatingPoint
from skinaudit.artifacts.printable import UNPRINTABLE
from skinaudit.artifacts.typed_json import Count
from skinaudit.audit.audit import audit_engine
from skinaudit.audit.checks import Finding
from skinaudit.audit.figures.clinical import MALIGNANT_CALLS
from skinaudit.audit.figures.metrics import Hits
from skinaudit.audit.figures.set_result import SetResult
from skinaudit.audit.figures.statistics import Interval
from skinaudit.audit.judgement import reading
from skinaudit.audit.judgement.policy import Floor, Policy
from skinaudit.audit.judgement.reading import read_audit
from skinaudit.audit.judgement.result import AuditResult, Gate, Judgement, Verdict
from skinaudit.audit.judgement.rules import RULES
from skinaudit.audit.judgement.verdict import _possible, conclude
from skinaudit.audit.reports.json_ import render, to_json
from skinaudit.audit.reports.parts import schema
from skinaudit.errors import InvalidInputError

TEXT = st.text(st.characters(codec="utf-8").filter(lambda value: not UNPRINTABLE.search(value)), max_size=8)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
PATHS = st.lists(st.from_regex(r"[a-zé ]{1,5}", fullmatch=True), min_size=1, max_size=3).map(lambda parts: Path(*parts))
SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    bool: st.booleans(), int: st.integers(-(2**63), 2**64 - 1), float: NUMBERS, str: TEXT, Path: PATHS,
    Fraction: st.fractions(-9, 9, max_denominator=9),
}  # fmt: skip
ADMITTED: dict[Any, dict[str, st.SearchStrategy[Any]]] = {
    Finding: {"rule": st.sampled_from(sorted(RULES))},
    Gate: {"rule": st.sampled_from(sorted(RULES))},
    Policy: {
        "margin": st.floats(0.5, 99), "class_margin": st.integers(1, 99), "confidence": st.floats(0.5, 0.99),
        "run": st.none() | st.just(f"sha256:{'5' * 64}"),
        "malignant_margin": st.floats(0.5, 99), "malignant_margin_many": st.floats(0.5, 99),
        "many_malignant": st.integers(1, 9), "turned_benign": st.floats(0.5, 99),
        "malignant_to_benign": st.none() | st.integers(0, 9), "minimal_images": st.integers(1, 9),
        "probe_images": st.integers(1, 9), "subgroup_lesions": st.integers(1, 9), "subgroup_margin": st.floats(0.5, 99),
        "benign_margin": st.floats(0.5, 99), "probe_margin": st.floats(0.5, 99), "baseline_margin": st.floats(0.5, 99),
        "baseline_malignant_to_benign": st.floats(0, 99), "clinical_reason": st.just("why"),
        "operating_specificity": st.floats(0.1, 0.9), "operating_prevalence": st.none() | st.floats(0.1, 0.9),
        "operating_margin": st.none() | st.floats(0.5, 99),
        "margins": st.dictionaries(TEXT, st.floats(0.5, 99), max_size=2),
        "class_margins": st.dictionaries(TEXT, st.floats(0.5, 99), max_size=2),
    },
    SetResult: {"at_threshold": st.none()},  # read back in test_operating_point.py; drawn, reports would run out of data
    OperatingPoint: {"specificity": st.floats(0, 0.5), "reached": st.floats(0.5, 1)},
    Floor: {
        "accuracy": st.floats(0.5, 99),
        **dict.fromkeys(
            ("balanced_accuracy", "malignant_sensitivity", "worst_class_sensitivity"), st.none() | st.floats(0.5, 99)
        ),
    },
}  # fmt: skip
"""Fields whose dataclass admits only some values."""


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Any value of a type hint."""
    if is_dataclass(hint):
        if hint is Hits:
            return st.lists(values(Count), min_size=2, max_size=2).map(lambda pair: Hits(*sorted(pair)))
        hints = get_type_hints(hint, include_extras=True)
        own = ADMITTED.get(hint, {})
        return st.builds(
            hint, **{part.name: own[part.name] if part.name in own else values(hints[part.name]) for part in fields(hint)}
        )
    if isinstance(hint, type) and issubclass(hint, Enum):
        return st.sampled_from(list(hint))
    if hint in SCALARS:
        return SCALARS[hint]
    if hint is types.NoneType:
        return st.none()
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        low, high = arguments[1].low, arguments[1].high
        return st.integers(low, 2**64 - 1) if arguments[0] is int else st.floats(low, high)
    if origin in (Union, types.UnionType):
        return st.one_of(*map(values, arguments))
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin is tuple and arguments[-1] is not ...:
        return st.tuples(*map(values, arguments))
    if origin is tuple:
        return st.lists(values(arguments[0]), max_size=2).map(tuple)
    assert origin is not None
    assert issubclass(origin, Mapping)
    return st.dictionaries(TEXT, values(arguments[1]), max_size=2)


TOLERATED = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
"""A report has so many values that most draws run out of data and are drawn again; 15 whole ones are tried all the same."""


def concluded(result: AuditResult) -> AuditResult:
    """The result with the verdicts that follow from its figures, gates and findings; no others are read."""
    compared = [entry.title for entry in result.sets if entry.comparison.drop is not None]
    drops = (
        Gate("drop", title, "accuracy", 0.0, 0.01, Interval(0, 0.005), 1.0, 9, Judgement(Verdict.PASS)) for title in compared
    )
    malignant = (
        Gate("malignant-sensitivity", title, MALIGNANT_CALLS, 0.0, 0.05, Interval(0, 0.01), 1.0, 9, Judgement(Verdict.PASS))
        for title in (entry.title for entry in result.sets if entry.comparison.malignant_drop is not None)
    )
    gates = tuple(
        replace(gate, judgement=replace(gate.judgement, verdict=_possible(gate, result.policy)[-1]))
        for gate in (*result.gates, *drops, *malignant)
    )
    result = replace(result, gates=gates, labels="")  # without answers by image, which any figures would contradict
    return replace(result, verdict=conclude(result.sets, result.gates, result.findings, result.policy)[0])


@contextmanager
def without_answers() -> Iterator[None]:
    """Reports are read that lack the answers by image: those of any values cannot fit together."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "must_hold_answers", lambda _: False)
        yield


@settings(suppress_health_check=TOLERATED, max_examples=15)
@given(values(AuditResult).map(concluded))
def test_any_audit_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, result: AuditResult) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_bytes(render(result).encode())
    with without_answers():
        assert read_audit(path) == result
        assert render(read_audit(path)).encode() == path.read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, lab: SimpleNamespace) -> dict[str, Any]:
    """A real audit as JSON values: it failed, for a class among others. Read only."""
    planted = lab.plant(tmp_path_factory.mktemp("whole") / "run", settings={"fault": "melanoma to nevus"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("skinaudit.audit.evidence.reference.open_engine", lambda path, **_: lab.LinearEngine(path))
        return to_json(audit_engine(planted.engine))


@pytest.fixture
def written(whole: dict[str, Any]) -> dict[str, Any]:
    """The same, with one of the flipped images of each set: the others are alike, and each is read anew by every test."""
    short = copy.deepcopy(whole)
    for entry in short["sets"]:
        del entry["flipped"][1:]
    return short


def test_a_real_audit_comes_back(tmp_path: Path, whole: dict[str, Any]) -> None:
    write_json(tmp_path / "audit.json", whole)
    result = read_audit(tmp_path / "audit.json")
    assert to_json(result) == whole
    assert render(result) == (tmp_path / "audit.json").read_text(encoding="utf-8")
    assert isinstance(result.sets[1].comparison.classes, tuple)
    assert hash(result.findings[0]) == hash(result.findings[0])


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON value, the first item of each array."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from ((*place, key), *places(item, (*place, key)))
    elif isinstance(value, list):
        for index, item in enumerate(value[:1]):
            yield from ((*place, index), *places(item, (*place, index)))


def inner_of(value: Any, place: tuple[Any, ...]) -> Any:
    """What lies at the place."""
    for step in place:
        value = value[step]
    return value


def changed(value: Any, place: tuple[Any, ...], change: Any) -> Any:
    """A copy with `change(container, key)` applied at the place; what lies beside the way there is shared."""
    copied = holder = copy.copy(value)
    for step in place[:-1]:
        holder[step] = copy.copy(holder[step])
        holder = holder[step]
    change(holder, place[-1])
    return copied


def refused(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidInputError) as caught:
        read_audit(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert len(message) < len(str(path)) + 900
    assert "audit" in message
    return message


FREE = ("lineage", "versions", "found", "executed", "settings", "margins", "class_margins", "floors", "figures")
"""Mappings, whose keys are free."""


LATER = (
    ("consistency", "later"), ("consistency", "later_changed"), ("consistency", "later_largest"),
    ("consistency", "later_flips"), ("policy", "probe_required"), ("policy", "probe_images"), ("policy", "probe_prove"),
    ("probes", 0, "small"), ("probes", 0, "malignant_drop"),
    ("description", "batches"), ("description", "unused"), ("consistency", "whole"), ("agreement_only",),
    ("policy", "malignant_margin"), ("policy", "malignant_margin_many"), ("policy", "many_malignant"),
    ("policy", "turned_benign"), ("policy", "agreement_only"), ("policy", "proof"), ("policy", "run"),
    ("sets", 0, "called_malignant"),
    ("sets", 0, "engine_answers"), ("sets", 0, "source_answers"), ("labels",), ("lesions",), ("external",),
    ("subgroups",), ("sets", 0, "subgroups"), ("policy", "subgroups"), ("policy", "subgroup_lesions"),
    ("policy", "subgroup_margin"), ("sets", 0, "scores"), ("sets", 0, "at_threshold"),
    ("operating_point",), ("operating_point_lacking",),
    ("sets", 0, "comparison", "malignant_drop"), ("sets", 0, "comparison", "turned_benign"),
    ("sets", 0, "flipped", 0, "name"), ("sets", 0, "scores"), ("sets", 0, "at_threshold"),
    ("operating_point",), ("operating_point_lacking",),
    ("policy", "operating_specificity"), ("policy", "operating_prevalence"), ("policy", "operating_margin"),
)  # fmt: skip
"""What the first reports of the format do not have."""
LATER_ANYWHERE = ("effective_lesions", "discordant_lesions", "power", "engine_malignant_interval")
"""The same, of gates, drops and comparisons."""


def came_later(place: tuple[Any, ...]) -> bool:
    return place in LATER or place[-1] in LATER_ANYWHERE


def test_no_key_can_be_taken_away(tmp_path: Path, written: dict[str, Any]) -> None:
    count = 0
    for place in places(written):
        if isinstance(place[-1], str) and not set(place[:-1]) & set(FREE) and not came_later(place):
            count += 1
            broken = changed(written, place, lambda inner, key: inner.pop(key))
            assert place[-1] in refused(tmp_path / "x.json", json.dumps(broken))
    assert count > 100


def test_no_key_can_be_added(tmp_path: Path, written: dict[str, Any]) -> None:
    for place in ((), *places(written)):
        inner = inner_of(written, place)
        if isinstance(inner, dict) and not set(place) & set(FREE):
            broken = changed(written, (*place, "whim"), lambda inner, key: inner.update({key: 1}))
            assert "whim is unknown" in refused(tmp_path / "x.json", json.dumps(broken))


def test_no_value_can_be_of_another_type(tmp_path: Path, written: dict[str, Any]) -> None:
    values = (1, "word", True, [[[["x"]]]], float("nan"))
    for number, place in enumerate(places(written)):
        wrong, old = values[number % 5], inner_of(written, place)  # every value at some place of each kind

        def put(inner: Any, key: Any, wrong: Any = wrong) -> None:
            inner[key] = wrong

        kinds = {type(old), type(wrong)}
        free_text = (
            isinstance(old, str)
            and wrong == "word"
            and place[-1] not in ("kind", "rule", "verdict", "severity", "prove", "clinical", "proof")
        )
        if (
            old is None
            or free_text
            or (wrong == [[]] and isinstance(old, list) and isinstance(old[0], list))
            or (kinds <= {int, float} and wrong == 1)
            or (isinstance(wrong, bool) and kinds == {bool})
        ):
            continue
        refused(tmp_path / "x.json", json.dumps(changed(written, place, put)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "skinaudit-transfer/1"}, "kind should be skinaudit-audit/2, found 'skinaudit-transfer/1'"),
        ({"kind": None}, "kind should be skinaudit-audit/2, found null"),
        ({"verdict": "GREEN"}, "verdict should be one of PASS, FAIL, INCONCLUSIVE, found 'GREEN'"),
        ({"reason": 5}, "reason should be a text, found 5"),
        ({"sets": {}}, "sets should be an array"),
    ],
)
def test_the_message_says_what_is_wrong_and_what_to_do(
    tmp_path: Path, written: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    assert message in refused(tmp_path / "x.json", json.dumps({**written, **change}))


def test_what_a_dataclass_refuses_is_refused_with_the_name_of_the_file(tmp_path: Path, written: dict[str, Any]) -> None:
    written["policy"]["margin"] = -1
    assert "policy margin = -1" in refused(tmp_path / "x.json", json.dumps(written))


@pytest.mark.parametrize("verdict", ["PASS", "INCONCLUSIVE"])
def test_a_verdict_that_contradicts_its_gates_is_refused(tmp_path: Path, written: dict[str, Any], verdict: str) -> None:
    assert written["verdict"] == "FAIL"
    message = refused(tmp_path / "x.json", json.dumps({**written, "verdict": verdict}))
    assert f"verdict is {verdict}, but by its own gates and findings it is FAIL (clean: " in message


def test_a_verdict_needs_more_than_the_absence_of_findings(tmp_path: Path, written: dict[str, Any]) -> None:
    silent = {**written, "findings": [], "verdict": "PASS"}
    assert "by its own gates and findings it is FAIL" in refused(tmp_path / "x.json", json.dumps(silent))


def test_a_gate_says_what_its_figures_say(tmp_path: Path, written: dict[str, Any]) -> None:
    """Whatever verdict a gate is given, only one that its figures allow is read."""
    silent = {**written, "findings": [], "verdict": "PASS"}
    for gate in silent["gates"]:
        gate["judgement"]["verdict"] = "PASS"
    message = refused(tmp_path / "x.json", json.dumps(silent))
    assert re.search(
        r"the gate \S+ of clean is PASS, but its figures say (FAIL|INCONCLUSIVE): the report was changed", message
    )
    for index, gate in enumerate(written["gates"]):
        for verdict in ("PASS", "FAIL", "INCONCLUSIVE"):
            lenient = gate["judgement"]["verdict"] == "PASS" and verdict == "INCONCLUSIVE" and gate["p_value"] is not None
            if verdict == gate["judgement"]["verdict"] or lenient:
                continue
            broken = copy.deepcopy(written)
            broken["gates"][index]["judgement"]["verdict"] = verdict
            refused(tmp_path / "x.json", json.dumps(broken))


def test_a_set_that_was_compared_is_judged(tmp_path: Path, written: dict[str, Any]) -> None:
    assert "clean was compared, but no gate judges its drop" in refused(
        tmp_path / "x.json", json.dumps({**written, "findings": [], "verdict": "INCONCLUSIVE", "gates": []})
    )


@settings(suppress_health_check=TOLERATED, max_examples=15)
@given(values(AuditResult).map(concluded), st.sampled_from(Verdict))
def test_no_other_verdict_than_the_one_that_follows_is_read(
    tmp_path_factory: pytest.TempPathFactory, result: AuditResult, verdict: Verdict
) -> None:
    path = tmp_path_factory.getbasetemp() / "verdict.json"
    path.write_bytes(render(replace(result, verdict=verdict)).encode())
    with without_answers():
        if verdict is result.verdict:
            assert read_audit(path).verdict is verdict
        else:
            with pytest.raises(InvalidInputError, match=rf"verdict is {verdict.value}, but by its own gates"):
                read_audit(path)


COUNTED = ("images", "lesions", "right", "count", "lost", "gained", "flips", "queries", "index", "near_ties", "threads")


def test_no_count_is_negative_and_no_share_beyond_one(tmp_path: Path, written: dict[str, Any]) -> None:
    keys = set()
    for place in places(written):
        if isinstance(inner_of(written, place), str):
            continue
        wrong = -1 if place[-1] in COUNTED else 1.5 if str(place[-1]).endswith("_accuracy") else None
        if wrong is None or set(place[:-1]) & set(FREE):
            continue
        keys.add(place[-1])

        def put(inner: Any, key: Any, wrong: float = wrong) -> None:
            inner[key] = wrong

        expected = "an integer of at least 0, found -1" if wrong < 0 else "a finite number from 0 to 1, found 1.5"
        message = refused(tmp_path / "x.json", json.dumps(changed(written, place, put)))
        assert f"{place[-1]} should be {expected}" in message
    assert {"images", "right", "lost", "flips", "engine_accuracy", "source_accuracy"} <= keys


def test_no_more_answers_are_right_than_there_are(tmp_path: Path, written: dict[str, Any]) -> None:
    hits = written["sets"][0]["comparison"]["classes"][0]["engine"]
    hits["right"] = hits["count"] + 1
    assert "101 right answers of 100 images" in refused(tmp_path / "x.json", json.dumps(written))


@pytest.mark.parametrize("text", ["", "[]", "{", '{"kind": 1}', "\x00", '{"a":' * 100_000])
def test_what_is_no_report_is_refused(tmp_path: Path, text: str) -> None:
    refused(tmp_path / "x.json", text)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"absent\.json: no such JSON report of an audit"):
        read_audit(tmp_path / "absent.json")


def test_a_type_without_a_rule_is_a_mistake_of_the_program() -> None:
    with pytest.raises(TypeError, match="add one here"):
        schema._schema(set, {})
