"""Files that were written before contracts named their malignant classes are still read, with the digests that they had."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from skinaudit.artifacts.adversarial_set import open_set
from skinaudit.artifacts.contract import MALIGNANT
from skinaudit.artifacts.manifest import read_engine_manifest, read_run, resolve, write_run
from skinaudit.artifacts.perturbation import check_perturbation
from skinaudit.errors import InvalidInputError

EARLIER = Path(__file__).resolve().parents[1] / "data" / "earlier"
PLANTED = EARLIER / "planted"
IMAGES = {
    "clean": "sha256:38ddf7270ec8c7c2af6656149e2c616acd2cfa1a860421e671afd43c0add1226",
    "pgd": "sha256:f92d7bcc392d54ea834b49b741f799e3dead194c81918b5dbdf2690cb433563d",
}
"""As the code that wrote the sets told them."""


def test_an_earlier_run_is_read_and_leads_to_its_sets() -> None:
    run = read_run(PLANTED)
    assert run.contract.malignant == MALIGNANT
    opened = {name: open_set(resolve(PLANTED, file)) for name, file in run.sets.items()}
    assert {name: image_set.images_digest for name, image_set in opened.items()} == IMAGES
    assert {value.info.contract for value in opened.values()} == {run.contract}
    assert (check_perturbation(opened["pgd"], opened["clean"]) == 1.0).all()


def test_the_earlier_manifest_of_a_real_training_is_read() -> None:
    run = read_run(EARLIER / "trained")
    assert run.contract.malignant == MALIGNANT
    assert run.data["counts"]["mel"] == {"train": 15, "val": 3, "test": 3}
    assert run.training["hardening"]["threat_model"] == {"norm": "linf", "eps": "4/255"}
    assert set(run.results) == set(run.sets) == {"clean", "fgsm-linf-4", "pgd-linf-4"}


def test_an_earlier_engine_is_read() -> None:
    manifest = read_engine_manifest(PLANTED / "engines" / "fp32.onnx")
    assert manifest.contract == read_run(PLANTED).contract
    assert manifest.lineage["weights"] == read_run(PLANTED).weights.digest


def test_an_earlier_run_that_is_written_again_is_of_the_present_format(tmp_path: Path) -> None:
    run = read_run(PLANTED)
    write_run(tmp_path, run)
    assert json.loads((tmp_path / "run.json").read_text())["kind"] == "skinaudit-run/2"
    assert read_run(tmp_path) == run


@pytest.mark.parametrize("name", ["run.json", "engines/fp32.onnx.json"])
@pytest.mark.parametrize("version", [1, 2])
def test_a_version_and_its_contract_belong_together(tmp_path: Path, name: str, version: int) -> None:
    shutil.copytree(PLANTED, tmp_path, dirs_exist_ok=True)
    value = json.loads((tmp_path / name).read_text())
    value["kind"] = value["kind"].replace("/1", f"/{version}")
    if version == 1:
        value["contract"]["malignant"] = ["mel"]
    (tmp_path / name).write_text(json.dumps(value))
    expected = r"contract\.malignant is " + (
        "unknown in this earlier format" if version == 1 else "missing, expected an array"
    )
    with pytest.raises(InvalidInputError, match=rf"{name}: {expected}"):
        read_run(tmp_path) if name == "run.json" else read_engine_manifest(tmp_path / "engines" / "fp32.onnx")


def test_classes_that_are_not_the_seven_diagnoses_have_no_malignant_ones(tmp_path: Path) -> None:
    value = json.loads((PLANTED / "run.json").read_text())
    value["contract"]["classes"][0] = "melanoma"
    (tmp_path / "run.json").write_text(json.dumps(value))
    assert read_run(tmp_path).contract.malignant == ()
