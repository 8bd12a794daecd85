"""Runtimes are found by their files, and a suffix is opened by one of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from skinaudit import engines
from skinaudit.audit.evidence.inputs import read_inputs
from skinaudit.engines.draft import draft_contract
from skinaudit.engines.open import LIBRARIES, RUNTIMES, runtime_of
from skinaudit.errors import EngineError


def test_every_file_whose_name_ends_in_an_underscore_is_a_runtime() -> None:
    files = {path.stem for path in Path(engines.__path__[0]).glob("*_.py")} - {"__init__"}
    assert {name.replace("-", "_") + "_" for name in RUNTIMES} == files
    assert {"onnxruntime", "openvino", "torch", "tensorrt"} <= set(LIBRARIES)


def test_of_the_runtimes_of_a_suffix_all_but_one_tell_their_files_by_the_content() -> None:
    """So that a file is opened by exactly one of them."""
    openers = {suffix for runtime in RUNTIMES.values() for suffix in runtime.by_default}
    for suffix in openers:
        fitting = [runtime for runtime in RUNTIMES.values() if suffix in runtime.by_default]
        assert sum(runtime.recognises is None for runtime in fitting) == 1, suffix
    assert {name for name, runtime in RUNTIMES.items() if runtime.recognises} == {"aotinductor", "tensorrt-rtx"}


@pytest.mark.parametrize(
    ("name", "runtime"),
    [("a.onnx", "onnxruntime"), ("a.xml", "openvino"), ("a.TFLITE", "openvino"), ("a.pt2", "pytorch")],
)
def test_a_file_is_opened_by_the_runtime_of_its_suffix(name: str, runtime: str) -> None:
    assert runtime_of(Path(name)) == runtime


def test_a_suffix_of_no_runtime_is_refused_with_what_there_is() -> None:
    with pytest.raises(EngineError, match=r"no runtime here opens \.jpg; supported: .*\.onnx"):
        runtime_of(Path("a.jpg"))


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("model.keras", "format='onnx'"),
        ("model.H5", "python -m tf2onnx.convert --keras model.h5 --output model.onnx"),
        ("saved_model.pb", "python -m tf2onnx.convert --saved-model FOLDER"),
        ("weights.pth", "torch.onnx.export"),
    ],
)
def test_a_file_of_a_training_library_is_told_how_it_becomes_onnx(tmp_path: Path, name: str, how: str) -> None:
    """From whichever side it comes: the engine, its audit or its contract."""
    path = tmp_path / name
    path.write_bytes(b"")
    for attempt in (runtime_of, draft_contract, lambda file: read_inputs(file, sets=None)):
        with pytest.raises(EngineError, match=re.escape(how)) as error:
            attempt(path)
        assert "\n" not in str(error.value)
