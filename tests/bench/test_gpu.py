"""The script for machines with a GPU: what of it needs none really runs here."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

from skinaudit.bench import gpu
from skinaudit.bench.throughput import EAGER, agreement, images_per_second, open_all, sets_of


@pytest.fixture(scope="module")
def measured(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A copy of the tiny run with its ONNX engines, and what the script prints of it."""
    run = Path(shutil.copytree(tiny_run, tmp_path_factory.mktemp("gpu") / "run"))
    output = run / "gpu.md"
    arguments = ["--provider", "cpu", "--formats", "onnx", "--batches", "1", "3", "--rounds", "1", "--threads", "1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["gpu.py", str(run), *arguments, "--no-compile", "--output", str(output)])
        gpu.main()
    return run, output.read_text()


def test_every_engine_is_built_compared_and_timed(measured: tuple[Path, str]) -> None:
    _, text = measured
    built, compared, timed = text.split("\n## ")[1:]
    for name in ("fp32.onnx", "fp16.onnx", "int8-u8s8.onnx"):
        assert f"| {name} |" in built
        assert compared.count(f"| onnxruntime {name} |") == 3
        assert f"| onnxruntime {name} |" in timed
    assert f"| {EAGER} | fp32 |" in timed
    assert "(1.00)" in timed


def test_what_an_engine_answers_is_compared_with_the_stored_source(measured: tuple[Path, str]) -> None:
    run, _ = measured
    opened, _ = open_all(run, provider="cpu", threads=1)
    (fp32,) = (one for one in opened if one.name == "onnxruntime fp32.onnx")
    for stored in sets_of(run):
        found = agreement(fp32.engine, stored)
        assert found.flips == 0
        assert found.source == found.engine == (stored.source_logits.argmax(1) == stored.labels).mean()


def test_without_a_gpu_each_engine_is_left_out_with_its_reason(measured: tuple[Path, str]) -> None:
    run, _ = measured
    opened, left_out = open_all(run, provider="cuda", threads=1)
    if not opened:
        assert len(left_out) == len(list((run / "engines").glob("*.json")))
        assert all("provider cuda was asked for" in reason for reason in left_out)


def test_speeds_are_per_image() -> None:
    calls = []
    images = np.zeros((5, 3, 2, 2), np.uint8)
    speeds = images_per_second({"sum": lambda batch: calls.append(len(batch))}, images, rounds=1)
    assert speeds["sum"] > 0
    assert set(calls) == {5}
