from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from linear_run import write_planted

from skinaudit.artifacts.contract import CLASSES, InputContract
from skinaudit.artifacts.manifest import (
    manifest_path,
    read_engine_manifest,
    read_run,
    record,
    write_engine_manifest,
    write_run,
)
from skinaudit.audit.audit import audit_engine
from skinaudit.audit.checks import Severity
from skinaudit.audit.evidence.reference import CONTROL_TOLERANCE
from skinaudit.audit.judgement.policy import Policy
from skinaudit.audit.judgement.result import AuditResult, Verdict
from skinaudit.errors import EngineError, InvalidInputError

pytestmark = pytest.mark.usefixtures("opened")


def texts(result: AuditResult, severity: Severity) -> list[str]:
    return [
        f"{finding.set}: {finding.text}" if finding.set else finding.text
        for finding in result.findings
        if finding.severity is severity
    ]


def test_a_plan_without_its_weights_is_refused(lab: SimpleNamespace, tmp_path: Path) -> None:
    """It would open, and answer with whatever weights are not there."""
    engine = lab.plant(tmp_path, images=140, settings={}).engine
    path = manifest_path(engine)
    manifest = json.loads(path.read_text())
    manifest["settings"]["flags"] = ["--refit", "--strip"]
    path.write_text(json.dumps(manifest))
    with pytest.raises(
        InvalidInputError, match=r"a stripped plan, without its weights; audit one that is built without --strip"
    ):
        audit_engine(engine)


def test_a_faithful_engine_passes_and_every_figure_is_there(tmp_path: Path, lab: SimpleNamespace, opened: list[Any]) -> None:
    planted = lab.plant(tmp_path / "run", settings={})
    steps: list[tuple[int, int]] = []
    result = audit_engine(planted.engine, batch_size=50, progress=lambda done, total: steps.append((done, total)))
    assert result.verdict is Verdict.PASS
    assert result.reason == "2 sets are within 1.0 points of the source model"
    assert result.findings == ()
    assert (result.synthetic, result.consistency.repeats, result.lineage_gaps) == (True, True, ())
    assert result.control == "the reference reproduces 2 of 2 sets: logits differ by 0% of their range"
    clean, attacked = result.sets
    assert (clean.clean, attacked.clean, clean.white_box, attacked.white_box) == (True, False, True, True)
    assert [entry.name for entry in clean.comparison.classes][:3] == ["mel", "bcc", "akiec"]
    assert (clean.comparison.images, clean.comparison.lesions) == (700, 525)
    assert clean.comparison.engine_confusion == clean.comparison.source_confusion
    assert [sum(row) for row in clean.comparison.engine_confusion] == [100] * 7
    diagonal = sum(row[index] for index, row in enumerate(clean.comparison.engine_confusion))
    assert diagonal == round(700 * clean.comparison.engine_accuracy)
    assert clean.flipped == attacked.flipped == ()
    assert clean.comparison.attack_success is None
    assert clean.comparison.engine_accuracy > 0.95 > attacked.comparison.engine_accuracy
    success = attacked.comparison.attack_success
    assert success is not None
    assert success.count == round(700 * clean.comparison.engine_accuracy)
    assert (attacked.comparison.flips, attacked.comparison.malignant_to_benign) == (0, 0)
    assert steps[-1] == (2800, 2800)
    assert steps == sorted(steps)
    # Both: both sets, 35 images of three kinds, the fresh attack. Subject: 35 images in batches of 1 and 7, one batch of 50
    # and of 101, each twice and once turned, one batch of each further size; odd frames; a batch of each set at the end.
    (fresh,) = result.probes
    count = 2 * 700 + 3 * 35 + fresh.queries
    further = sum(size for size in result.consistency.sizes if size not in (1, 7, 50, 101))
    assert [engine.images for engine in opened] == [count + 3 * (35 + 35 + 50 + 101) + further + 17 + 2 * 50 + 3 * 35, count]


def test_the_reference_is_not_run_twice_against_itself(tmp_path: Path, lab: SimpleNamespace, opened: list[Any]) -> None:
    planted = lab.plant(tmp_path)
    result = audit_engine(planted.reference)
    assert result.verdict is Verdict.PASS
    assert len(opened) == 1
    assert result.control.startswith("this engine itself reproduces 2 of 2 sets")


