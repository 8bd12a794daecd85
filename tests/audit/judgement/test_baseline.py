"""No worse than the last release: engines beside the report of an earlier one."""

from __future__ import annotations

import itertools
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from skinaudit.artifacts.adversarial_set import open_set
from skinaudit.artifacts.files import write_json
from skinaudit.audit import reports
from skinaudit.audit.audit import audit_engine
from skinaudit.audit.checks import Severity
from skinaudit.audit.figures.clinical import MALIGNANT_CALLS
from skinaudit.audit.figures.metrics import Hits
from skinaudit.audit.figures.right_answers import pack_right, unpack_right
from skinaudit.audit.figures.statistics import paired_drop
from skinaudit.audit.judgement import reading
from skinaudit.audit.judgement.gates import judge
from skinaudit.audit.judgement.policy import Policy
from skinaudit.audit.judgement.reading import read_audit
from skinaudit.audit.judgement.result import AuditResult, BaselineResult, BaselineSet, Gate, Verdict
from skinaudit.audit.reports.json_ import to_json
from skinaudit.audit.reports.parts.cases import cases
from skinaudit.errors import InvalidInputError

pytestmark = pytest.mark.usefixtures("opened")
PASS, FAIL, INCONCLUSIVE = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE


def told(result: AuditResult, severity: Severity) -> list[str]:
    findings = [
        finding
        for finding in result.findings
        if finding.rule in ("baseline-drop", "baseline-coverage") and finding.severity is severity
    ]
    return [f"{finding.set}: {finding.text}" if finding.set else finding.text for finding in findings]


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory, lab: SimpleNamespace) -> Path:
    """A folder with `run`, a run of a faithful engine, and `last.json`, the JSON report of that engine. Read only."""
    folder = tmp_path_factory.mktemp("released")
    planted = lab.plant(folder / "run", settings={})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("skinaudit.audit.evidence.reference.open_engine", lambda path, **_: lab.LinearEngine(path))
        write_json(folder / "last.json", to_json(audit_engine(planted.engine)))
    return folder


@pytest.fixture
def report(tmp_path: Path, released: Path) -> Path:
    """A copy of the report, beside a copy of the run."""
    return Path(shutil.copytree(released, tmp_path / "released")) / "last.json"


def again(report: Path, lab: SimpleNamespace, **settings: Any) -> AuditResult:
    """Audit an engine of the same run, with a fault if one is named, against the report."""
    planted = lab.plant(report.parent / "run", settings={"fault": settings.pop("fault", None)})
    return audit_engine(planted.engine, baseline=report, **settings)


def test_an_equal_engine_is_no_worse_and_every_form_says_so(report: Path, lab: SimpleNamespace) -> None:
    result = again(report, lab)
    assert (result.verdict, result.findings) == (PASS, ())
    assert result.reason == "2 sets are within 1.0 points of the source model, 2 within 1.0 of the baseline"
    baseline = result.baseline
    assert baseline is not None
    earlier = read_audit(report)
    assert (baseline.engine, baseline.engine_digest) == ("subject.onnx", earlier.engine_digest)
    assert (baseline.run_name, baseline.verdict) == ("run", PASS)
    assert [entry.title for entry in baseline.sets] == ["clean", "pgd linf 24/255"]
    for compared, replayed in zip(baseline.sets, result.sets, strict=True):
        assert compared.baseline == compared.engine == Hits(round(replayed.comparison.engine_accuracy * 700), 700)
        assert (compared.drop.lost, compared.drop.gained) == (0, 0)
        assert [item.name for item in compared.classes] == ["mel", "bcc", "akiec"]
    gates = [gate for gate in result.gates if gate.rule == "baseline-drop"]
    counted = [gate for gate in result.gates if gate.rule == "baseline-malignant-to-benign"]
    assert [(gate.set, gate.value, gate.limit, gate.images) for gate in counted] == [
        (title, 0, 0.05, 300) for title in ("clean", "pgd linf 24/255")
    ]
    assert all(gate.judgement.verdict is PASS and gate.power is not None for gate in counted)
    assert [(gate.set, gate.subject) for gate in gates] == [
        (title, subject)
        for title in ("clean", "pgd linf 24/255")
        for subject in ("accuracy", MALIGNANT_CALLS, "mel", "bcc", "akiec")
    ]
    assert {gate.limit for gate in gates} == {0.01, 0.05}
    assert all(gate.judgement.verdict is PASS and gate.p_value is not None for gate in gates)
    assert "--baseline" in result.arguments
    for name in ("terminal", "markdown", "html"):
        assert "aseline subject.onnx of run run" in reports.render(name, result).replace("\\", "")
    line = "malignant for the baseline, benign for this engine: clean 0 of 300, at most 1.5% (limit: below 5.0%)"
    assert line in " ".join(reports.render("terminal", result).split())
    assert "| clean | malignant to benign | 300 | - | - | 0 of 300, at most 1.5% | below 5.0% | **PASS** |" in (
        reports.render("markdown", result)
    )
    page = reports.render("html", result)
    assert page.count("<td>0 of 300, at most 1.5%</td><td>below 5.0%</td>") == 2
    assert "fewer than 5.0% (upper confidence limit) of the malignant images" in page
    names = [case.name for case in cases(result)]
    assert {"baseline-drop", "baseline-drop mel", "baseline-drop akiec", "baseline-drop bcc"} <= set(names)
    assert names.count("baseline-malignant-to-benign") == 2
    write_json(report.parent / "new.json", to_json(result))
    assert read_audit(report.parent / "new.json") == result


