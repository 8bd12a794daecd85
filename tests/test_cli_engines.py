"""`contract` and `doctor`: what they print of real files and of this machine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

pytest.importorskip("onnxruntime")

from skinaudit.artifacts.engine_contract import read_engine_contract
from skinaudit.engines import doctor
from skinaudit.engines.doctor import examine
from skinaudit.engines.draft import draft_contract
from skinaudit.errors import EngineError


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "skinaudit.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def write(
    path: Path, shape: list[object], *, dtype: int = TensorProto.FLOAT, softmax: bool = True, labels: str | None = None
) -> Path:
    """Global mean of images times a matrix for 7 classes, NHWC or NCHW by its shape."""
    nhwc = shape[-1] == 3
    nodes = [
        helper.make_node("Cast", ["pixels"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float", "axes"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "matrix"], ["sums" if softmax else "scores"]),
    ]
    nodes += [helper.make_node("Softmax", ["sums"], ["scores"])] if softmax else []
    constants = {
        "axes": np.array([1, 2] if nhwc else [2, 3], np.int64),
        "matrix": np.random.default_rng(0).normal(size=(3, 7)).astype(np.float32),
    }
    graph = helper.make_graph(
        nodes, "other",
        [helper.make_tensor_value_info("pixels", dtype, shape)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [shape[0], 7])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    if labels:
        helper.set_model_props(model, {"names": labels})
    onnx.save(model, str(path))
    return path


def test_a_draft_says_what_the_file_says_and_marks_the_rest(tmp_path: Path) -> None:
    engine, target = write(tmp_path / "other.onnx", [1, 64, 64, 3], dtype=TensorProto.UINT8), tmp_path / "other.toml"
    process = run("contract", str(engine), "-o", str(target))
    assert (process.returncode, process.stderr) == (0, "")
    drafted = read_engine_contract(target)
    assert (drafted.size, drafted.layout, drafted.dtype, drafted.scale) == (64, "NHWC", "uint8", 1)
    assert (drafted.answer, drafted.input, drafted.output) == ("probabilities", "pixels", "scores")
    assert drafted.classes[0] == "class_0"
    text = target.read_text()
    for entry in ("colour", "scale", "mean", "std", "classes"):
        assert text.split(f"\n{entry} = ")[0].rpartition("\n")[2].startswith("# CHECK: "), entry
    again = run("contract", str(engine), "-o", str(target))
    assert again.returncode == 2
    assert "exists already" in again.stderr
    assert run("contract", str(engine)).stdout == text


def test_layout_labels_logits_and_any_size_are_read(tmp_path: Path) -> None:
    labels = "{0: 'akiec', 1: 'bcc', 2: 'bkl', 3: 'df', 4: 'mel', 5: 'nv', 6: 'vasc'}"
    path = write(tmp_path / "other.onnx", ["batch", 3, "height", "width"], softmax=False, labels=labels)
    drafted, notes = draft_contract(path)
    assert (drafted.layout, drafted.size, drafted.answer) == ("NCHW", 224, "logits")
    assert drafted.classes == ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
    assert "classes" not in notes
    assert "size" in notes


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ([1, 5, 8, 8], "this is neither NCHW nor NHWC"),
        ([1, 3, 8, 9], "not one column per class"),
        ([1, 3], "needs one input of images"),
    ],
)
def test_what_cannot_be_audited_is_refused(tmp_path: Path, shape: list[object], message: str) -> None:
    nodes = [helper.make_node("Identity", ["pixels"], ["scores"])]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("pixels", "scores")]
    graph = helper.make_graph(nodes, "other", values[:1], values[1:])
    path = tmp_path / "other.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), str(path))
    with pytest.raises(EngineError, match=message) as error:
        draft_contract(path)
    assert "\n" not in str(error.value)


def test_doctor_reports_every_runtime_as_table_and_as_json() -> None:
    reports = json.loads(run("doctor", "--json").stdout)
    names = [report["name"].removesuffix("-gpu") for report in reports]
    assert names == ["torch", "onnxruntime", "openvino", "nncf", "tensorrt", "tensorrt-rtx", "cuda-python", "confinement"]
    onnxruntime = reports[1]
    assert onnxruntime["version"] == __import__("onnxruntime").__version__
    assert "CPUExecutionProvider" in onnxruntime["devices"]
    text = run("doctor").stdout
    for report in reports:
        assert report["name"] in text
        assert report["version"] or report["install"] in text


def test_doctor_survives_what_is_absent_and_what_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", lambda name: None)
    runtimes = [runtime for runtime in examine() if runtime.name != "confinement"]
    assert all(runtime.version is None and "pip install" in runtime.install for runtime in runtimes)

    def broken(name: str) -> None:
        raise ImportError("libfoo.so: cannot open")

    monkeypatch.setattr(doctor, "_version", lambda name: "1.0")
    monkeypatch.setattr(doctor.importlib, "import_module", broken)
    reports = {runtime.name: runtime for runtime in examine()}
    assert reports["openvino"].version is None
    assert "installed but broken: libfoo.so: cannot open" in reports["openvino"].note
    assert "break each other" in reports["onnxruntime-gpu"].note or reports["onnxruntime-gpu"].version is None


@pytest.mark.parametrize("first", [True, False])
def test_a_file_that_leaves_its_layout_open_is_tried(tmp_path: Path, first: bool) -> None:
    """The graph takes three channels at one place alone, though its port does not say so."""
    shape = [1, 3, 1, 1] if first else [1, 1, 1, 3]
    nodes = [
        helper.make_node("Mul", ["pixels", "weights"], ["products"]),
        helper.make_node("ReduceSum", ["products", "axes"], ["scores"], keepdims=0),
    ]
    weights = np.ones(shape, np.float32)
    axes = np.array([2, 3] if first else [1, 2])
    constants = [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(axes, "axes")]
    graph = helper.make_graph(
        nodes, "open",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["a", "b", "c", "d"])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["a", 3])], constants,
    )  # fmt: skip
    path = tmp_path / "open.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), str(path))
    drafted, notes = draft_contract(path)
    assert drafted.layout == ("NCHW" if first else "NHWC")
    assert "layout" in notes
