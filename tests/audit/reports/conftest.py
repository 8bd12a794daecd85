"""Real audits of planted engines, one for each way in which an audit can end."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from skinaudit.artifacts.manifest import manifest_path
from skinaudit.audit.audit import audit_engine
from skinaudit.audit.result import AuditResult

CONTRACT = """
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

HOLDS = ("pass", "transfer")
"""The audits below whose verdict is PASS."""


@pytest.fixture(scope="session")
def audits(tmp_path_factory: pytest.TempPathFactory, lab: SimpleNamespace) -> dict[str, AuditResult]:
    """Audits by what is the matter with the engine or with its surroundings."""
    folder = tmp_path_factory.mktemp("audits")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("skinaudit.audit.audit.open_engine", lambda path, **_: lab.LinearEngine(path))
        patch.setattr("skinaudit.audit.audit.open_emulated", lambda path, **_: lab.LinearEngine(path))
        return _audits(folder, lab)


def _audits(folder: Path, lab: SimpleNamespace) -> dict[str, AuditResult]:
    found = {"pass": audit_engine(lab.plant(folder / "pass", settings={}).engine)}
    for fault in ("rare", "melanoma to nevus", "constant", "restless", "noise"):
        found[fault] = audit_engine(lab.plant(folder / fault.replace(" ", "-"), settings={"fault": fault}).engine)
    found["few images"] = audit_engine(lab.plant(folder / "few", images=140, settings={}).engine)
    found["precision"] = audit_engine(lab.plant(folder / "precision", settings={"found": {}}, asked="fp16").engine)
    planted = lab.plant(folder / "emulated", settings={})
    found["emulated"] = audit_engine(planted.engine, emulate=True)
    planted.reference.unlink()
    found["no control"] = audit_engine(planted.engine)
    other = lab.plant(folder / "other", seed=9)
    found["nothing compared"] = audit_engine(planted.engine, sets=other.run / "sets")
    planted = lab.plant(folder / "transfer", settings={})
    sets = planted.run / "sets"
    (sets / "other.safetensors").write_bytes((other.run / "sets" / "pgd.safetensors").read_bytes())
    found["transfer"] = audit_engine(planted.engine, sets=sets)
    planted = lab.plant(folder / "foreign", settings={})
    manifest_path(planted.engine).unlink()
    (folder / "contract.toml").write_text(CONTRACT)
    found["foreign"] = audit_engine(planted.engine, sets=planted.run / "sets", contract=folder / "contract.toml")
    return found
