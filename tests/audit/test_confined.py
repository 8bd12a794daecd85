"""A manifest leads to files of its own run only; an option names others."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from linear_run import Planted

from skinaudit.artifacts.manifest import manifest_path, read_engine_manifest
from skinaudit.audit.audit import audit_engine
from skinaudit.errors import InvalidInputError, SkinauditError


@pytest.fixture
def elsewhere(tmp_path: Path, lab: SimpleNamespace, opened: list[Any]) -> SimpleNamespace:
    """A run, and a folder beside it that holds a copy of everything in it."""
    planted = lab.plant(tmp_path / "run", settings={})
    shutil.copytree(planted.run, tmp_path / "other")
    return SimpleNamespace(planted=planted, other=tmp_path / "other")


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def to_other(place: SimpleNamespace, field: str, name: str) -> None:
    path = manifest_path(place.planted.engine)
    change(path, **{field: {**json.loads(path.read_text())[field], "file": name}})


def link(place: SimpleNamespace, name: str) -> None:
    (place.planted.run / name).unlink()
    (place.planted.run / name).symlink_to(place.other / name)


WAYS: dict[str, Callable[[SimpleNamespace], object]] = {
    "absolute reference": lambda place: to_other(place, "reference", str(place.other / "engines" / "fp32.onnx")),
    "reference above": lambda place: to_other(place, "reference", "../../other/engines/fp32.onnx"),
    "absolute graph": lambda place: to_other(place, "graph", str(place.other / "engines" / "fp32.onnx")),
    "graph above": lambda place: to_other(place, "graph", "../../other/engines/fp32.onnx"),
    "absolute run": lambda place: change(manifest_path(place.planted.engine), run=str(place.other)),
    "run beside": lambda place: change(manifest_path(place.planted.engine), run="../../other"),
    "linked reference": lambda place: link(place, "engines/fp32.onnx"),
    "linked weights": lambda place: link(place, "weights.safetensors"),
    "linked structure": lambda place: link(place, "structure.json"),
    "linked set": lambda place: link(place, "sets/pgd.safetensors"),
    "companion above": lambda place: change(
        manifest_path(place.planted.engine),
        companions=[{"file": "../../other/weights.safetensors", "digest": "sha256:0"}],
    ),
    "weights above": lambda place: change(
        place.planted.run / "run.json", weights={"file": "../other/weights.safetensors", "digest": weights(place.planted)}
    ),
}


def weights(planted: Planted) -> str:
    return read_engine_manifest(planted.engine).lineage["weights"]


@pytest.mark.parametrize("way", WAYS)
def test_a_file_of_another_folder_is_not_followed(elsewhere: SimpleNamespace, way: str) -> None:
    WAYS[way](elsewhere)
    with pytest.raises(InvalidInputError, match=r"only relative paths to files below its own|which leads out of its folder"):
        audit_engine(elsewhere.planted.engine)


@pytest.mark.parametrize("name", ["fp32.onnx", "subject.onnx"])
def test_a_pipe_in_the_place_of_an_engine_ends_at_once(elsewhere: SimpleNamespace, name: str) -> None:
    path = elsewhere.planted.run / "engines" / name
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(SkinauditError, match="is a pipe, not a regular file"):
        audit_engine(elsewhere.planted.engine)


def test_an_engine_outside_of_its_run_needs_the_run_named(elsewhere: SimpleNamespace, tmp_path: Path) -> None:
    away = tmp_path / "deploy" / "subject.onnx"
    away.parent.mkdir()
    shutil.copy(elsewhere.planted.engine, away)
    value = json.loads(manifest_path(elsewhere.planted.engine).read_text())
    records = {name: {**value[name], "file": f"../run/engines/{value[name]['file']}"} for name in ("reference", "graph")}
    manifest_path(away).write_text(json.dumps({**value, **records, "run": "../run"}))
    with pytest.raises(InvalidInputError, match=r"run: names '\.\./run'.*name that with --run DIR$"):
        audit_engine(away)
    result = audit_engine(away, run=elsewhere.planted.run)
    assert result.control.startswith("the reference reproduces")
    assert " ".join(result.arguments).count(f"--run {elsewhere.planted.run} ") == 1
    shutil.rmtree(elsewhere.planted.run)  # the engine alone, as on a machine that it is shipped to
    assert audit_engine(away, sets=elsewhere.other / "sets").lineage_gaps == ("run",)


def test_the_reference_of_a_copied_engine_is_found_in_the_named_run(elsewhere: SimpleNamespace, tmp_path: Path) -> None:
    away = tmp_path / "deploy" / "subject.onnx"
    away.parent.mkdir()
    shutil.copy(elsewhere.planted.engine, away)
    shutil.copy(manifest_path(elsewhere.planted.engine), manifest_path(away))
    assert audit_engine(away, run=elsewhere.planted.run).control.startswith("the reference reproduces")


def test_a_run_below_the_folder_of_its_engine_is_found(elsewhere: SimpleNamespace, tmp_path: Path) -> None:
    shutil.copy(elsewhere.planted.engine, tmp_path / "subject.onnx")
    value = json.loads(manifest_path(elsewhere.planted.engine).read_text())
    records = {name: {**value[name], "file": f"run/engines/{value[name]['file']}"} for name in ("reference", "graph")}
    manifest_path(tmp_path / "subject.onnx").write_text(json.dumps({**value, **records, "run": "run"}))
    assert audit_engine(tmp_path / "subject.onnx").lineage_gaps == ()
