"""Fixtures with audits and evidence of linear runs, and a small trained run that was exported and audited."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from skinaudit.artifacts.files import write_json
from skinaudit.artifacts.manifest import manifest_path
from skinaudit.audit.audit import audit_engine, gather
from skinaudit.audit.checks import Evidence
from skinaudit.audit.judgement.result import AuditResult
from skinaudit.audit.request import Request
from skinaudit.tests.linear_run import LinearEngine, plant
from skinaudit.tests.shared import built_once


@pytest.fixture(scope="session")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """What an audit of an honest engine gathers."""
    planted = plant(tmp_path_factory.mktemp("honest"), settings={})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("skinaudit.audit.evidence.reference.open_engine", lambda path, **_: LinearEngine(path))
        evidence, _ = gather(Request(planted.engine))
    return evidence


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[LinearEngine]:
    """Let audits open LinearEngine files, and record the engines that they open."""
    engines: list[LinearEngine] = []

    def open_engine(path: Path, **_: object) -> LinearEngine:
        engines.append(LinearEngine(path))
        return engines[-1]

    monkeypatch.setattr("skinaudit.audit.evidence.reference.open_engine", open_engine)
    monkeypatch.setattr("skinaudit.audit.transfer.open_engine", open_engine)
    return engines


FOREIGN_CONTRACT = """
[input]
size = 6
layout = "NCHW"
dtype = "uint8"
colour = "RGB"
scale = 1
mean = [0, 0, 0]
std = [1, 1, 1]
[output]
answer = "logits"
classes = ["akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"]
"""


@pytest.fixture(scope="session")
def audits(tmp_path_factory: pytest.TempPathFactory, lab: SimpleNamespace) -> dict[str, AuditResult]:
    """Audits by what is the matter with the engine or with its surroundings."""

    def audit(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("skinaudit.audit.evidence.reference.open_engine", lambda path, **_: lab.LinearEngine(path))
            patch.setattr("skinaudit.audit.evidence.reference.open_emulated", lambda path, **_: lab.LinearEngine(path))
            (folder / "audits.pickle").write_bytes(pickle.dumps(_audits(folder, lab)))

    stored = built_once(tmp_path_factory, "audits", audit) / "audits.pickle"
    audits: dict[str, AuditResult] = pickle.loads(stored.read_bytes())
    return audits


def _audits(folder: Path, lab: SimpleNamespace) -> dict[str, AuditResult]:
    results = {"pass": audit_engine(lab.plant(folder / "pass", settings={}).engine)}
    for fault in ("rare", "melanoma to nevus", "constant", "restless", "noise"):
        results[fault] = audit_engine(lab.plant(folder / fault.replace(" ", "-"), settings={"fault": fault}).engine)
    results["few images"] = audit_engine(lab.plant(folder / "few", images=140, settings={}).engine)
    results["precision"] = audit_engine(lab.plant(folder / "precision", settings={"found": {}}, asked="fp16").engine)
    planted = lab.plant(folder / "emulated", settings={})
    results["emulated"] = audit_engine(planted.engine, emulate=True)
    planted.reference.unlink()
    results["no control"] = audit_engine(planted.engine)
    other_run = lab.plant(folder / "other", seed=9)
    results["nothing compared"] = audit_engine(planted.engine, sets=other_run.run / "sets")
    planted = lab.plant(folder / "transfer", settings={})
    sets = planted.run / "sets"
    (sets / "other.safetensors").write_bytes((other_run.run / "sets" / "pgd.safetensors").read_bytes())
    results["transfer"] = audit_engine(planted.engine, sets=sets)
    planted = lab.plant(folder / "foreign", settings={})
    manifest_path(planted.engine).unlink()
    (folder / "contract.toml").write_text(FOREIGN_CONTRACT)
    results["foreign"] = audit_engine(planted.engine, sets=planted.run / "sets", contract=folder / "contract.toml")
    return results


@pytest.fixture(scope="session")
def exported_run(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny run with fp32 and fp16 engines, under a folder without it. Read only: copy it to change it."""
    from skinaudit.export.export import export_run

    def export(folder: Path) -> None:
        export_run(Path(shutil.copytree(tiny_run, folder / "tiny")), precisions=("fp32", "fp16"), threads=1)

    return built_once(tmp_path_factory, "exported", export) / "tiny"


@pytest.fixture(scope="session")
def audited_run(exported_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exported run with both engines audited, under a folder without it. Read only: copy it to change it."""
    from skinaudit.audit.reports.json_ import to_json

    def audit(folder: Path) -> None:
        run = Path(shutil.copytree(exported_run, folder / "tiny"))
        for name in ("fp32.onnx", "fp16.onnx"):
            write_json(run / "audits" / f"{name}.json", to_json(audit_engine(run / "engines" / name, threads=1)))

    return built_once(tmp_path_factory, "audited", audit) / "tiny"
