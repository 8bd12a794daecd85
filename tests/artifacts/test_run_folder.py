"""A run's folder holds what RunFolder says, and no other module spells its names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from skinaudit.artifacts.run_folder import RunFolder, run_of, set_files
from skinaudit.errors import InvalidInputError

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ("artifacts", "audit", "commands", "engines", "export", "publish", "trainer")
NAMES = re.compile(
    r"""["'/](run\.json|log\.jsonl|curves\.png|fp32\.onnx|(weights|calibration|checkpoint|best)\.safetensors)["']"""
    r"""|/ ["'](sets|engines|audits|external)["']"""
)


def test_no_other_module_spells_a_name() -> None:
    files = [*ROOT.glob("*.py"), *(path for folder in PACKAGE for path in (ROOT / folder).rglob("*.py"))]
    assert len(files) > 100
    spelled = {
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in files
        if path.name != "run_folder.py"
        for line in path.read_text(encoding="utf-8").splitlines()
        if NAMES.search(line)
    }
    assert spelled == set()


def test_a_trained_run_holds_what_its_folder_says(audited_run: Path) -> None:
    run = RunFolder(audited_run)
    for path in (run.manifest, run.weights, run.structure, run.pictures, run.calibration, run.log, run.curves):
        assert path.is_file(), path
    assert run.reference.is_file()
    assert not run.checkpoint.exists()
    assert not run.best.exists()
    assert [path.stem for path in set_files(run.sets)] == ["clean", "fgsm-linf-4", "pgd-dlr-linf-4"]
    assert run.set_file("clean").is_file()
    assert run.engine_names() == ["fp16.onnx", "fp32.onnx"]
    assert all(run.audit_of(name).is_file() for name in run.engine_names())
    written = {path.name for path in audited_run.iterdir()}
    stored = {run.manifest, run.weights, run.structure, run.pictures, run.calibration, run.log, run.curves}
    named = {*stored, run.sets, run.engines, run.audits}
    assert written == {path.name for path in named}


@pytest.mark.parametrize("name", ["sets", "engines", "audits", "external"])
def test_nothing_is_written_through_a_link_out_of_a_run(tmp_path: Path, name: str) -> None:
    run = tmp_path / "run"
    (run / "own").mkdir(parents=True)
    (run / name).symlink_to("own")
    RunFolder(run).check_links()
    (run / name).unlink()
    (run / name).symlink_to(tmp_path)
    with pytest.raises(InvalidInputError, match=f"{name}: is a link out of its run"):
        RunFolder(run).check_links()


def test_the_run_of_an_engine_is_told_by_its_path() -> None:
    assert run_of(Path("runs/x/engines/fp16.onnx")) == RunFolder(Path("runs/x"))
    assert run_of(Path("models/fp16.onnx")) is None