@pytest.mark.parametrize(
    ("settings", "asked", "finding"),
    [
        ({"fault": "noise"}, "fp32", "clean: loses"),
        ({"fault": "constant"}, "fp32", "clean: balanced accuracy 14.3% is not above that of a constant answer, 14.3%"),
        ({"fault": "melanoma to nevus"}, "fp32", "clean: sensitivity to mel: loses 100.0 points"),
        (
            {"fault": "melanoma to nevus"},
            "fp32",
            "clean: 100 of the 300 images that the source correctly calls malignant",
        ),
        ({"found": {"fp32": 9}, "promised": {"fp16": 9}}, "fp16", "fp16 was requested, found fp32 in 9 of 9 layers"),
    ],
)
def test_planted_faults_fail(
    tmp_path: Path, lab: SimpleNamespace, settings: dict[str, Any], asked: str, finding: str
) -> None:
    result = audit_engine(lab.plant(tmp_path, settings=settings, asked=asked).engine)
    assert result.verdict is Verdict.FAIL
    assert any(text.startswith(finding) for text in texts(result, Severity.FAIL))


def test_a_constant_engine_fails_even_where_the_source_model_is_one(tmp_path: Path, lab: SimpleNamespace) -> None:
    loose = Policy(margin=99.9, class_margin=99.9, malignant_to_benign=10_000, minimal_images=1)
    result = audit_engine(lab.plant(tmp_path, settings={"fault": "constant"}).engine, policy=loose)
    assert result.verdict is Verdict.FAIL


def test_an_engine_that_cannot_repeat_itself_does_not_pass(tmp_path: Path, lab: SimpleNamespace) -> None:
    result = audit_engine(lab.plant(tmp_path, settings={"fault": "restless"}).engine)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "different bits" in result.reason


def test_few_images_do_not_pass(tmp_path: Path, lab: SimpleNamespace) -> None:
    result = audit_engine(lab.plant(tmp_path, images=140).engine)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "about 1,700 images of 1,100 lesions would decide in 80% of audits" in result.reason
    needed = {gate.judgement.images_needed for gate in result.gates if gate.rule == "drop"}
    assert all(images is not None and 1_600 < images <= 1_700 for images in needed)


def test_a_class_without_images_does_not_pass(tmp_path: Path, lab: SimpleNamespace) -> None:
    result = audit_engine(lab.plant(tmp_path, labels=np.arange(700) % 6).engine)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "no image of vasc" in result.reason


def test_nan_logits_stop_the_audit(tmp_path: Path, lab: SimpleNamespace) -> None:
    with pytest.raises(EngineError, match="NaN"):
        audit_engine(lab.plant(tmp_path, settings={"fault": "nan"}).engine)


def test_a_missing_reference_is_said_first_and_again(tmp_path: Path, lab: SimpleNamespace) -> None:
    planted = lab.plant(tmp_path, settings={})
    planted.reference.unlink()
    result = audit_engine(planted.engine)
    assert result.control == "not run, reference missing (fp32.onnx)"
    assert [entry.control.ran for entry in result.sets] == [False, False]
    message = "control not run, reference missing (fp32.onnx): the stored logits are trusted without proof"
    assert texts(result, Severity.INCONCLUSIVE) == [message]
    assert result.verdict is Verdict.INCONCLUSIVE
    trusting = audit_engine(planted.engine, policy=Policy(control="optional"))
    assert texts(trusting, Severity.WARNING) == [message]
    assert trusting.verdict is Verdict.PASS
    assert trusting.reason.endswith("1 warning")


def test_stored_logits_that_do_not_reproduce_stop_the_audit(tmp_path: Path, lab: SimpleNamespace) -> None:
    planted = lab.plant(tmp_path, settings={})
    plant_reference(planted, {"seed": 0, "fault": "scaled"})
    with pytest.raises(
        InvalidInputError, match=r"clean\.safetensors: the reference does not reproduce the stored logits: they differ by"
    ):
        audit_engine(planted.engine)


def test_the_tolerance_of_the_control_separates_rounding_from_another_model() -> None:
    assert 1e-4 < CONTROL_TOLERANCE < 1e-2


@pytest.mark.parametrize("with_reference", [True, False])
def test_sets_of_another_run_are_transfer(tmp_path: Path, lab: SimpleNamespace, with_reference: bool) -> None:
    planted = lab.plant(tmp_path / "this", settings={"fault": "scaled"})
    other_run = lab.plant(tmp_path / "other", seed=9)
    if not with_reference:
        planted.reference.unlink()
    result = audit_engine(planted.engine, sets=other_run.run / "sets")
    assert [entry.white_box for entry in result.sets] == [False, False]
    assert all(not entry.control.ran for entry in result.sets)
    for entry in result.sets:
        # Compared with the reference of this engine, never with the other model's logits.
        assert (entry.comparison.drop is not None) is with_reference
        assert (entry.comparison.source_accuracy is not None) is with_reference
    if with_reference:
        assert (
            result.sets[0].comparison.source_accuracy == audit_engine(planted.reference).sets[0].comparison.engine_accuracy
        )
    else:
        assert len(texts(result, Severity.WARNING)) == 2
        assert result.verdict is Verdict.INCONCLUSIVE


