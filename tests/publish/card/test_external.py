"""The card keeps figures of other images apart from those of the run's own test."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from skinaudit.artifacts.adversarial_set import open_set
from skinaudit.artifacts.external import ExternalSets, write_external
from skinaudit.artifacts.files import write_json
from skinaudit.artifacts.manifest import record
from skinaudit.audit.audit import audit_engine
from skinaudit.audit.reports.json_ import to_json
from skinaudit.publish.card.model_card import model_card
from skinaudit.publish.run_record import read_run_record


@pytest.mark.usefixtures("opened")
@pytest.mark.parametrize("described", [True, False])
def test_audits_on_other_images_are_no_audits_of_the_run(tmp_path: Path, lab: SimpleNamespace, described: bool) -> None:
    """Whether their report says so, or only their digest."""
    planted = lab.plant(tmp_path / "run", settings={}, images=420)
    source = open_set(planted.run / "sets" / "clean.safetensors").info.source
    folder = planted.run / "external" / "hospital-b"
    lab.write_sets(folder, *lab.pictures(420, seed=9), seed=0, source=source)
    if described:
        files = {path.stem: record(path, relative_to=folder) for path in folder.glob("*.safetensors")}
        write_external(folder, ExternalSets("hospital-b", "Hospital B", "sha256:0", {}, files, {}))
    result = audit_engine(planted.engine, sets=folder, seed=0)
    write_json(planted.run / "audits" / f"{planted.engine.name}.json", to_json(result))
    card = model_card(read_run_record(planted.run))
    own, _, external = card.partition("### External validation")
    assert "No audit of an engine of this model could be read" in own
    assert f"| {'hospital-b' if described else 'other images of planted'} |" in external
