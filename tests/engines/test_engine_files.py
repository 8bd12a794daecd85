from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from skinaudit.artifacts.files import digest_file
from skinaudit.engines.engine_files import digest_engine, weight_files
from skinaudit.engines.networks.of_onnx import network_of_file
from skinaudit.engines.onnxruntime_ import open_session
from skinaudit.errors import InvalidInputError


def with_external_data(path: Path) -> Path:
    weights = numpy_helper.from_array(np.arange(512, dtype=np.float32), "weights")
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [512]) for name in ("image", "logits")]
    graph = helper.make_graph(
        [helper.make_node("Add", ["image", "weights"], ["logits"])], "g", ports[:1], ports[1:], [weights]
    )
    onnx.save_model(
        helper.make_model(graph), str(path), save_as_external_data=True, location="model.onnx.data", size_threshold=0
    )
    return path


def test_other_weights_beside_the_graph_are_another_engine(tmp_path: Path) -> None:
    engine = with_external_data(tmp_path / "model.onnx")
    before, graph = digest_engine(engine), digest_file(engine)
    assert [file.name for file in weight_files(engine)] == ["model.onnx.data"]
    (tmp_path / "model.onnx.data").write_bytes(np.ones(512, np.float32).tobytes())
    assert digest_file(engine) == graph
    assert digest_engine(engine) != before


def test_a_weight_file_under_another_name_counts_too(tmp_path: Path) -> None:
    (tmp_path / "e.xml").write_text("<net/>")
    (tmp_path / "e.bin").write_bytes(b"one")
    before = digest_engine(tmp_path / "e.xml")
    (tmp_path / "e.bin").write_bytes(b"two")
    assert digest_engine(tmp_path / "e.xml") != before


def test_an_engine_of_one_file_keeps_the_digest_of_that_file(tmp_path: Path) -> None:
    path = tmp_path / "e.plan"
    path.write_bytes(b"plan")
    assert digest_engine(path) == digest_file(path)


@pytest.mark.parametrize("name", ["model.onnx.data", "e.bin"])
def test_a_missing_weight_file_is_named(tmp_path: Path, name: str) -> None:
    engine = with_external_data(tmp_path / "model.onnx") if name.startswith("model") else tmp_path / "e.xml"
    (tmp_path / "e.xml").write_text("<net/>")
    (tmp_path / name).unlink(missing_ok=True)
    with pytest.raises(InvalidInputError, match=name):
        digest_engine(engine)


@pytest.mark.parametrize("location", ["/etc/hostname", "../outside.data", "link.data", "pipe.data", ""])
def test_external_data_elsewhere_is_not_read(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    engine = with_external_data(folder / "model.onnx")
    (tmp_path / "outside.data").write_bytes(bytes(2048))
    (folder / "link.data").symlink_to(tmp_path / "outside.data")
    os.mkfifo(folder / "pipe.data")
    model = onnx.load(str(engine), load_external_data=False)
    (entry,) = (entry for entry in model.graph.initializer[0].external_data if entry.key == "location")
    entry.value = location
    engine.write_bytes(model.SerializeToString())
    for reader in (digest_engine, network_of_file, open_session):
        with pytest.raises(InvalidInputError, match=r"below its own folder|leads out of its folder|not a regular file"):
            reader(engine)