@pytest.mark.parametrize(("fault", "lesion_class"), [("noise", None), ("melanoma to nevus", "mel")])
def test_a_worse_engine_fails_the_gate_by_the_paired_figures(
    report: Path, lab: SimpleNamespace, fault: str, lesion_class: str | None
) -> None:
    result = again(report, lab, fault=fault)
    assert result.verdict is FAIL
    baseline = result.baseline
    assert baseline is not None
    failed = {(gate.set, gate.subject) for gate in result.gates
              if gate.rule == "baseline-drop" and gate.judgement.verdict is FAIL}  # fmt: skip
    assert ("clean", lesion_class or "accuracy") in failed
    assert any("against the baseline: loses" in text for text in told(result, Severity.FAIL))
    clean, earlier = open_set(report.parent / "run" / "sets" / "clean.safetensors"), read_audit(report)
    was = unpack_right(earlier.sets[0].right, images=700)
    now = unpack_right(result.sets[0].right, images=700)
    assert baseline.sets[0].drop == paired_drop(was, now, clean.group, confidence=0.95)
    rows = clean.labels == result.classes.index("mel")
    melanoma = baseline.sets[0].classes[0]
    assert melanoma.drop == paired_drop(was[rows], now[rows], clean.group[rows], confidence=0.95)
    assert (melanoma.baseline, melanoma.engine) == (Hits(int(was[rows].sum()), 100), Hits(int(now[rows].sum()), 100))


