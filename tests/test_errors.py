"""Errors of libraries in one line."""

from __future__ import annotations

from skinaudit.errors import in_one_line


def test_a_long_message_keeps_its_beginning_and_its_end() -> None:
    """As ONNX Runtime words a failure of CUDA: a signature in C++, then the cause."""
    text = in_one_line(RuntimeError("cuda_call.cc:154 " + "T" * 500 + "\n CUDA failure 999: unknown error"))
    assert text.startswith("RuntimeError: cuda_call.cc:154 T")
    assert text.endswith("T CUDA failure 999: unknown error")
    assert len(text) == 303
    assert in_one_line(KeyError("x")) == "KeyError: 'x'"
