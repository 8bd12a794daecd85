"""Writes plain.xml and plain.bin: the small classifier of the fuzzers as OpenVINO keeps it. Run as a program."""

from __future__ import annotations

import tempfile
from pathlib import Path

import openvino

from skinaudit.tests.fuzz.readers import write_graph

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder) / "plain.onnx"
        write_graph(graph)
        model = openvino.convert_model(graph)
    openvino.save_model(model, Path(__file__).with_name("plain.xml"), compress_to_fp16=False)