@pytest.fixture
def answers_may_lack(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any edited figures would contradict the answers by image, and so would an earlier report's with fields of today."""
    monkeypatch.setattr(reading, "must_hold_answers", lambda _: False)


@pytest.mark.usefixtures("answers_may_lack")
def test_the_gate_alone_decides_where_the_source_lost_as_much(report: Path, lab: SimpleNamespace) -> None:
    """Against its own source a release may lose nothing, and still be worse than the last one."""
    value = json.loads(report.read_text())
    value["labels"] = ""  # a report without answers by image
    for entry in value["sets"]:  # an earlier engine that was right on every image
        entry["right"] = pack_right(np.ones(entry["comparison"]["images"], np.bool_))
        entry["comparison"]["engine_accuracy"] = 1.0
        for item in entry["comparison"]["classes"]:
            item["engine"]["right"] = item["engine"]["count"]
    report.write_text(json.dumps(value))
    result = again(report, lab)
    assert result.sets[1].comparison.engine_accuracy < 0.95
    other_gates = [gate for gate in result.gates if gate.binding and not gate.rule.startswith("baseline-")]
    assert {gate.judgement.verdict for gate in other_gates} == {PASS}
    assert result.verdict is FAIL
    assert result.reason.startswith("pgd linf 24/255: accuracy against the baseline: loses")


def test_cancers_that_turn_benign_are_counted_image_by_image(report: Path, lab: SimpleNamespace) -> None:
    clean = open_set(report.parent / "run" / "sets" / "clean.safetensors")
    result = again(report, lab, fault="melanoma to nevus")
    was = unpack_right(read_audit(report).sets[0].called_malignant, images=700)
    answers = lab.LinearEngine(report.parent / "run" / "engines" / "subject.onnx").logits(next(clean.batches(700))).argmax(1)
    ill = np.isin(clean.labels, [result.classes.index(name) for name in ("mel", "bcc", "akiec")])
    benign = ~np.isin(answers, [result.classes.index(name) for name in ("mel", "bcc", "akiec")])
    expected = int((was & ill & benign).sum())
    assert expected > 90
    assert result.baseline is not None
    assert (result.baseline.sets[0].malignant_to_benign, result.baseline.sets[0].malignant) == (expected, 300)
    text = f"clean: {expected} of 300 malignant images: malignant for the baseline, now benign, "
    texts = [
        f"{finding.set}: {finding.text}" for finding in result.findings if finding.rule == "baseline-malignant-to-benign"
    ]
    assert [line for line in texts if line.startswith(text) and line.endswith("; the policy's bound is 5.0%")]
    for name in ("terminal", "markdown", "html", "junit", "sarif"):
        assert f"{expected} of 300 malignant images: malignant for the baseline, now benign" in (
            " ".join(reports.render(name, result).split())
        )


def test_fewer_cancers_called_malignant_than_by_the_baseline_fail(report: Path, lab: SimpleNamespace) -> None:
    result = again(report, lab, fault="melanoma to nevus")
    assert result.baseline is not None
    pooled = result.baseline.sets[0].pooled
    assert pooled is not None
    called = unpack_right(read_audit(report).sets[0].called_malignant, images=700)
    clean = open_set(report.parent / "run" / "sets" / "clean.safetensors")
    ill = np.isin(clean.labels, [result.classes.index(name) for name in ("mel", "bcc", "akiec")])
    assert pooled.baseline == Hits(int(called[ill].sum()), 300)
    assert pooled.engine == result.sets[0].comparison.engine_malignant
    assert {gate.judgement.verdict for gate in result.gates
            if gate.rule == "baseline-drop" and gate.subject == MALIGNANT_CALLS} == {FAIL}  # fmt: skip


@pytest.mark.usefixtures("answers_may_lack")
def test_a_baseline_that_does_not_say_what_it_calls_malignant_forbids_a_pass(report: Path, lab: SimpleNamespace) -> None:
    value = json.loads(report.read_text())
    for entry in value["sets"]:
        entry["called_malignant"] = ""
    value["labels"] = ""  # nor does it keep the answers by image
    report.write_text(json.dumps(value))
    result = again(report, lab)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert any("audit the baseline's engine again" in text for text in told(result, Severity.INCONCLUSIVE))
    value["sets"][0]["called_malignant"] = pack_right(np.zeros(700, np.bool_))
    report.write_text(json.dumps(value))
    with pytest.raises(InvalidInputError, match="malignant images are marked as called malignant, but its figures say"):
        again(report, lab)


def since_baseline(lost: int, percent: float, *, malignant: int = 175, known: bool = True) -> Gate:
    """The gate on cancers that turned benign where as many others were gained. known: the interval is in the report."""
    was = np.arange(1000) >= 500
    now = was.copy()
    now[500 : 500 + lost], now[:lost] = False, True
    drop = paired_drop(was, now, np.arange(1000), confidence=0.95)
    called = np.ones(malignant, np.bool_)
    turned = paired_drop(called, np.arange(malignant) >= lost, np.arange(malignant)) if known else None
    compared = BaselineSet("clean", False, "", "", Hits(500, 1000), Hits(500, 1000), drop, malignant, lost, None, (), turned)
    policy = Policy(baseline_margin=5.0, baseline_malignant_to_benign=percent)
    other_gate, gate = judge([], [], policy, baseline=BaselineResult("x", "", None, PASS, (compared,)))
    assert other_gate.judgement.verdict is PASS
    assert gate.rule == "baseline-malignant-to-benign"
    return gate


@pytest.mark.parametrize(
    ("lost", "percent", "expected"),
    [(3, 5.0, PASS), (4, 5.0, Verdict.INCONCLUSIVE), (15, 5.0, Verdict.INCONCLUSIVE), (19, 5.0, FAIL),
     (0, 0.0, PASS), (1, 0.0, FAIL), (9, 11.0, PASS)],
)  # fmt: skip
def test_cancers_lost_since_the_baseline_are_bounded_by_their_confidence_limit(
    lost: int, percent: float, expected: Verdict
) -> None:
    """175 malignant images: a release may name as many as the last one and still lose some of those that it named."""
    gate = since_baseline(lost, percent)
    assert (gate.judgement.verdict, gate.binding, gate.counts) == (expected, True, percent == 0)


def test_a_share_of_exactly_the_bound_seldom_passes_and_seldom_fails() -> None:
    probabilities = np.array([math.comb(175, lost) * 0.05**lost * 0.95 ** (175 - lost) for lost in range(30)])
    verdicts = np.array([since_baseline(lost, 5.0).judgement.verdict.value for lost in range(30)])
    assert probabilities[verdicts == "PASS"].sum() < 0.025
    assert probabilities[verdicts == "FAIL"].sum() < 0.025


def test_too_few_malignant_images_bind_only_if_cancers_are_lost() -> None:
    assert not since_baseline(0, 5.0, malignant=60).binding
    assert since_baseline(3, 5.0, malignant=60).binding


@pytest.mark.parametrize(("lost", "expected"), [(8, PASS), (9, FAIL)])
def test_a_report_without_that_interval_is_judged_by_the_number(lost: int, expected: Verdict) -> None:
    gate = since_baseline(lost, 5.0, known=False)
    assert (gate.judgement.verdict, gate.counts, gate.limit) == (expected, True, 8)


def test_the_margin_is_the_policys(report: Path, lab: SimpleNamespace) -> None:
    result = again(report, lab, fault="rare", policy=Policy(baseline_margin=7.0, class_margins={"mel": 9.0}))
    limits = {gate.subject: gate.limit for gate in result.gates if gate.rule == "baseline-drop"}
    assert limits == pytest.approx({"accuracy": 0.07, MALIGNANT_CALLS: 0.05, "mel": 0.09, "akiec": 0.05, "bcc": 0.05})


def test_other_sets_are_told_and_those_that_vanished_are_a_warning(report: Path, lab: SimpleNamespace) -> None:
    sets = report.parent / "run" / "sets"
    lab.plant(report.parent / "more", settings={}, eps=12)
    (sets / "weak.safetensors").write_bytes((report.parent / "more" / "sets" / "pgd.safetensors").read_bytes())
    engine = report.parent / "run" / "engines" / "subject.onnx"
    result = audit_engine(engine, sets=sets, baseline=report)
    assert result.verdict is PASS
    (note,) = told(result, Severity.NOTE)
    assert note == "pgd linf 12/255: not in the baseline, so compared with the source model only"
    (sets / "pgd.safetensors").unlink()
    result = audit_engine(engine, sets=sets, baseline=report)
    same_file, vanished = told(result, Severity.WARNING)
    assert same_file.startswith("the baseline audited the same file (equal digest)")
    assert vanished == "these sets of the baseline were not replayed here: pgd linf 24/255"
    (lacking,) = told(result, Severity.INCONCLUSIVE)
    assert lacking.startswith("no adversarial set is compared with the baseline, so this engine may be worse")
    assert result.verdict is INCONCLUSIVE


def test_a_set_that_is_white_box_for_one_of_them_is_not_compared(report: Path, lab: SimpleNamespace) -> None:
    other_run = lab.plant(report.parent / "other", seed=9, settings={})
    result = audit_engine(other_run.engine, sets=report.parent / "run" / "sets", baseline=report)
    assert result.baseline is not None
    assert [entry.title for entry in result.baseline.sets] == ["clean"]
    (warning,) = told(result, Severity.WARNING)
    assert warning.startswith("pgd linf 24/255: not compared with the baseline: this set is white-box for the baseline")
    assert result.verdict is not PASS


def test_a_baseline_that_did_not_pass_or_was_emulated_is_told(
    report: Path, lab: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skinaudit.audit.evidence.reference.open_emulated", lambda path, **_: lab.LinearEngine(path))
    emulated = audit_engine(report.parent / "run" / "engines" / "subject.onnx", emulate=True)
    write_json(report, to_json(emulated))
    result = again(report, lab)
    assert told(result, Severity.NOTE) == ["the baseline's own verdict was INCONCLUSIVE"]
    assert told(result, Severity.WARNING) == ["the baseline was an emulation: the predictions of its own file are unknown"]


Change = Callable[[dict[str, Any]], None]
BY_IMAGE = ("labels", "lesions", "engine_answers", "source_answers")
UNPROVED = "does not match its predictions per image: the report was changed; audit the engine again"


def accuracy_told_otherwise(value: dict[str, Any]) -> None:
    value["sets"][1]["comparison"]["engine_accuracy"] = 0.99


def right_cut(value: dict[str, Any]) -> None:
    value["sets"][0]["right"] = value["sets"][0]["right"][:-4]


def other_images(value: dict[str, Any]) -> None:
    value["sets"][1]["images_digest"] = "sha256:" + "0" * 64


def nothing_in_common(value: dict[str, Any]) -> None:
    renamed = {entry["title"]: f"other {entry['title']}" for entry in value["sets"]}
    for entry in value["sets"]:
        entry["images_digest"], entry["title"] = "sha256:" + "0" * 64, renamed[entry["title"]]
    for gate in value["gates"]:
        gate["set"] = renamed.get(gate["set"], gate["set"])  # that of a fresh attack is named after the attack


def other_classes(value: dict[str, Any]) -> None:
    value["classes"] = value["classes"][::-1]


def of_an_earlier_version(value: dict[str, Any]) -> None:
    del value["sets"][0]["right"]


def without_answers(change: Change) -> Change:
    """The change, in a report of an earlier version, which keeps no answers by image."""

    def changed(value: dict[str, Any]) -> None:
        for part, name in itertools.product((value, *value["sets"]), BY_IMAGE):
            part.pop(name, None)
        change(value)

    return changed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (accuracy_told_otherwise, rf"pgd linf 24/255: comparison\.engine_accuracy {UNPROVED}"),
        (
            without_answers(accuracy_told_otherwise),
            r"pgd linf 24/255: accuracy is 0\.9900, but .* of its images are marked correct",
        ),
        (right_cut, f"clean: right {UNPROVED}"),
        (without_answers(right_cut), "clean: correct predictions do not match 700 images"),
        (other_images, "its set pgd linf 24/255 has digest 000000000000, that of this engine .*: other images; audit both"),
        (nothing_in_common, "it has no set in common with this engine; audit both engines on the same sets"),
        (other_classes, rf"clean: comparison\.\w+ {UNPROVED}"),
        (without_answers(other_classes), "its classes are vasc df bkl"),
        (
            of_an_earlier_version,
            r"sets\[0\].right is missing, expected a text; skinaudit does not write such a file",
        ),
    ],
)
@pytest.mark.usefixtures("answers_may_lack")
def test_what_cannot_be_paired_is_refused_before_the_replay(
    report: Path, lab: SimpleNamespace, opened: list[Any], change: Change, message: str
) -> None:
    value = json.loads(report.read_text())
    change(value)
    report.write_text(json.dumps(value))
    opened.clear()
    with pytest.raises(InvalidInputError, match=message) as caught:
        again(report, lab)
    assert str(caught.value).startswith(f"{report}: ")
    assert "\n" not in str(caught.value)
    assert sum(engine.images for engine in opened) == 0


def test_a_report_of_the_same_file_is_told_in_every_form(report: Path, lab: SimpleNamespace) -> None:
    result = audit_engine(report.parent / "run" / "engines" / "subject.onnx", baseline=report)
    text = "the baseline audited the same file (equal digest)"
    assert [line[: len(text)] for line in told(result, Severity.WARNING)] == [text]
    assert result.verdict is Verdict.PASS
    for name in reports.names():
        assert text in " ".join(reports.render(name, result).split()), name
    assert told(again(report, lab, fault="rare"), Severity.WARNING) == []


def test_bounds_against_the_baseline_that_allow_everything_are_no_pass(report: Path, lab: SimpleNamespace) -> None:
    for policy, subject in (
        (Policy(baseline_margin=99.0), "accuracy"),
        (Policy(baseline_malignant_to_benign=99.9), "images"),
    ):
        result = again(report, lab, policy=policy)
        assert result.verdict is Verdict.INCONCLUSIVE
        assert {
            (finding.rule, finding.gate) for finding in result.findings if finding.severity is Severity.INCONCLUSIVE
        } == {("void-gate", subject)}