def test_transfer_sets_alone_never_pass(tmp_path: Path, lab: SimpleNamespace) -> None:
    planted = lab.plant(tmp_path / "this", settings={})
    other_run = lab.plant(tmp_path / "other", seed=9)
    result = audit_engine(planted.engine, sets=other_run.run / "sets")
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "no white-box adversarial set" in result.reason


def test_sets_folder_works_without_the_run_and_the_lineage_says_so(tmp_path: Path, lab: SimpleNamespace) -> None:
    planted = lab.plant(tmp_path / "run", settings={})
    shipped = tmp_path / "box" / "engines"
    shutil.copytree(planted.engine.parent, shipped)
    with pytest.raises(
        InvalidInputError, match=r"has no run\.json\. If the engine was moved, name .* --run RUN; .* --sets DIR$"
    ):
        audit_engine(shipped / planted.engine.name)
    result = audit_engine(shipped / planted.engine.name, sets=planted.run / "sets")
    assert result.lineage_gaps == ("run",)
    assert texts(result, Severity.WARNING) == ["lineage incomplete: no run"]
    assert result.sets[1].white_box


@pytest.mark.parametrize(
    ("contract", "message"),
    [
        (replace(InputContract(size=6), classes=(CLASSES[1], CLASSES[0], *CLASSES[2:])), "classes is nv mel bcc"),
        (replace(InputContract(size=6), scale="imagenet"), "scale is imagenet, but .* has pixel/255"),
        (replace(InputContract(size=6), resize="centre crop"), "resize is centre crop"),
        (replace(InputContract(size=6), layout="NHWC"), "layout is NHWC"),
    ],
)
def test_sets_of_another_contract_are_refused(
    tmp_path: Path, lab: SimpleNamespace, contract: InputContract, message: str
) -> None:
    planted = lab.plant(tmp_path / "this")
    other_run = lab.plant(tmp_path / "other", contract=contract)
    with pytest.raises(InvalidInputError, match=message):
        audit_engine(planted.engine, sets=other_run.run / "sets")


def test_an_engine_of_another_size_than_its_manifest_is_refused(tmp_path: Path, lab: SimpleNamespace) -> None:
    with pytest.raises(InvalidInputError, match="has image size 8 and 7 classes, the sets have 6 and 7"):
        audit_engine(lab.plant(tmp_path, settings={"size": 8}).engine)


def test_a_set_outside_its_eps_is_refused(tmp_path: Path, lab: SimpleNamespace) -> None:
    planted = lab.plant(tmp_path)
    pixels, labels = lab.pictures(200, seed=1)
    weights = read_run(planted.run).weights.digest
    lab.write_sets(tmp_path / "wide", pixels, labels, seed=0, source=weights, eps=24, written_eps=23)
    with pytest.raises(InvalidInputError, match=r"image image00000 is outside of linf 23/255"):
        audit_engine(planted.engine, sets=tmp_path / "wide")


def test_tampered_files_are_refused(tmp_path: Path, lab: SimpleNamespace) -> None:
    planted = lab.plant(tmp_path / "a", settings={})
    file = planted.run / "sets" / "pgd.safetensors"
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    with pytest.raises(InvalidInputError, match=r"pgd\.safetensors: digest .* changed after it was written"):
        audit_engine(planted.engine)
    with pytest.raises(InvalidInputError, match=r"pgd\.safetensors: content and digest differ"):
        audit_engine(planted.engine, sets=planted.run / "sets")
    planted.engine.write_bytes(planted.engine.read_bytes() + b" ")
    with pytest.raises(InvalidInputError, match=r"subject\.onnx: digest .* changed after it was written"):
        audit_engine(planted.engine)
    planted = lab.plant(tmp_path / "b", settings={})
    planted.reference.write_bytes(planted.reference.read_bytes() + b" ")
    with pytest.raises(InvalidInputError, match=r"fp32\.onnx: digest"):
        audit_engine(planted.engine)


def test_a_run_that_was_trained_again_is_refused(tmp_path: Path, lab: SimpleNamespace) -> None:
    planted = lab.plant(tmp_path, settings={})
    run = read_run(planted.run)
    write_run(planted.run, replace(run, weights=replace(run.weights, digest="sha256:" + "0" * 64)))
    with pytest.raises(InvalidInputError, match="the run was trained again; export it again"):
        audit_engine(planted.engine)


