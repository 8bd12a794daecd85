"""A trained run whose classes are renamed in every file: the same verdicts, gates, findings and figures of real graphs."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

from skinaudit.artifacts.adversarial_set import open_set
from skinaudit.artifacts.contract import InputContract
from skinaudit.artifacts.manifest import read_engine_manifest, record, write_engine_manifest
from skinaudit.audit.audit import audit_engine
from skinaudit.audit.judgement.result import Verdict
from skinaudit.engines import onnx_graph
from skinaudit.tests.faults.lab import Lab
from skinaudit.tests.renaming import NEW_NAMES, comparable, rename_classes, renamed

ENGINES = ("fp32.onnx", "fp16.onnx", "int8-u8s8.onnx", "blind.onnx")


def blind(engines: Path) -> None:
    """Write blind.onnx: fp32.onnx whose last layer hardly ever answers with a malignant class."""
    model = onnx.load(engines / "fp32.onnx")
    bias_name = model.graph.node[-1].input[2]
    (tensor,) = (tensor for tensor in model.graph.initializer if tensor.name == bias_name)
    bias = numpy_helper.to_array(tensor).copy()
    bias[list(InputContract(size=1).malignant_labels)] -= np.float32(100)
    tensor.CopyFrom(numpy_helper.from_array(bias, bias_name))
    onnx.save(model, engines / "blind.onnx")
    manifest = read_engine_manifest(engines / "fp32.onnx")
    own = record(engines / "blind.onnx", relative_to=engines)
    write_engine_manifest(replace(manifest, engine=own), engine=engines / "blind.onnx")


@pytest.fixture(scope="module")
def runs(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The hardened run with one engine more that misses cancers, and the same under other names."""
    folder = tmp_path_factory.mktemp("renamed")
    plain = Path(shutil.copytree(lab.run, folder / "plain", ignore=shutil.ignore_patterns("planted")))
    blind(plain / "engines")
    renamed_run = Path(shutil.copytree(plain, folder / "other"))
    rename_classes(renamed_run, NEW_NAMES)
    return plain, renamed_run


def test_no_file_of_the_renamed_run_has_an_old_name(runs: tuple[Path, Path]) -> None:
    _, renamed_run = runs
    new_names = tuple(NEW_NAMES.values())
    for path in (renamed_run / "sets").iterdir():
        assert open_set(path).info.contract.classes == new_names
    for name in ENGINES:
        assert onnx_graph.labels(onnx_graph.load(renamed_run / "engines" / name)) == new_names
        assert read_engine_manifest(renamed_run / "engines" / name).contract.classes == new_names
    for path in (renamed_run / "run.json", *(renamed_run / "engines").glob("*.json")):
        assert [old for old in NEW_NAMES if f'"{old}"' in path.read_text()] == []


@pytest.mark.parametrize("name", ENGINES)
def test_the_same_verdict_gates_findings_and_figures(runs: tuple[Path, Path], name: str) -> None:
    plain, renamed_audit = (audit_engine(run / "engines" / name, threads=1, seed=0) for run in runs)
    assert renamed_audit.classes == tuple(NEW_NAMES.values())
    assert renamed_audit.gates
    assert comparable(renamed_audit) == renamed(comparable(plain))
    if name == "blind.onnx":
        assert plain.verdict is Verdict.FAIL
        assert {"malignant-sensitivity", "turned-benign"} <= {
            gate.rule for gate in plain.gates if gate.judgement.verdict is Verdict.FAIL
        }
    else:
        assert plain.verdict in ((Verdict.PASS, Verdict.INCONCLUSIVE) if name.startswith("int8") else (Verdict.PASS,))
