"""The digest of a run that is kept elsewhere: whatever decides an audit changes it, and nothing else does."""

from __future__ import annotations

from dataclasses import replace

import pytest
from linear_run import plant

from skinaudit.artifacts.anchor import anchor_of
from skinaudit.artifacts.manifest import RunManifest, read_run
from skinaudit.artifacts.operating_point import OperatingPoint


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunManifest:
    return read_run(plant(tmp_path_factory.mktemp("anchor") / "run").run)


def test_what_decides_an_audit_changes_it(run: RunManifest) -> None:
    forged = replace(run.weights, digest=f"sha256:{'1' * 64}")
    contract = run.contract
    changed = (
        replace(run, weights=forged), replace(run, structure=None), replace(run, model={**run.model, "arch": "another"}),
        replace(run, data={**run.data, "test_set": forged.digest}), replace(run, data={**run.data, "digest": forged.digest}),
        replace(run, contract=replace(contract, malignant=contract.malignant[:1])),
        replace(run, contract=replace(contract, classes=contract.classes[::-1])),
        replace(run, contract=replace(contract, threshold=0.9)),
        replace(run, operating_points=(OperatingPoint(0.9, -9.0, 0.9, 1.0, 10, 10),)),
    )  # fmt: skip
    assert len({anchor_of(run), *map(anchor_of, changed)}) == len(changed) + 1


def test_further_sets_and_figures_change_nothing(run: RunManifest) -> None:
    assert anchor_of(replace(run, sets={}, results={}, name="moved")) == anchor_of(run)