def test_a_lineage_that_lacks_a_link_is_refused_and_missing_calibration_is_told(
    tmp_path: Path, lab: SimpleNamespace
) -> None:
    planted = lab.plant(tmp_path, settings={})
    manifest = read_engine_manifest(planted.engine)
    write_engine_manifest(replace(manifest, asked="int8"), engine=planted.engine)
    assert audit_engine(planted.engine).lineage_gaps == ("calibration",)
    path = manifest_path(planted.engine)
    for name in ("weights", "onnx", "data"):
        value = json.loads(path.read_text())
        del value["lineage"][name]
        (tmp_path / "kept").write_bytes(path.read_bytes())
        path.write_text(json.dumps(value))
        with pytest.raises(InvalidInputError, match=rf"subject.onnx.json: lineage.{name} is missing, expected a text"):
            audit_engine(planted.engine)
        path.write_bytes((tmp_path / "kept").read_bytes())


def test_an_engine_of_other_data_than_its_run_is_refused(tmp_path: Path, lab: SimpleNamespace) -> None:
    planted = lab.plant(tmp_path, settings={})
    manifest = read_engine_manifest(planted.engine)
    write_engine_manifest(replace(manifest, lineage={**manifest.lineage, "data": "sha256:other"}), engine=planted.engine)
    with pytest.raises(InvalidInputError, match=r"built from data other, synthetic True, but .*run\.json has data"):
        audit_engine(planted.engine)


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        ((), r"holds no sets"),
        (("clean",), "holds no adversarial set; write some with `skinaudit attack RUN`"),
        (("pgd",), "needs exactly one set of clean images, found none"),
    ],
)
def test_a_set_that_is_needed_and_lacking_is_named(
    tmp_path: Path, lab: SimpleNamespace, keep: tuple[str, ...], message: str
) -> None:
    planted = lab.plant(tmp_path)
    run = read_run(planted.run)
    write_run(planted.run, replace(run, sets={name: run.sets[name] for name in keep}))
    with pytest.raises(InvalidInputError, match=message):
        audit_engine(planted.engine)


def test_the_folder_of_a_run_in_place_of_its_sets_is_named(tmp_path: Path, lab: SimpleNamespace) -> None:
    planted = lab.plant(tmp_path / "run")
    with pytest.raises(InvalidInputError, match=r"is the folder of a run; name its folder of sets: .*sets$"):
        audit_engine(planted.engine, sets=planted.run)


def test_clean_images_of_another_split_are_refused(tmp_path: Path, lab: SimpleNamespace) -> None:
    planted = lab.plant(tmp_path / "this")
    other_run = lab.plant(tmp_path / "other", data_seed=6)
    shutil.copy(other_run.run / "sets" / "clean.safetensors", planted.run / "sets" / "clean.safetensors")
    with pytest.raises(InvalidInputError, match="its images do not come from"):
        audit_engine(planted.engine, sets=planted.run / "sets")


def test_the_audit_imports_no_torch() -> None:
    code = (
        "import sys, skinaudit.audit.audit, skinaudit.audit.transfer, skinaudit.audit.reports.terminal, "
        "skinaudit.audit.reports.json_; "
        "sys.exit(any(name == 'torch' or name.startswith('skinaudit.trainer') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def plant_reference(planted: Any, settings: dict[str, Any], *operators: str) -> None:
    """Put another reference engine in place, with digests that fit."""
    write_planted(planted.reference, settings, *operators)
    manifest = read_engine_manifest(planted.engine)
    reference = record(planted.reference, relative_to=planted.reference.parent)
    lineage = {**manifest.lineage, "onnx": reference.digest}
    write_engine_manifest(replace(manifest, reference=reference, graph=reference, lineage=lineage), engine=planted.engine)


def test_an_engine_that_the_runtime_only_emulated_cannot_pass(
    tmp_path: Path, lab: SimpleNamespace, opened: list[Any]
) -> None:
    for changes, expected in (({}, Verdict.PASS), ({"emulation": "rounded between layers"}, Verdict.INCONCLUSIVE)):
        planted = lab.plant(tmp_path / str(len(changes)), settings={"about": changes})
        assert audit_engine(planted.engine).verdict is expected


def test_a_control_has_to_be_the_source_model_in_fp32(tmp_path: Path, lab: SimpleNamespace, opened: list[Any]) -> None:
    planted = lab.plant(tmp_path / "run", settings={"found": {"fp16": 1}}, asked="fp16")
    assert audit_engine(planted.engine, control=planted.reference).control.startswith("the reference reproduces")
    with pytest.raises(InvalidInputError, match="is fp16; a control is the source model in fp32"):
        audit_engine(planted.engine, control=planted.engine)


def test_a_precision_without_a_bound_of_drift_is_refused_by_the_name_of_the_manifest(
    tmp_path: Path, lab: SimpleNamespace
) -> None:
    planted = lab.plant(tmp_path, settings={}, asked="fp4")
    with pytest.raises(InvalidInputError, match=r"subject\.onnx\.json: precision 'fp4' has no known bound of drift"):
        audit_engine(planted.engine)
