from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from skinaudit.artifacts.files import write_json
from skinaudit.artifacts.manifest import read_run, record, write_run
from skinaudit.audit.judgement.reading import read_audit
from skinaudit.audit.reports.json_ import to_json
from skinaudit.errors import InvalidInputError
from skinaudit.publish.run_record import read_filed_audit, read_run_record, settings


@pytest.fixture
def run(audited_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(audited_run, tmp_path / "tiny"))


def test_the_source_figures_are_those_that_the_training_measured(audited_run: Path) -> None:
    run_record = read_run_record(audited_run)
    assert [entry.info.name for entry in run_record.sets] == ["clean", "fgsm-linf-4", "pgd-dlr-linf-4"]
    for entry in run_record.sets:
        results = run_record.manifest.results[entry.info.name]
        assert entry.figures.engine_accuracy == pytest.approx(results["accuracy"])
        assert entry.figures.engine_balanced == pytest.approx(results["balanced_accuracy"])
        shares = {kind.name: kind.engine.share for kind in entry.figures.classes}
        assert all(shares[name] == pytest.approx(results[f"sensitivity_{name}"]) for name in ("mel", "bcc", "akiec"))
    assert run_record.sets[0].figures.majority_share == pytest.approx(run_record.manifest.data["majority_share"])
    assert len(run_record.history) == run_record.manifest.training["epochs"]
    assert (run_record.left_out, run_record.unaudited) == ({}, ())
    assert {audit.engine_now for audit in run_record.audits} == {"same"}


def test_what_cannot_be_used_is_named_with_its_reason(run: Path, lab: SimpleNamespace, tmp_path: Path) -> None:
    fp16 = run / "audits" / "fp16.onnx.json"
    of_other_weights = replace(read_audit(fp16), lineage={"weights": "sha256:" + "b" * 64})
    write_json(run / "audits" / "other.json", to_json(of_other_weights))
    write_json(run / "audits" / "foreign.json", to_json(replace(of_other_weights, lineage={})))
    write_json(run / "audits" / "old.json", {"kind": "skinaudit-audit/2", "engine": "x"})
    (run / "audits" / "half.json").write_text('{"kind"')
    (run / "sets" / "pgd-dlr-linf-4.safetensors").write_bytes(b"junk")
    (run / "engines" / "fp16.onnx.json").write_text('{"kind": 7}')
    run_record = read_run_record(run)
    assert len(run_record.audits) == 2
    assert set(run_record.left_out) == {
        "audit other.json", "audit foreign.json", "audit old.json", "audit half.json", "set pgd-dlr-linf-4",
        "manifest fp16.onnx.json",
    }  # fmt: skip
    assert run_record.left_out["audit other.json"] == "is about the weights bbbbbbbbbbbb"
    assert "is missing" in run_record.left_out["audit old.json"]
    assert "changed after it was written" in run_record.left_out["set pgd-dlr-linf-4"]
    assert not any(str(tmp_path) in reason for reason in run_record.left_out.values())


def test_a_set_of_another_model_or_of_other_clean_images_gives_no_source_figures(run: Path, lab: SimpleNamespace) -> None:
    manifest = read_run(run)
    strange = lab.plant(run.parent / "other").run / "sets" / "pgd.safetensors"
    path = Path(shutil.copy(strange, run / "sets" / "strange.safetensors"))
    write_run(run, replace(manifest, sets={**manifest.sets, "strange": record(path, relative_to=run)}))
    run_record = read_run_record(run)
    assert "whose answers it holds" in run_record.left_out["set strange"]
    without_clean = {name: file for name, file in manifest.sets.items() if name != "clean"}
    write_run(run, replace(manifest, sets=without_clean, results={}))
    assert read_run_record(run).sets == ()


def test_an_engine_that_was_built_again_is_told(run: Path) -> None:
    (run / "engines" / "fp16.onnx").write_bytes(b"another")
    (run / "engines" / "fp32.onnx").unlink()
    run_record = read_run_record(run)
    assert {audit.path.name: audit.engine_now for audit in run_record.audits} == {
        "fp16.onnx.json": "changed", "fp32.onnx.json": "missing",
    }  # fmt: skip
    assert run_record.unaudited == ("fp16.onnx", "fp32.onnx")


def test_an_emulation_is_no_audit_of_the_engine(run: Path) -> None:
    path = run / "audits" / "fp16.onnx.json"
    write_json(path, to_json(replace(read_audit(path), emulated=True)))
    assert read_run_record(run).unaudited == ("fp16.onnx",)


def test_audits_may_lie_elsewhere(run: Path) -> None:
    elsewhere = Path(shutil.move(run / "audits", run.parent / "reports"))
    assert read_run_record(run).audits == ()
    assert len(read_run_record(run, audits=elsewhere).audits) == 2
    with pytest.raises(InvalidInputError, match="no such folder"):
        read_run_record(run, audits=run / "nowhere")


@pytest.mark.parametrize("line", ["{", "[]", '{"loss": 1}', '{"epoch": "1"}', '{"epoch": 1, "seconds": NaN}'])
def test_a_damaged_log_stops_with_its_line(run: Path, line: str) -> None:
    log = run / "log.jsonl"
    count = len(log.read_text().splitlines())
    log.write_text(log.read_text() + line + "\n")
    with pytest.raises(InvalidInputError, match=rf"log\.jsonl: line {count + 1}: "):
        read_run_record(run)
    log.unlink()
    assert read_run_record(run).history == ()


def test_settings_are_flat_and_tell_of_no_machine(audited_run: Path) -> None:
    manifest = read_run(audited_run)
    start = "137 tensors from /home/joe/x/weights.pth; the last layer starts fresh"
    training = {**manifest.training, "weights": "/home/joe/weights.pth", "start": start, "nothing": None}
    flat = settings(replace(manifest, training=training))
    assert flat["recipe.epochs"] == 6
    assert flat["hardening.kind"] == "none"
    assert flat["threat_model"] == "linf 4/255"
    assert flat["weights"] == "weights.pth"
    assert flat["start"] == "137 tensors from weights.pth; the last layer starts fresh"
    assert "nothing" not in flat
    assert "/home" not in json.dumps(flat)


def test_a_filed_audit_carries_the_digest_of_its_file(audited_run: Path) -> None:
    path = audited_run / "audits" / "fp16.onnx.json"
    filed = read_filed_audit(path)
    assert filed.digest == record(path, relative_to=audited_run).digest
    assert filed.result == read_audit(path)
