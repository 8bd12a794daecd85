"""A model trained anew beside the last release, each attacked with images made against itself."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from skinaudit.artifacts.adversarial_set import open_set, write_set
from skinaudit.artifacts.files import write_json
from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.audit import reports
from skinaudit.audit.audit import audit_engine
from skinaudit.audit.checks import Severity
from skinaudit.audit.evidence.probing import ProbePlan, plan_probes
from skinaudit.audit.figures.right_answers import pack_right, unpack_right
from skinaudit.audit.figures.statistics import paired_drop
from skinaudit.audit.judgement import reading
from skinaudit.audit.judgement.reading import read_audit
from skinaudit.audit.judgement.result import AuditResult, Verdict
from skinaudit.audit.reports.json_ import to_json
from skinaudit.audit.reports.parts.cases import cases
from skinaudit.errors import InvalidInputError

pytestmark = pytest.mark.usefixtures("opened")
PASS, FAIL, INCONCLUSIVE = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE
PGD = "pgd linf 12/255"
IMAGES = 1400
EQUAL, SLIGHTLY_WORSE, WORSE = -1, -12, -60
"""Seeds of models that were trained anew: equally good, and as good on clean images but a little and far less robust."""


def square(images: int = 100, queries: int = 100) -> tuple[ProbePlan, ...]:
    return plan_probes(["square"], threat_model=None, images=images, queries=queries, seed=0)


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory, lab: SimpleNamespace) -> Path:
    """A folder with `last`, the run of the last release, and `last.json`, the JSON report of its engine. Read only."""
    folder = tmp_path_factory.mktemp("released")
    planted = lab.plant(folder / "last", settings={}, eps=12, images=IMAGES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("skinaudit.audit.evidence.reference.open_engine", lambda path, **_: lab.LinearEngine(path))
        write_json(folder / "last.json", to_json(audit_engine(planted.engine)))
    return folder


@pytest.fixture
def report(tmp_path: Path, released: Path) -> Path:
    """A copy of the report, beside a copy of the run."""
    return Path(shutil.copytree(released, tmp_path / "released")) / "last.json"


def retrained(report: Path, lab: SimpleNamespace, seed: int = EQUAL, **settings: Any) -> AuditResult:
    """Audit an engine of a model that was trained anew against the report, on own sets."""
    options = {"probes": square(), "baseline_own_sets": True, "baseline": report, **settings}
    planted = lab.plant(report.parent / "new", seed=seed, settings={}, eps=12, images=IMAGES, **options.pop("plant", {}))
    return audit_engine(planted.engine, **options)


def told(result: AuditResult, rule: str) -> list[tuple[Severity, str]]:
    return [(finding.severity, finding.text) for finding in result.findings if finding.rule == rule]


def test_an_equal_model_passes_and_every_form_says_how_it_was_compared(report: Path, lab: SimpleNamespace) -> None:
    result = retrained(report, lab)
    assert result.verdict is PASS
    assert result.reason == ("2 sets are within 1.0 points of the source model, 2 within 1.0 of the baseline (own sets)")
    assert result.baseline is not None
    earlier = read_audit(report)
    clean, attacked = result.baseline.sets
    assert (clean.own, attacked.own) == (False, True)
    assert clean.baseline_digest == clean.images_digest
    assert attacked.baseline_digest == earlier.sets[1].images_digest != attacked.images_digest
    sets = open_set(report.parent / "new" / "sets" / "pgd.safetensors")
    was, now = (unpack_right(audit.sets[1].right, images=IMAGES) for audit in (earlier, result))
    assert attacked.drop == paired_drop(was, now, sets.group, confidence=0.95)
    assert attacked.drop.lost > 0  # it is another model
    ((severity, text),) = told(result, "own-sets")
    assert severity is Severity.NOTE
    assert text.startswith(f"{PGD}: each engine was attacked with images crafted against itself")
    for name in ("terminal", "markdown", "html"):
        rendered = " ".join(reports.render(name, result).replace("\\", "").split())
        assert f"{PGD}, own" in rendered
        assert "wn: each engine was attacked with images crafted against itself, by the same attack" in rendered
        assert "depends on how well the attack works on each; masked gradients" in rendered
        assert "clean, own" not in rendered
        assert "--baseline-own-sets" in rendered or name == "terminal"
    for name in ("junit", "sarif"):
        assert "each engine was attacked with images crafted against itself" in reports.render(name, result)
    assert [case.outcome for case in cases(result) if case.rule == "own-sets"] == [PASS]
    assert "--baseline-own-sets" in result.arguments
    write_json(report.parent / "new.json", to_json(result))
    assert read_audit(report.parent / "new.json") == result


def test_a_less_robust_model_fails_by_its_own_sets(report: Path, lab: SimpleNamespace) -> None:
    result = retrained(report, lab, WORSE)
    assert result.verdict is FAIL
    verdicts = {(gate.set, gate.rule, gate.subject): gate.judgement.verdict for gate in result.gates}
    assert verdicts["clean", "baseline-drop", "accuracy"] is not FAIL
    assert verdicts[PGD, "drop", "accuracy"] is PASS  # it holds what its own source has
    assert verdicts[PGD, "baseline-drop", "accuracy"] is FAIL
    assert verdicts[PGD, "baseline-malignant-to-benign", "images"] is FAIL


def test_a_slightly_worse_model_does_not_pass(report: Path, lab: SimpleNamespace) -> None:
    result = retrained(report, lab, SLIGHTLY_WORSE)
    assert result.verdict is INCONCLUSIVE
    assert "accuracy against the baseline: cannot exclude a drop above 1.0 points" in " ".join(
        finding.text for finding in result.findings
    )


def test_without_the_flag_it_is_refused_with_the_flag_as_a_way_out(report: Path, lab: SimpleNamespace) -> None:
    with pytest.raises(
        InvalidInputError, match=rf"its set {PGD} has digest .*: other images; .*--baseline-own-sets"
    ) as caught:
        retrained(report, lab, baseline_own_sets=False)
    assert "\n" not in str(caught.value)


def test_the_flag_changes_nothing_where_both_answered_the_same_images(report: Path, lab: SimpleNamespace) -> None:
    engine = report.parent / "last" / "engines" / "subject.onnx"
    plain, own = (audit_engine(engine, baseline=report, baseline_own_sets=flag, seed=0) for flag in (False, True))
    assert own.verdict is plain.verdict is PASS
    assert (own.baseline, own.gates, own.findings) == (plain.baseline, plain.gates, plain.findings)


def test_the_flag_needs_a_baseline(report: Path, lab: SimpleNamespace) -> None:
    with pytest.raises(InvalidInputError, match="name one with --baseline"):
        retrained(report, lab, baseline=None)


@pytest.mark.parametrize(
    "probes",
    [
        (),
        square(images=99),  # fewer than the policy's images
        square(queries=1),  # breaks nothing
        tuple(replace(probe, threat_model=ThreatModel("linf", Fraction(11))) for probe in square()),
        tuple(replace(probe, by_answers=False) for probe in square()),  # follows the gradients of its own model
    ],
    ids=["none", "few images", "weak", "another eps", "by gradients"],
)
def test_nothing_passes_without_an_attack_by_answers_alone(
    report: Path, lab: SimpleNamespace, probes: tuple[ProbePlan, ...]
) -> None:
    result = retrained(report, lab, probes=probes)
    assert result.verdict is INCONCLUSIVE
    assert {gate.judgement.verdict for gate in result.gates if gate.rule != "probe-drop"} == {PASS}
    lacking = [text for severity, text in told(result, "own-sets") if severity is Severity.INCONCLUSIVE]
    assert len(lacking) == 1
    assert lacking[0].startswith("no fresh black-box attack on at least 100 images")
    assert lacking[0].endswith("add --probe square")


def test_masked_gradients_do_not_make_a_model_no_worse(report: Path, lab: SimpleNamespace) -> None:
    """Far less robust than the last release, and an attack that follows its gradients does not see it."""
    result = retrained(report, lab, WORSE, plant={"masked": True}, probes=square(images=400, queries=300))
    assert result.baseline is not None
    attacked = result.baseline.sets[1]
    assert attacked.drop.value < -0.05  # it looks more robust than the last release
    assert FAIL not in {gate.judgement.verdict for gate in result.gates}
    assert result.verdict is INCONCLUSIVE
    ((severity, text),) = told(result, "masking")
    assert severity is Severity.INCONCLUSIVE
    assert "the stored sets overstate robustness" in text


def test_masked_gradients_of_the_baseline_are_told(report: Path, lab: SimpleNamespace) -> None:
    value = json.loads(report.read_text())
    finding = {"severity": "warning", "rule": "masking", "set": PGD, "text": "a sign of it", "lesion_class": None}
    finding |= {"gate": None, "figures": {}}
    report.write_text(json.dumps({**value, "findings": [finding]}))
    result = retrained(report, lab)
    assert (Severity.WARNING, "the baseline's own audit found masked gradients: the baseline may look more robust than "
            "it is, so an apparent loss may not be real") in told(result, "own-sets")  # fmt: skip


def test_a_set_that_the_baseline_lacks_is_told(report: Path, lab: SimpleNamespace) -> None:
    planted = lab.plant(report.parent / "new", seed=EQUAL, settings={}, eps=12, images=IMAGES)
    stronger = lab.plant(report.parent / "more", seed=EQUAL, settings={}, eps=14, images=IMAGES)
    (planted.run / "sets" / "strong.safetensors").write_bytes((stronger.run / "sets" / "pgd.safetensors").read_bytes())
    result = audit_engine(
        planted.engine, sets=planted.run / "sets", baseline=report, baseline_own_sets=True, probes=square()
    )
    assert told(result, "baseline-coverage") == [
        (Severity.NOTE, "not in the baseline, so compared with the source model only")
    ]
    (planted.run / "sets" / "pgd.safetensors").unlink()
    result = audit_engine(planted.engine, sets=planted.run / "sets", baseline=report, baseline_own_sets=True)
    assert (Severity.WARNING, f"these sets of the baseline were not replayed here: {PGD}") in told(
        result, "baseline-coverage"
    )
    assert result.verdict is INCONCLUSIVE


def test_the_last_releases_images_may_be_replayed_beside(report: Path, lab: SimpleNamespace) -> None:
    """They are a transfer set for the new model and say nothing of which is more robust; the own set does."""
    planted = lab.plant(report.parent / "new", seed=EQUAL, settings={}, eps=12, images=IMAGES)
    stored = report.parent / "last" / "sets" / "pgd.safetensors"
    (planted.run / "sets" / "of-last.safetensors").write_bytes(stored.read_bytes())
    result = audit_engine(
        planted.engine, sets=planted.run / "sets", baseline=report, baseline_own_sets=True, probes=square()
    )
    assert result.baseline is not None
    assert [(entry.title, entry.own) for entry in result.baseline.sets] == [("clean", False), (f"{PGD} (pgd)", True)]
    assert [(finding.set, finding.severity) for finding in result.findings if finding.rule == "baseline-coverage"] == [
        (f"{PGD} (of-last)", Severity.WARNING)
    ]


def test_of_two_sets_of_one_attack_the_one_with_the_same_settings_is_taken(report: Path, lab: SimpleNamespace) -> None:
    last = lab.plant(report.parent / "longer", settings={}, eps=12, images=IMAGES, steps=2)
    target = report.parent / "last" / "sets" / "pgd-2.safetensors"
    target.write_bytes((last.run / "sets" / "pgd.safetensors").read_bytes())
    earlier = audit_engine(report.parent / "last" / "engines" / "subject.onnx", sets=target.parent)
    write_json(report, to_json(earlier))
    result = retrained(report, lab, plant={"steps": 2})
    assert result.baseline is not None
    assert result.baseline.sets[1].baseline_digest == open_set(target).images_digest


Change = Callable[[dict[str, Any]], None]
BY_IMAGE = ("labels", "lesions", "engine_answers", "source_answers")
UNPROVED = "does not match its predictions per image: the report was changed; audit the engine again"


def other_steps(value: dict[str, Any]) -> None:
    value["sets"][1]["settings"]["steps"] = 2


def one_setting_more(value: dict[str, Any]) -> None:
    value["sets"][1]["settings"]["restarts"] = None


def transfer_for_the_baseline(value: dict[str, Any]) -> None:
    value["sets"][1]["white_box"] = False
    value["verdict"] = "INCONCLUSIVE"


def another_attack_under_the_title(value: dict[str, Any]) -> None:
    value["sets"][1]["attack"] = "fgsm"


def other_clean_images(value: dict[str, Any]) -> None:
    value["sets"][0]["images_digest"] = "sha256:" + "0" * 64


def other_clean_images_under_another_title(value: dict[str, Any]) -> None:
    other_clean_images(value)
    value["sets"][0]["title"] = "other clean"
    for gate in value["gates"]:
        gate["set"] = {"clean": "other clean"}.get(gate["set"], gate["set"])


def right_turned(value: dict[str, Any]) -> None:
    """As many right answers, to other images."""
    right = unpack_right(value["sets"][1]["right"], images=IMAGES)
    lost, won = np.flatnonzero(right)[0], next(row for row in np.flatnonzero(~right) if row % 7)
    right[lost], right[won] = False, True
    value["sets"][1]["right"] = pack_right(right)


def accuracy_raised(value: dict[str, Any]) -> None:
    value["sets"][1]["comparison"]["engine_accuracy"] = 0.5


def fewer_images(value: dict[str, Any]) -> None:
    attacked = value["sets"][1]
    right = unpack_right(attacked["right"], images=IMAGES)[:-8]
    attacked["right"], attacked["comparison"]["images"] = pack_right(right), len(right)
    attacked["comparison"]["engine_accuracy"] = float(right.mean())


def of_an_earlier_version(value: dict[str, Any]) -> None:
    del value["sets"][1]["settings"]


def without_answers(change: Change) -> Change:
    """The change, in a report of an earlier version, which keeps no answers by image."""

    def changed(value: dict[str, Any]) -> None:
        for part, name in itertools.product((value, *value["sets"]), BY_IMAGE):
            part.pop(name, None)
        change(value)

    return changed


@pytest.fixture
def answers_may_lack(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report of today without its answers is refused for that; here it stands for one of an earlier version."""
    monkeypatch.setattr(reading, "must_hold_answers", lambda _: False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            other_steps,
            f"its {PGD} was made with steps 2, that of this engine with steps 1: so the attacks differ; craft one",
        ),
        (one_setting_more, f"its {PGD} was made with restarts None, that of this engine with restarts not set"),
        (transfer_for_the_baseline, f"its {PGD} was crafted on another model than its engine's, so it is no own set"),
        (another_attack_under_the_title, f"its set {PGD} has digest .*: other images; audit both"),
        (other_clean_images, "its set clean has digest 000000000000, .*: other images; .* same data and split"),
        (other_clean_images_under_another_title, f"its set {PGD} has digest .*: other images; audit both"),
        (right_turned, f"{PGD}: right {UNPROVED}"),
        (
            without_answers(right_turned),
            f"{PGD}: .* images of .* are marked correct, but its figures say .*; the report was changed",
        ),
        (accuracy_raised, rf"{PGD}: comparison\.engine_accuracy {UNPROVED}"),
        (without_answers(accuracy_raised), rf"{PGD}: accuracy is 0\.5000, but"),
        (fewer_images, f"predictions per image do not match {IMAGES - 8} images: the report was changed"),
        (without_answers(fewer_images), f"{PGD}: correct predictions do not match {IMAGES} images; the report was changed"),
        (
            of_an_earlier_version,
            r"sets\[1\].settings is missing, expected an object; skinaudit does not write such a file",
        ),
    ],
)
@pytest.mark.usefixtures("answers_may_lack")
def test_what_is_no_own_set_is_refused_before_the_replay(
    report: Path, lab: SimpleNamespace, opened: list[Any], change: Change, message: str
) -> None:
    value = json.loads(report.read_text())
    change(value)
    report.write_text(json.dumps(value))
    opened.clear()
    with pytest.raises(InvalidInputError, match=message) as caught:
        retrained(report, lab)
    assert str(caught.value).startswith(f"{report}: ")
    assert "\n" not in str(caught.value)
    assert sum(engine.images for engine in opened) == 0


