from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from skinaudit.artifacts.files import write_json
from skinaudit.audit.judgement.result import AuditResult
from skinaudit.audit.reports.json_ import to_json
from skinaudit.errors import InvalidInputError
from skinaudit.publish.run_record import FiledAudit, RunRecord, SourceFigures, read_filed_audit, read_run_record
from skinaudit.publish.tracking.entries import Entry, audit_entry, run_entry


@pytest.fixture(scope="module")
def record(audited_run: Path) -> RunRecord:
    return read_run_record(audited_run)


@pytest.fixture(scope="module")
def filed(record: RunRecord) -> FiledAudit:
    return record.audits[0]


def values(entry: Entry) -> dict[str, float]:
    return {metric.key: metric.value for metric in entry.metrics}


def test_a_run_tells_settings_epochs_and_figures(record: RunRecord) -> None:
    entry = run_entry(record)
    assert (entry.kind, entry.key, entry.weights) == ("run", record.manifest.weights.digest, record.manifest.weights.digest)
    assert entry.params["recipe.epochs"] == "6"
    assert entry.params["arch"] == "mobilenet"
    losses = sorted((metric.step, metric.value) for metric in entry.metrics if metric.key == "epoch/loss")
    assert losses == [(epoch["epoch"], epoch["loss"]) for epoch in record.history]
    measured = record.manifest.results["pgd-dlr-linf-4"]
    assert values(entry)["test/pgd-dlr-linf-4/accuracy"] == pytest.approx(measured["accuracy"])
    assert values(entry)["test/pgd-dlr-linf-4/sensitivity_mel"] == pytest.approx(measured["sensitivity_mel"])
    assert values(entry)["test/clean/majority_share"] == pytest.approx(record.manifest.data["majority_share"])
    assert entry.tags["synthetic"] == "true"
    assert entry.note.startswith("SYNTHETIC")
    digests = json.loads(entry.files["digests.json"])
    assert digests["sets/pgd-dlr-linf-4"] == record.manifest.sets["pgd-dlr-linf-4"].digest


def test_epochs_follow_each_other_in_time(record: RunRecord) -> None:
    entry = run_entry(record)
    times = [
        time for _, time in sorted({(point.step, point.time) for point in entry.metrics if point.key.startswith("epoch/")})
    ]
    seconds = [epoch["seconds"] for epoch in record.history]
    assert times[-1] == entry.ended
    assert [later - sooner for sooner, later in pairwise(times)] == [int(1000 * duration) for duration in seconds[1:]]
    assert entry.started == entry.ended - sum(int(1000 * duration) for duration in seconds)


def test_an_audit_tells_verdict_figures_and_every_gate(filed: FiledAudit) -> None:
    entry, result = audit_entry(filed), filed.result
    assert (entry.kind, entry.key, entry.content) == ("audit", filed.digest, filed.digest)
    assert entry.weights == entry.tags["weights"] == result.lineage["weights"]
    assert entry.tags["verdict"] == result.verdict.value
    assert entry.note.startswith(f"**{result.verdict.value}**: ")
    assert "SYNTHETIC" in entry.note
    metrics = values(entry)
    for set_result in result.sets:
        assert metrics[f"{set_result.name}/engine_accuracy"] == set_result.comparison.engine_accuracy
        assert set_result.comparison.drop is not None
        assert metrics[f"{set_result.name}/drop_high"] == set_result.comparison.drop.interval.high
    assert sum(key.endswith("/value") for key in metrics) == len(result.gates)
    assert set(entry.files) == {"audit.json", "audit.md", "audit.html"}
    assert entry.files["audit.json"] == filed.path.read_bytes()


def test_no_image_and_no_weight_is_among_the_files(record: RunRecord, filed: FiledAudit) -> None:
    files = {**run_entry(record).files, **audit_entry(filed).files}
    assert set(files) == {"README.md", "digests.json", "curves.png", "audit.json", "audit.md", "audit.html"}
    assert b"data:image/png" not in files["audit.html"]
    assert all(len(content) < 500_000 for content in files.values())


