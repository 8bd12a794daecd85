"""Manifests survive their files, and no file that they name may have changed."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from skinaudit.artifacts.contract import InputContract
from skinaudit.artifacts.manifest import (
    EngineManifest,
    FileRecord,
    RunManifest,
    manifest_path,
    read_engine_manifest,
    read_run,
    record,
    resolve,
    versions,
    write_engine_manifest,
    write_run,
)
from skinaudit.artifacts.operating_point import OperatingPoint
from skinaudit.artifacts.run_folder import RunFolder
from skinaudit.errors import InvalidInputError

POINT = OperatingPoint(specificity=0.9, threshold=0.5, reached=0.9, sensitivity=0.8, benign=10, malignant=5)
RUN = RunManifest(
    name="run", contract=InputContract(size=64), model={"arch": "mobilenet", "width": 0.5},
    data={"title": "HAM10000", "digest": "sha256:d"},
    synthetic=False, training={"seed": 0}, results={"clean": {"accuracy": 0.5}}, weights=FileRecord("w", "sha256:1"),
    calibration=FileRecord("c", "sha256:2"), sets={"clean": FileRecord("sets/clean", "sha256:3")},
    created_with={"python": "3"},
)  # fmt: skip


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    path = tmp_path / "engines" / "fp16.onnx"
    path.parent.mkdir()
    path.write_bytes(b"an engine")
    manifest = EngineManifest(
        engine=record(path, relative_to=path.parent), runtime="onnxruntime", contract=InputContract(size=64), asked="fp16",
        found={"fp16": 28}, lineage={"weights": "sha256:1", "onnx": "sha256:4", "data": "sha256:d"},
        reference=FileRecord("fp32.onnx", "sha256:4"), run="..",
        run_name="run", synthetic=True, parity={"agreement": 1.0}, settings={}, created_with={}, device="CPU",
        graph=record(path, relative_to=path.parent),
    )  # fmt: skip
    write_engine_manifest(manifest, engine=path)
    return path


def edit(path: Path, **change: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))


def test_a_run_round_trip(tmp_path: Path) -> None:
    write_run(tmp_path, RUN)
    assert read_run(tmp_path) == RUN


def test_contracts_of_versions_that_knew_no_single_column_are_read(tmp_path: Path, engine: Path) -> None:
    write_run(tmp_path, RUN)
    for path in (tmp_path / "run.json", manifest_path(engine)):
        contract = json.loads(path.read_text())["contract"]
        assert (contract.pop("positive"), contract.pop("threshold")) == (None, 0.5)
        edit(path, contract=contract)
    assert read_run(tmp_path) == RUN
    assert read_engine_manifest(engine).contract == RUN.contract


def test_an_engine_round_trip_beside_the_pure_engine_file(engine: Path) -> None:
    manifest = read_engine_manifest(engine)
    assert manifest.found == {"fp16": 28}
    assert manifest.engine.file == "fp16.onnx"
    assert manifest_path(engine).name == "fp16.onnx.json"
    assert engine.read_bytes() == b"an engine"
    write_engine_manifest(manifest, engine=engine)
    assert read_engine_manifest(engine) == manifest


def test_the_manifest_of_a_trained_run_names_files_that_are_there(tiny_run: Path) -> None:
    manifest = read_run(tiny_run)
    for file in (manifest.weights, manifest.calibration, *manifest.sets.values()):
        assert resolve(tiny_run, file).is_file()
    assert manifest.synthetic
    assert manifest.name == tiny_run.name


@pytest.mark.parametrize("name", ["weights.safetensors", "calibration.safetensors", "sets/clean.safetensors"])
def test_a_changed_file_of_a_run_is_refused(tiny_run: Path, tmp_path: Path, name: str) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    content = bytearray((run / name).read_bytes())
    content[-1] ^= 1
    (run / name).write_bytes(content)
    manifest = read_run(run)
    files = {file.file: file for file in (manifest.weights, manifest.calibration, *manifest.sets.values())}
    with pytest.raises(InvalidInputError, match=r"digest .*, the manifest says .*: changed after it was written"):
        resolve(run, files[name])
    (run / name).unlink()
    with pytest.raises(InvalidInputError, match=r"is in the manifest in .* but does not exist"):
        resolve(run, files[name])


def test_a_changed_engine_is_refused(engine: Path) -> None:
    engine.write_bytes(b"another engine")
    with pytest.raises(InvalidInputError, match=r"fp16.onnx: digest .*changed after it was written; make it again"):
        read_engine_manifest(engine)


def test_an_engine_without_manifest_or_no_engine_at_all(engine: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"fp16.onnx.json: is a JSON file, not an engine; name .* fp16.onnx$"):
        read_engine_manifest(manifest_path(engine))
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(
        InvalidInputError, match=r"run.json: is a JSON file, .* name the engine, in the run's folder engines$"
    ):
        read_engine_manifest(tmp_path / "run.json")
    with pytest.raises(InvalidInputError, match=r"none.onnx: no such engine"):
        read_engine_manifest(tmp_path / "none.onnx")
    manifest_path(engine).unlink()
    with pytest.raises(InvalidInputError, match=r"fp16.onnx: no manifest beside it \(fp16.onnx.json\)"):
        read_engine_manifest(engine)


def test_a_pipe_and_a_circle_of_links_in_the_place_of_a_manifest_are_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "run.json")
    with pytest.raises(InvalidInputError, match=r"run\.json: is a pipe, not a regular file"):
        read_run(tmp_path)
    (tmp_path / "run.json").unlink()
    (tmp_path / "run.json").symlink_to("run.json")
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read_run(tmp_path)


def test_a_run_is_not_named_like_a_path(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="name should be the name of a folder, found "):
        replace(RUN, name="../../x")


def test_a_command_in_a_message_can_be_copied_whatever_the_folder_is_called(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "a $(touch x);`id`")
    run.path.mkdir()
    run.checkpoint.touch()
    with pytest.raises(InvalidInputError) as error:
        read_run(run.path)
    assert f"--out '{run.path}'" in str(error.value)


def test_a_folder_without_a_run(tmp_path: Path) -> None:
    (tmp_path / "hardened").mkdir()
    with pytest.raises(InvalidInputError, match=r"hardend: no such run; did you mean 'hardened' in the same folder\?$"):
        read_run(tmp_path / "hardend")
    (tmp_path / "a.onnx").touch()
    with pytest.raises(InvalidInputError, match=r"a\.onnx: is a file, not the folder of a run; name the folder"):
        read_run(tmp_path / "a.onnx")
    with pytest.raises(InvalidInputError, match=r"not a finished run \(no run.json\); make one with `skinaudit train`$"):
        read_run(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "skinaudit-run/3"}, "kind should be skinaudit-run/2, found 'skinaudit-run/3'; restore it or train again"),
        ({"kind": "skinaudit-engine/2"}, "kind should be skinaudit-run/2"),
        ({"kind": "skinaudit-run/1"}, "contract.malignant is unknown in this earlier format"),
        ({"weights": {"file": "w"}}, "weights.digest is missing, expected a text"),
        ({"weights": {"file": 7, "digest": "sha256:1"}}, "weights.file should be a text, found 7"),
        ({"weights": {"file": "w", "digest": None}}, "weights.digest should be a text, found null"),
        ({"weights": {"file": "", "digest": "sha256:1"}}, "weights: file and digest should not be empty"),
        ({"weights": "w"}, "weights should be an object, found 'w'"),
        ({"sets": []}, "sets should be an object, found an array of 0 items"),
        ({"sets": {"a b\x1b": []}}, r"sets should be a text without control characters, found 'a b\\x1b'"),
        ({"sets": {"a b": []}}, r"sets\['a b'\] should be an object, found an array"),
        ({"contract": {}}, "contract.size is missing, expected an integer"),
        ({"extra": 1}, "extra is unknown, expected only name, contract"),
        ({"nane": 1}, "nane is unknown, did you mean 'name'"),
        ({"model": {"width": "0.5"}}, "model.width should be a finite number, found '0.5'"),
        ({"data": {"title": "x"}}, "data.digest is missing, expected a text"),
        (
            {"data": {"title": "x", "digest": "x", "counts": {"mel": {"test": -1}}}},
            "data.counts.mel.test should be an integer",
        ),
        (
            {"data": {"title": "x", "digest": "x", "counts": {"mel": {"test": 1}}}},
            "data.counts.mel should have the parts , found test",
        ),
        ({"results": {"clean": {"accuracy": 1.5}}}, "results.clean.accuracy should be a finite number from 0 to 1"),
        ({"results": {"clean": {}}}, "results.clean.accuracy is missing"),
        ({"training": {"hardening": "pgd"}}, "training.hardening should be an object"),
    ],
)
def test_a_damaged_run_manifest_is_refused_by_name(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    write_run(tmp_path, RUN)
    edit(tmp_path / "run.json", **change)
    with pytest.raises(InvalidInputError, match=rf"run.json: .*{message}"):
        read_run(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "x"}, "kind should be skinaudit-engine/2, found 'x'; export the engine again"),
        ({"engine": {}}, "engine.file is missing"),
        ({"reference": 3}, "reference should be an object, found 3"),
        ({"lineage": {"weights": "w", "onnx": "sha256:4"}}, "lineage.data is missing"),
        (
            {"lineage": {"weights": "w", "onnx": "x", "data": "d"}},
            "lineage.onnx should be the digest of reference fp32.onnx",
        ),
        ({"graph": {"file": "fp16.onnx", "digest": "x"}}, "names fp16.onnx twice, with two digests"),
        ({"engine": {"file": "fp16.xml", "digest": "x"}}, "companions should name the .bin file of the engine"),
        ({"found": {"fp16": -1}}, "found.fp16 should be an integer of at least 0"),
        ({"parity": {"agreement": 2}}, "parity.agreement should be a finite number from 0 to 1"),
        ({"parity": {"rebuilds": {"builds": 2}}}, "parity.rebuilds.files is missing"),
        ({"settings": {"found_in": "heaven"}}, "settings.found_in should be strongly typed network, found 'heaven'"),
        ({"companions": [{"file": 1}]}, r"companions\[0\].digest is missing"),
    ],
)
def test_a_damaged_engine_manifest_is_refused_by_name(engine: Path, change: dict[str, Any], message: str) -> None:
    edit(manifest_path(engine), **change)
    with pytest.raises(InvalidInputError, match=rf"fp16.onnx.json: .*{message}"):
        read_engine_manifest(engine)


def test_equal_manifests_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_run(tmp_path / name, replace(RUN))
    assert (tmp_path / "one" / "run.json").read_bytes() == (tmp_path / "two" / "run.json").read_bytes()


def test_versions_name_what_is_installed_and_only_that() -> None:
    installed = versions("numpy", "no-such-distribution")
    assert set(installed) == {"python", "skinaudit", "numpy"}


@pytest.mark.parametrize("malignant", [(), ("a", "b")])
def test_operating_points_without_a_malignant_score_are_refused(tmp_path: Path, malignant: tuple[str, ...]) -> None:
    contract = InputContract(64, classes=("a", "b"), malignant=("a",))
    write_run(tmp_path, replace(RUN, contract=contract, operating_points=(POINT,)))
    path = RunFolder(tmp_path).manifest
    value = json.loads(path.read_text())
    value["contract"]["malignant"] = malignant
    path.write_text(json.dumps(value))
    with pytest.raises(InvalidInputError, match=r"run.json: operating_points should be empty, as no class, or every class"):
        read_run(tmp_path)