def test_a_transfer_set_of_this_engine_is_refused(report: Path, lab: SimpleNamespace) -> None:
    planted = lab.plant(report.parent / "new", seed=EQUAL, settings={}, eps=12, images=IMAGES)
    transfer_source = lab.plant(report.parent / "other", seed=-2, settings={}, eps=12, images=IMAGES)
    (planted.run / "sets" / "pgd.safetensors").write_bytes((transfer_source.run / "sets" / "pgd.safetensors").read_bytes())
    with pytest.raises(InvalidInputError, match=f"{PGD} of this engine was crafted on another model.*pgd.safetensors out"):
        audit_engine(planted.engine, sets=planted.run / "sets", baseline=report, baseline_own_sets=True)
    with pytest.raises(InvalidInputError, match="other images; audit both engines on the same sets") as caught:
        audit_engine(planted.engine, sets=planted.run / "sets", baseline=report)
    assert "--baseline-own-sets" not in str(caught.value)  # it would not help


@pytest.mark.parametrize("changed", ["pixels", "labels", "lesions", "names", "order"])
def test_sets_of_other_clean_images_are_refused(report: Path, lab: SimpleNamespace, changed: str) -> None:
    planted = lab.plant(report.parent / "new", seed=EQUAL, settings={}, eps=12, images=IMAGES)
    clean_digest = ""
    for name in ("clean", "pgd"):
        path = planted.run / "sets" / f"{name}.safetensors"
        image_set = open_set(path)
        pixels = np.concatenate(list(image_set.batches(256)))
        order = np.arange(IMAGES)[::-1] if changed == "order" else np.arange(IMAGES)
        if changed == "pixels":
            pixels[0, 0, 0, 0] ^= 1
        labels, group, ids = image_set.labels.copy(), image_set.group.copy(), list(image_set.ids)
        labels[0] += changed == "labels"
        group[0] += 1000 * (changed == "lesions")
        ids[0] += "x" * (changed == "names")
        info = replace(image_set.info, clean=clean_digest)
        write_set(
            path, info, images=pixels[order], labels=labels[order], group=group[order],
            ids=tuple(ids[row] for row in order), source_logits=image_set.source_logits[order],
        )  # fmt: skip
        clean_digest = open_set(path).images_digest
    with pytest.raises(InvalidInputError, match=r"its set clean has digest .*: other images"):
        audit_engine(planted.engine, sets=planted.run / "sets", baseline=report, baseline_own_sets=True)
