"""ONNX engines that pass, fail and cannot be decided in a fraction of a second, and a clean environment to audit them in."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from skinaudit.artifacts.manifest import read_engine_manifest, record, write_engine_manifest
from skinaudit.tests.linear_run import record_structure

SIZE, CLASSES, SEED = 6, 7, 0
Run = Callable[..., subprocess.CompletedProcess[str]]

pytest.importorskip("onnxruntime", reason="the engines of these tests run on onnxruntime")


@pytest.fixture(scope="session")
def engines(tmp_path_factory: pytest.TempPathFactory, lab: SimpleNamespace) -> Path:
    """A folder of runs `pass`, `fail` and `inconclusive`, each with engines/subject.onnx. Read only."""
    folder = tmp_path_factory.mktemp("engines")
    for name, images, columns in (("pass", 700, 0), ("fail", 700, 1), ("inconclusive", 140, 0)):
        planted = lab.plant(folder / name, images=images, settings={})
        manifests = {engine: read_engine_manifest(engine) for engine in (planted.reference, planted.engine)}
        weights = lab.templates(SEED)
        write_linear(planted.reference, weights)
        write_linear(planted.engine, np.roll(weights, columns, axis=1), note="subject")
        for engine, manifest in manifests.items():
            reference = record(planted.reference, relative_to=engine.parent)
            own = record(engine, relative_to=engine.parent)
            changed = replace(
                manifest, engine=own, reference=reference, graph=own, runtime="onnxruntime",
                lineage={**manifest.lineage, "onnx": reference.digest},
            )  # fmt: skip
            write_engine_manifest(changed, engine=engine)
        record_structure(planted.run)
    return folder


def write_linear(path: Path, weights: np.ndarray, *, note: str = "") -> None:
    """Pixels minus one half, times weights (pixels, classes), as an ONNX file."""
    nodes = [
        helper.make_node("Sub", ["image", "half"], ["moved"]),
        helper.make_node("Flatten", ["moved"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", weights.shape[1]])],
        [numpy_helper.from_array(np.float32(0.5), "half"), numpy_helper.from_array(weights, "weights")],
        doc_string=note,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    onnx.checker.check_model(model)


@pytest.fixture
def workplace(engines: Path, tmp_path: Path) -> Path:
    """A folder with the runs of `engines` to work in."""
    return Path(shutil.copytree(engines, tmp_path / "work"))


@pytest.fixture
def shell(tmp_path: Path, workplace: Path, ready_program: Path) -> Run:
    """Run shell lines with `bash -euo pipefail` in the workplace and in an environment of nothing but PATH and HOME.

    `skinaudit` there is the program under test, `python -m pip` only writes down what it is asked for.
    """
    program, home = tmp_path / "bin", tmp_path / "home"
    home.mkdir()
    program.mkdir()
    (program / "skinaudit").symlink_to(ready_program)
    script(program / "python", f'echo "$@" >> "{tmp_path}/pip.log"')

    def run(lines: str, *, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        variables: Mapping[str, str] = {"PATH": f"{program}:/usr/local/bin:/usr/bin:/bin", "HOME": str(home), **environment}
        assignments = [f"{name}={value}" for name, value in variables.items()]
        command = ["env", "-i", *assignments, "bash", "--noprofile", "--norc", "-euo", "pipefail", "-c", lines]
        return subprocess.run(command, cwd=workplace, input=stdin, capture_output=True, text=True, timeout=300, check=False)

    return run


def script(path: Path, lines: str) -> None:
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(0o755)
