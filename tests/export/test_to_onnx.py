from __future__ import annotations

import copy
import subprocess
import sys

import numpy as np
import pytest
from onnx import ModelProto

from skinaudit.engines.onnx_graph import metadata
from skinaudit.engines.onnxruntime_ import open_bytes
from skinaudit.engines.session import SessionEngine
from skinaudit.errors import MissingDependencyError
from skinaudit.export.to_onnx import OPSET, serialise, to_onnx

torch = pytest.importorskip("torch")


def content(graph: ModelProto, **entries: str) -> bytes:
    return serialise(copy.deepcopy(graph), metadata=entries)


def test_the_graph_answers_as_the_model_does_for_any_batch(graph: ModelProto, source: torch.nn.Module) -> None:
    engine = SessionEngine(open_bytes(content(graph), where="e", threads=1), where="e")
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 32, 32), dtype=np.uint8)
    for count in (1, 2, 5):
        with torch.no_grad():
            expected = source(torch.from_numpy(images[:count]).float() / 255).numpy()
        np.testing.assert_allclose(engine.logits(images[:count]), expected, rtol=1e-4, atol=1e-4)


def test_batch_norm_is_folded_and_dropout_gone(graph: ModelProto) -> None:
    kinds = [node.op_type for node in graph.graph.node]
    assert kinds.count("Conv") == 3
    assert not {"BatchNormalization", "Dropout", "Identity"} & set(kinds)
    assert graph.opset_import[0].version == OPSET


def test_the_same_weights_give_the_same_bytes_in_silence(
    graph: ModelProto, source: torch.nn.Module, capfd: pytest.CaptureFixture[str]
) -> None:
    again = to_onnx(source, size=32)
    assert content(again, a="b") == content(graph, a="b")
    assert capfd.readouterr() == ("", "")


def test_no_path_and_no_trace_of_the_exporting_machine_stays(graph: ModelProto) -> None:
    stored = content(graph)
    for trace in (b"site-packages", b"stack_trace", b".py", b"namespace", b"/home", b"/tmp"):
        assert trace not in stored


def test_metadata_is_what_was_given_and_nothing_else(graph: ModelProto) -> None:
    changed = copy.deepcopy(graph)
    changed.metadata_props.add(key="stale", value="x")
    serialise(changed, metadata={"b": "2", "a": "1"})
    assert list(metadata(changed).items()) == [("a", "1"), ("b", "2")]


def test_the_model_is_left_as_it_was() -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 7, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()).train()
    model[0].bias.requires_grad_(False)
    to_onnx(model, size=8)
    assert model.training
    assert [parameter.requires_grad for parameter in model.parameters()] == [True, False]


def test_without_onnxscript_the_extra_is_named(source: torch.nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(MissingDependencyError, match=r"needs onnxscript, .*pip install 'skinaudit\[train\]'"):
        to_onnx(source, size=32)


def test_every_module_imports_without_torch_and_onnxruntime() -> None:
    code = (
        "import sys; sys.modules.update({'torch': None, 'onnxruntime': None, 'onnxscript': None})\n"
        "from skinaudit.export import calibration, export, parity, precision, to_onnx\n"
        "from skinaudit.engines import engine, onnx_graph, open, onnxruntime_\n"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (process.returncode, process.stderr) == (0, "")
