"""The script for machines with a GPU: what of it needs none really runs here, each part in a process of its own."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

from skinaudit.bench import gpu
from skinaudit.bench.throughput import EAGER, agreement, images_per_second, open_all, sets_of


@pytest.fixture(scope="module")
def run(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tiny run: the script builds engines into it."""
    return Path(shutil.copytree(tiny_run, tmp_path_factory.mktemp("gpu") / "run"))


def measured(run: Path, *parts: str, more: tuple[str, ...] = ()) -> tuple[str, dict[str, Any]]:
    """What the script writes, as Markdown and as JSON."""
    output = run / "results" / "gpu.md"
    arguments = [
        "--provider", "cpu", "--parts", *parts, "--formats", "onnx", "--batches", "1", "3", "--rounds", "1",
        "--threads", "1", "--no-compile", "--output", str(output),
    ]  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["gpu.py", str(run), *arguments, *more])
        gpu.main()
    return output.read_text(), json.loads(output.with_suffix(".json").read_text())


@pytest.fixture(scope="module")
def built(run: Path) -> tuple[str, dict[str, Any]]:
    return measured(run, "rounding", "session", "builds", "replays", "speed")


def test_every_engine_is_built_compared_and_timed(built: tuple[str, dict[str, Any]]) -> None:
    text, content = built
    sections = {title.splitlines()[0]: title for title in text.split("\n## ")[1:]}
    for name in ("fp32.onnx", "fp16.onnx", "int8-u8s8.onnx"):
        assert f"| {name} |" in sections["Built"]
        assert f"| onnxruntime {name} |" in sections["Images per second (times torch eager)"]
        assert len(content["parts"]["replays"]["figures"][f"onnxruntime {name}"]["sets"]) == 3
        assert content["parts"]["replays"]["figures"][f"onnxruntime {name}"]["consistency"]["repeats"]
    assert f"| {EAGER} | fp32 |" in text
    assert "(1.00)" in text
    assert not any("error" in part for part in content["parts"].values())


def test_the_source_model_is_compared_with_float64(built: tuple[str, dict[str, Any]]) -> None:
    figures = built[1]["parts"]["rounding"]["figures"]
    assert len(figures) == 3
    assert all(0 < one["largest_share"] < 1e-5 for one in figures.values())


def test_what_needs_a_device_says_so(built: tuple[str, dict[str, Any]]) -> None:
    assert "Not run: it needs a CUDA device." in built[1]["parts"]["session"]["text"]


def test_the_commands_run_as_a_user_types_them(run: Path) -> None:
    small = ("--images", "140", "--size", "32", "--width", "0.25", "--epochs", "1")
    _, content = measured(run, "training", more=small)
    figures = content["parts"]["training"]["figures"]
    assert figures["verdict"] in ("PASS", "FAIL", "INCONCLUSIVE")
    assert figures["equal"] == {"weights": True, "sets": True}
    assert len(figures["epochs"]) == 1


def test_a_part_that_fails_or_hangs_loses_nothing_of_the_others(
    run: Path, built: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = gpu._in_a_process

    def hasty(name: str, settings: object, *, seconds: float) -> dict[str, Any]:
        return real(name, settings, seconds=0.2 if name == "speed" else seconds)

    monkeypatch.setattr(gpu, "_in_a_process", hasty)
    damaged = sets_of(run)[1].path
    content = damaged.read_bytes()
    damaged.write_bytes(content[:100])
    try:
        text, found = measured(run, "session", "replays", "speed")
    finally:
        damaged.write_bytes(content)
    assert "Not run" in found["parts"]["session"]["text"]
    assert damaged.name in found["parts"]["replays"]["error"], found["parts"]
    assert found["parts"]["speed"]["error"] == "took too long"
    assert text.count("\nFailed: ") == 2


def test_without_time_left_nothing_is_started(run: Path) -> None:
    _, content = measured(run, "speed", more=("--minutes", "0"))
    assert content["parts"]["speed"] == {"error": "not started: the 0 minutes were over"}


def test_what_is_no_run_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        measured(tmp_path, "speed")
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_what_an_engine_answers_is_compared_with_the_stored_source(run: Path, built: object) -> None:
    opened, _ = open_all(run, provider="cpu", threads=1)
    (fp32,) = (one for one in opened if one.name == "onnxruntime fp32.onnx")
    for stored in sets_of(run):
        found = agreement(fp32.engine, stored)
        assert found.flips == 0
        assert found.source == found.engine == (stored.source_logits.argmax(1) == stored.labels).mean()


def test_without_a_gpu_each_engine_is_left_out_with_its_reason(run: Path, built: object) -> None:
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