def test_lost_images_are_told_without_pictures(audits: dict[str, AuditResult], tmp_path: Path) -> None:
    result = audits["melanoma to nevus"]
    assert any(set_result.flipped for set_result in result.sets)
    path = tmp_path / "audit.json"
    write_json(path, to_json(result))
    page = audit_entry(read_filed_audit(path)).files["audit.html"].decode()
    assert "The pictures were left out of this report." in page
    assert "data:image" not in page


def test_every_audit_gives_keys_that_trackers_take(audits: dict[str, AuditResult], tmp_path: Path) -> None:
    for result in audits.values():
        path = tmp_path / "audit.json"
        write_json(path, to_json(result))
        entry = audit_entry(read_filed_audit(path))
        keys = [metric.key for metric in entry.metrics]
        assert all(re.fullmatch(r"[\w\-. :/]{1,250}", key) for key in keys)
        assert len(set(keys)) == len(keys)  # also where two sets have one name
        assert entry.weights == result.lineage.get("weights")
    assert audits["foreign"].lineage.get("weights") is None


def with_classes(record: RunRecord, classes: tuple[str, ...]) -> RunRecord:
    """The record with the classes of its sets' figures under other names."""

    def of_set(source: SourceFigures) -> SourceFigures:
        named = [replace(figures, name=name) for figures, name in zip(source.figures.classes, classes, strict=True)]
        return replace(source, figures=replace(source.figures, classes=tuple(named)))

    return replace(record, sets=tuple(map(of_set, record.sets)))


@pytest.mark.parametrize("classes", [tuple("痣瘤癌斑疣瘊疹"), tuple("x" * 300 + str(number) for number in range(7))])
def test_classes_whose_keys_would_be_the_same_are_all_logged(record: RunRecord, classes: tuple[str, ...]) -> None:
    """A key has neither other scripts nor more than 250 characters."""
    shares = values(run_entry(with_classes(record, classes)))
    assert len(shares) == len(values(run_entry(record)))


def test_a_class_called_malignant_does_not_replace_the_figure_of_all_malignant_ones(record: RunRecord) -> None:
    plain = values(run_entry(record))
    exchanged = values(run_entry(with_classes(record, ("malignant", *"bcdefg"))))
    assert exchanged["test/clean/sensitivity_malignant"] == plain["test/clean/sensitivity_malignant"]
    assert exchanged["test/clean/sensitivity_malignant 2"] == plain["test/clean/sensitivity_mel"]


def test_content_changes_with_what_is_told_and_not_with_the_time(audited_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(audited_run, tmp_path / "tiny"))
    before = run_entry(read_run_record(run))
    os.utime(run / "log.jsonl", (1, 1))
    later = run_entry(read_run_record(run))
    assert (later.content, later.ended) == (before.content, 1000)
    (run / "audits" / "fp16.onnx.json").unlink()
    assert run_entry(read_run_record(run)).content != before.content
    (run / "curves.png").unlink()
    assert run_entry(read_run_record(run)).left_out == {"curves.png": "not in the run"}


def test_curves_that_lead_out_of_the_run_or_are_huge_are_not_sent(audited_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(audited_run, tmp_path / "tiny"))
    (tmp_path / "secret").write_text("a key")
    (run / "curves.png").unlink()
    (run / "curves.png").symlink_to(tmp_path / "secret")
    entry = run_entry(read_run_record(run))
    assert entry.left_out == {"curves.png": "a link that leads out of the run"}
    assert "curves.png" not in entry.files
    (run / "curves.png").unlink()
    with (run / "curves.png").open("wb") as stream:
        stream.truncate(2**40)
    with pytest.raises(InvalidInputError, match=r"curves\.png: .*has more than 67,108,864 bytes"):
        run_entry(read_run_record(run))


def test_without_the_libraries_of_the_page_it_is_left_out(filed: FiledAudit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skinaudit.audit.reports.find_spec", lambda name: None)
    entry = audit_entry(filed)
    assert set(entry.files) == {"audit.json", "audit.md"}
    assert "pip install 'skinaudit[report]'" in entry.left_out["audit.html"]
