"""Sets of other images: audited under a name of their own, bound by digests, and no way round the recorded split."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from skinaudit.artifacts.adversarial_set import open_set
from skinaudit.artifacts.external import ExternalSets, name_of, read_external, write_external
from skinaudit.artifacts.manifest import read_run, record, write_run
from skinaudit.audit.audit import audit_engine
from skinaudit.audit.judgement.reading import read_audit
from skinaudit.audit.judgement.result import Verdict
from skinaudit.audit.reports import render
from skinaudit.audit.reports.json_ import render as to_json
from skinaudit.audit.reports.parts.targets import plan_reports
from skinaudit.errors import InvalidInputError

pytestmark = pytest.mark.usefixtures("opened")


def described(folder: Path) -> Path:
    files = {path.stem: record(path, relative_to=folder) for path in sorted(folder.glob("*.safetensors"))}
    write_external(folder, ExternalSets("hospital-b", "Hospital B", "sha256:0", {}, files, {}))
    return folder


@pytest.fixture
def workplace(tmp_path: Path, lab: SimpleNamespace) -> SimpleNamespace:
    """A planted run, and other images with the same attack on the same weights."""
    planted = lab.plant(tmp_path / "run", settings={})
    lab.record_pictures(planted.run)
    source = open_set(planted.run / "sets" / "clean.safetensors").info.source
    folder = planted.run / "external" / "hospital-b"
    lab.write_sets(folder, *lab.pictures(700, seed=99), seed=0, source=source)
    return SimpleNamespace(engine=planted.engine, run=planted.run, external=described(folder))


def test_other_images_pass_on_their_own_beside_the_own_test(workplace: SimpleNamespace, tmp_path: Path) -> None:
    result = audit_engine(workplace.engine, sets=workplace.external, seed=0)
    assert result.verdict is Verdict.PASS, result.reason
    assert result.external is not None
    assert result.external.name == "hospital-b"
    assert {figure.set for figure in result.external.figures} == {entry.title for entry in result.sets}
    assert all(figure.own is not None and figure.by_chance for figure in result.external.figures)
    path = tmp_path / "audit.json"
    path.write_text(to_json(result))
    assert read_audit(path) == result
    for form in ("terminal", "markdown", "html"):
        assert "hospital-b" in render(form, result)


def test_its_report_replaces_no_other(workplace: SimpleNamespace) -> None:
    def place(sets: Path | None) -> str:
        (plan,) = plan_reports([workplace.engine], output=None, report_texts=(), sets=sets)
        assert plan.report is not None
        return plan.report.name

    own = place(None)
    assert place(workplace.run / "sets") == own
    assert place(workplace.external) == own.replace(".json", ".hospital-b.json")


def test_the_own_split_with_images_dropped_does_not_pass_as_external(workplace: SimpleNamespace, tmp_path: Path) -> None:
    """Neither plainly nor when it is called external."""
    shutil.copytree(workplace.run / "sets", tmp_path / "sets")
    result = audit_engine(workplace.engine, sets=described(tmp_path / "sets"), seed=0)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert any("those of the run's own test, pixel for pixel" in finding.text for finding in result.findings)


def test_without_the_run_nothing_shows_that_they_are_other_images(workplace: SimpleNamespace) -> None:
    (workplace.run / "run.json").unlink()
    result = audit_engine(workplace.engine, sets=workplace.external, seed=0)
    assert any(finding.rule == "external-overlap" and "not available" in finding.text for finding in result.findings)
    assert result.verdict is Verdict.INCONCLUSIVE


def test_a_changed_or_added_set_is_refused(workplace: SimpleNamespace, tmp_path: Path) -> None:
    shutil.copy(workplace.external / "pgd.safetensors", workplace.external / "more.safetensors")
    with pytest.raises(InvalidInputError, match=r"external\.json does not name more\.safetensors"):
        audit_engine(workplace.engine, sets=workplace.external)
    (workplace.external / "more.safetensors").unlink()
    shutil.copy(workplace.run / "sets" / "pgd.safetensors", workplace.external / "pgd.safetensors")
    with pytest.raises(InvalidInputError, match="changed after it was written"):
        audit_engine(workplace.engine, sets=workplace.external)


def test_a_run_without_a_record_of_its_pictures_may_have_been_trained_on_them(workplace: SimpleNamespace) -> None:
    write_run(workplace.run, replace(read_run(workplace.run), pictures=None))
    result = audit_engine(workplace.engine, sets=workplace.external, seed=0)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "names no record of its images" in result.reason


def test_a_description_of_another_kind_is_refused(tmp_path: Path) -> None:
    assert read_external(tmp_path) is None
    (tmp_path / "external.json").write_text(json.dumps({"kind": "skinaudit-external/9"}))
    with pytest.raises(InvalidInputError, match="kind should be skinaudit-external/1"):
        read_external(tmp_path)
    assert name_of("/data/Hospital B/") == "hospital-b"
    with pytest.raises(InvalidInputError, match=r"name '\.\./x'"):
        ExternalSets("../x", "", "", {}, {}, {})


def test_frames_of_more_images_than_there_are_are_refused(workplace: SimpleNamespace) -> None:
    described_sets = read_external(workplace.external)
    assert described_sets is not None
    write_external(workplace.external, replace(described_sets, frames=((600, 450, 2**40),)))
    with pytest.raises(InvalidInputError, match=r"external.json: frames are of 1,099,511,627,776 images, clean"):
        audit_engine(workplace.engine, sets=workplace.external, seed=0)
