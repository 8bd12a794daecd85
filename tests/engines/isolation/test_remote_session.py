"""Engines in processes of their own: the same answers as here, and hostile files end in one line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper
from planned_run import SIZE, linear_graph
from processes import still_running

from skinaudit.engines.isolation.launching import engine_processes
from skinaudit.engines.isolation.limits import Limits
from skinaudit.engines.open import Opening, open_engine, open_here
from skinaudit.engines.session import SessionEngine
from skinaudit.errors import EngineError, EngineStoppedError, SkinauditError

pytestmark = pytest.mark.isolated


@pytest.fixture(scope="module", autouse=True)
def server() -> Iterator[None]:
    """One server for all tests of this file."""
    with engine_processes(at_once=True):
        yield


def images(count: int, size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 3, size, size), dtype=np.uint8)


def write(path: Path, nodes: Sequence[NodeProto], *, functions: Sequence[onnx.FunctionProto] = ()) -> Path:
    """An ONNX file of `image` -> `logits` with these nodes."""
    graph = helper.make_graph(
        nodes,
        "hostile",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 7])],
        [numpy_helper.from_array(np.zeros((3 * SIZE * SIZE, 7), np.float32), "weights")],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("local", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10, functions=functions)
    path.write_bytes(model.SerializeToString())
    return path


HEAD = [helper.make_node("Flatten", ["image"], ["flat"]), helper.make_node("MatMul", ["flat", "weights"], ["plain"])]


def test_it_answers_the_same_bits_in_batches_of_any_size(tmp_path: Path) -> None:
    path = tmp_path / "linear.onnx"
    path.write_bytes(linear_graph().SerializeToString())
    engine = open_engine(path, threads=1)
    local = SessionEngine(open_here(Opening(path, "onnxruntime", threads=1)), where=str(path))
    assert engine.description == local.description
    for count in (2, 1, 700, 3):
        np.testing.assert_array_equal(engine.logits(images(count)), local.logits(images(count)))


def test_an_error_of_the_runtime_leaves_the_process_at_work(tmp_path: Path) -> None:
    path = write(tmp_path / "nan.onnx", [*HEAD, helper.make_node("Log", ["plain"], ["logits"])])
    engine = open_engine(path, threads=1)
    for _ in range(2):
        with pytest.raises(EngineError, match="NaN or infinite logits"):
            engine.logits(images(2))


def test_an_endless_loop_is_ended(tmp_path: Path) -> None:
    body = helper.make_graph(
        [helper.make_node("Identity", ["on"], ["on_out"]), helper.make_node("Identity", ["value"], ["value_out"])],
        "body",
        [
            helper.make_tensor_value_info("index", TensorProto.INT64, []),
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value_out", TensorProto.FLOAT, None),
        ],
    )
    often = numpy_helper.from_array(np.array(2**62, np.int64), "often")
    always = numpy_helper.from_array(np.array(True), "always")
    nodes = [
        *HEAD,
        helper.make_node("Constant", [], ["often"], value=often),
        helper.make_node("Constant", [], ["always"], value=always),
        helper.make_node("Loop", ["often", "always", "plain"], ["logits"], body=body),
    ]
    path = write(tmp_path / "endless.onnx", nodes)
    with engine_processes(Limits(seconds=1)):
        engine = open_engine(path, threads=1)
        for _ in range(2):
            with pytest.raises(EngineStoppedError, match=r"endless\.onnx: no output within 1 s.*--limit-seconds"):
                engine.logits(images(1))


def test_a_constant_of_six_gigabytes_is_refused(tmp_path: Path) -> None:
    shape = numpy_helper.from_array(np.array([3 * 2**29], np.int64), "shape")
    nodes = [
        *HEAD,
        helper.make_node("Constant", [], ["shape"], value=shape),
        helper.make_node("ConstantOfShape", ["shape"], ["large"]),
        helper.make_node("ReduceMax", ["large"], ["largest"], keepdims=0),
        helper.make_node("Add", ["plain", "largest"], ["logits"]),
    ]
    path = write(tmp_path / "large.onnx", nodes)
    with engine_processes(Limits(memory=2**29)), pytest.raises(EngineStoppedError, match="memory") as error:
        open_engine(path, threads=1).logits(images(1))
    assert "--limit-memory" in str(error.value)


def test_functions_that_call_functions_are_ended(tmp_path: Path) -> None:
    """Each of 40 functions calls the one before it twice: written out, that is a million million nodes."""
    functions = []
    for depth in range(40):
        inner = ["Identity", "", "Identity", ""] if not depth else [f"f{depth - 1}", "local", f"f{depth - 1}", "local"]
        nodes = [
            helper.make_node(inner[0], ["x"], ["y"], domain=inner[1]),
            helper.make_node(inner[2], ["y"], ["z"], domain=inner[3]),
        ]
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid("local", 1)]
        functions.append(helper.make_function("local", f"f{depth}", ["x"], ["z"], nodes, opsets))
    path = write(
        tmp_path / "nested.onnx", [*HEAD, helper.make_node("f39", ["plain"], ["logits"], domain="local")],
        functions=functions,
    )  # fmt: skip
    with engine_processes(Limits(seconds=1, memory=2**29)), pytest.raises(SkinauditError, match=r"nested\.onnx: "):
        open_engine(path, threads=1)


AUDIT = """
import os, sys
from pathlib import Path
from skinaudit.engines.isolation.launching import engine_processes
from skinaudit.engines.isolation.remote import call_remote
with engine_processes():
    print(call_remote("misbehaviour:scratch", path=Path("x")), flush=True)
    call_remote("misbehaviour:hang", path=Path("x"))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_and_no_folder_outlives_the_audit(start, number: signal.Signals) -> None:
    folder = Path(__file__).resolve().parents[2]
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    audit = start([sys.executable, "-c", AUDIT], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)
    assert audit.stdout is not None
    scratch = Path(audit.stdout.readline().strip())
    processes = [int(word) for word in subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(audit.pid)], capture_output=True, text=True, check=True
    ).stdout.split()]  # fmt: skip
    assert processes
    os.kill(audit.pid, number)
    audit.wait(10)
    assert still_running(processes, within=10) == {}
    assert not scratch.parent.exists()
