"""The script for machines with a GPU: what of it needs none really runs here, each part in a process of its own."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

import torch

import skinaudit.cli
from skinaudit.bench import gpu, libraries
from skinaudit.bench.gpu_parts import audits
from skinaudit.bench.gpu_parts.part import Answer, Keep, Settings
from skinaudit.bench.processes import code_within, run_for, running
from skinaudit.bench.throughput import EAGER, Opened, agreement, open_all, sets_of, throughput


@pytest.fixture(scope="module")
def run(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tiny run: the script builds engines into it."""
    return Path(shutil.copytree(tiny_run, tmp_path_factory.mktemp("gpu") / "run"))


def measured(run: Path, *parts: str, options: tuple[str, ...] = (), fails: int | None = None) -> tuple[str, dict[str, Any]]:
    """What the script writes, as Markdown and as JSON; fails: the exit code that it shall end with."""
    output = run / "results" / "gpu.md"
    arguments = [
        "--provider", "cpu", "--parts", *parts, "--formats", "onnx", "--batches", "1", "3", "--rounds", "1",
        "--threads", "1", "--no-compile", "--output", str(output),
    ]  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["gpu.py", str(run), *arguments, *options])
        if fails is None:
            gpu.main()
        else:
            with pytest.raises(SystemExit) as ended:
                gpu.main()
            assert ended.value.code == fails
    return output.read_text(), json.loads(output.with_suffix(".json").read_text())


KEPT: list[Answer] = []


@pytest.fixture(scope="module")
def built(run: Path) -> tuple[str, dict[str, Any]]:
    """The parts that build on one another, in this process: each of its own would import torch for seconds."""

    def here(name: str, settings: Settings, *, seconds: float) -> dict[str, Any]:
        assert seconds > 0
        return asdict(importlib.import_module(f"skinaudit.bench.gpu_parts.{name}").measure(settings, KEPT.append))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpu, "_in_a_process", here)
        options = ("--images", "140", "--size", "32", "--width", "0.25", "--attacked", "4", "--steps", "2")
        return measured(run, "rounding", "session", "builds", "epochs", "strong", "replays", "speed", options=options)


@pytest.mark.slow
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


@pytest.mark.slow
def test_trainings_and_attacks_are_timed(built: tuple[str, dict[str, Any]]) -> None:
    (speeds,) = built[1]["parts"]["epochs"]["figures"].values()
    assert {"plain loop, standard", "skinaudit, standard, fp32", "skinaudit, hardened, bf16"} <= set(speeds)
    assert all(speed["images_per_second"] > 0 for speed in speeds.values())
    attacks = built[1]["parts"]["strong"]["figures"]
    assert list(attacks) == ["pgd", "apgd-ce", "apgd-t", "autoattack", "pgd, evaluating"]
    assert all(0 <= value["robust_accuracy"] <= 1 and value["seconds"] > 0 for value in attacks.values())


@pytest.mark.slow
def test_the_source_model_is_compared_with_float64(built: tuple[str, dict[str, Any]]) -> None:
    figures = built[1]["parts"]["rounding"]["figures"]
    assert len(figures) == 3
    assert all(0 < value["largest_share"] < 1e-5 for value in figures.values())


@pytest.mark.slow
def test_what_needs_a_device_says_so(built: tuple[str, dict[str, Any]]) -> None:
    assert "Not run: it needs a CUDA device." in built[1]["parts"]["session"]["text"]


@pytest.mark.slow
def test_the_commands_run_as_a_user_types_them(run: Path) -> None:
    small = ("--images", "140", "--size", "32", "--width", "0.25", "--epochs", "1")
    _, content = measured(run, "training", options=small)
    figures = content["parts"]["training"]["figures"]
    assert figures["verdict"] in ("PASS", "FAIL", "INCONCLUSIVE")
    assert figures["equal"] == {"": {"weights": True, "sets": True}}
    assert len(figures["epochs"]) == 1


@pytest.mark.slow
def test_a_part_that_fails_or_hangs_loses_nothing_of_the_others(
    run: Path, built: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = gpu._in_a_process

    def hasty(name: str, settings: object, *, seconds: float) -> dict[str, Any]:
        return real(name, settings, seconds=0.2 if name == "speed" else seconds)

    monkeypatch.setattr(gpu, "_in_a_process", hasty)
    damaged = sets_of(run)[1].path
    content = damaged.read_bytes()
    damaged.write_bytes(content[:100])
    try:
        text, report = measured(run, "session", "replays", "speed", fails=1)
    finally:
        damaged.write_bytes(content)
    assert "Not run" in report["parts"]["session"]["text"]
    assert damaged.name in report["parts"]["replays"]["error"], report["parts"]
    assert report["parts"]["speed"]["error"] == "took too long"
    assert text.count("\nFailed: ") == 2
    assert [line.split(": ")[1] for line in capsys.readouterr().err.splitlines()[-2:]] == ["replays", "speed"]


def test_without_time_left_nothing_is_started(run: Path) -> None:
    _, content = measured(run, "speed", options=("--minutes", "0"), fails=1)
    assert content["parts"]["speed"] == {"error": "not started: the 0 minutes were over"}


def test_a_part_beside_the_others_is_collected_in_its_place(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU: it begins first, and what it kept is there even if its time ends."""
    events: list[str] = []

    @contextmanager
    def running(command: Sequence[str], *, output: Path) -> Iterator[str]:
        events.append(command[command.index("--only-part") + 1])
        output.write_text("compiling\n")
        Path(command[command.index("--answer") + 1]).write_text(json.dumps({"text": "one row", "figures": {"a": 1}}))
        yield "process"

    def within(process: str, *, seconds: float) -> None:
        assert process == "process"
        assert seconds > 0
        events.append("waited")

    monkeypatch.setattr(gpu, "running", running)
    monkeypatch.setattr(gpu, "code_within", within)
    monkeypatch.setattr(gpu, "_in_a_process", lambda name, *_, **__: events.append(name) or {"text": "", "seconds": 1.0})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "a GPU")
    text, content = measured(run, "session", "compiled", options=("--provider", "cuda"), fails=1)
    assert events == ["compiled", "session", "waited"]
    assert content["parts"]["compiled"]["error"] == "took too long"
    assert content["parts"]["compiled"]["log"] == "compiling\n"
    assert "Incomplete: took too long. This was measured before:\n\none row" in text


def test_a_process_beside_the_block_ends_with_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with running(["sh", "-c", "sleep 60 & echo $!; wait"], output=log) as process:
        assert code_within(process, seconds=0.3) is None
    assert not alive(int(log.read_text()))
    with running(["sh", "-c", "exit 5"], output=log) as process:
        assert code_within(process, seconds=20) == 5


def test_what_is_no_run_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        measured(tmp_path, "speed")
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def ended_with(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    """The exit code of the script."""
    monkeypatch.setattr(sys, "argv", ["gpu.py", *arguments])
    with pytest.raises(SystemExit) as ended:
        gpu.main()
    return ended.value.code


def test_without_the_gpu_it_refuses_and_writes_nothing(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    before = sorted(run.rglob("*"))
    assert ended_with(monkeypatch, str(run), "--parts", "session") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "torch finds no CUDA device here; --provider cpu" in error
    assert sorted(run.rglob("*")) == before


def test_the_page_lies_in_the_run_unless_told_otherwise(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended_with(monkeypatch, str(run), "--provider", "cpu", "--parts", "session", "--minutes", "0") == 1
    assert "gpu: session: not started: the 0 minutes were over" in capsys.readouterr().err
    assert (run / "gpu.md").is_file()
    assert json.loads((run / "gpu.json").read_text())["parts"]["session"]["error"].startswith("not started")
    for output in (run, run / "page.json"):
        assert ended_with(monkeypatch, str(run), "--provider", "cpu", "--output", str(output)) == 2
        assert "cannot be written; name another file, FILE.md, as --output" in capsys.readouterr().err


def test_the_library_that_attacks_need_is_named_beforehand_and_in_the_page(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(libraries, "_installed", lambda _: {})
    text, _ = measured(run, "attacks", fails=1)
    assert capsys.readouterr().err.startswith("attacks will be left out: .bench-peers: the peers are not installed")
    assert "Failed: not started: .bench-peers: the peers are not installed: python bench/libraries.py" in text
    assert ended_with(monkeypatch, "--help") == 0
    assert "bench/libraries.py" in capsys.readouterr().out


def test_what_a_part_had_kept_when_its_time_was_over_is_in_the_page(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def late(command: Sequence[str], *, seconds: float, output: Path) -> None:
        """The part's own process, in this one, which stops after the first row."""
        output.write_text("a line\n")
        target = Path(command[command.index("--answer") + 1])
        part_settings = Settings(**json.loads(command[command.index("--settings") + 1]))

        def first_row(settings: Settings, keep: Keep) -> Answer:
            keep(Answer("| the first row |\n", {"first": settings.rounds}))
            raise TimeoutError

        monkeypatch.setattr(importlib.import_module("skinaudit.bench.gpu_parts.speed"), "measure", first_row)
        monkeypatch.setattr("os._exit", lambda code: None)
        gpu._answer_one("speed", part_settings, target)

    monkeypatch.setattr(gpu, "run_for", late)
    text, content = measured(run, "speed", fails=1)
    assert "Incomplete: took too long. This was measured before:\n\n| the first row |\n" in text
    assert content["parts"]["speed"]["figures"] == {"first": 1}


@pytest.mark.slow
def test_every_part_keeps_its_rows_as_they_come_in(built: tuple[str, dict[str, Any]]) -> None:
    """The last that a part keeps is its answer."""
    texts = [answer.text for answer in KEPT]
    for name in ("rounding", "builds", "epochs", "strong", "replays", "speed"):
        assert built[1]["parts"][name]["text"] in texts
    assert len(set(texts)) > 8


def test_what_a_command_started_ends_with_it(tmp_path: Path) -> None:
    """A shell that starts another process and waits longer than it may."""
    log = tmp_path / "log"
    assert run_for(["sh", "-c", "sleep 60 & echo $!; wait"], seconds=0.5, output=log) is None
    assert not alive(int(log.read_text()))
    assert run_for(["sh", "-c", "sleep 60 & echo $!; exit 3"], seconds=20, output=log) == 3
    assert not alive(int(log.read_text()))


def alive(number: int) -> bool:
    """Whether this process still runs after a moment; one that ended and was not waited for does not."""
    for _ in range(100):
        state = subprocess.run(["ps", "-o", "stat=", "-p", str(number)], capture_output=True, text=True, check=False).stdout
        if not state.strip() or state.startswith("Z"):
            return False
        time.sleep(0.05)
    return True


def test_audits_give_their_reason_and_engines_that_do_not_open_theirs(
    exported_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Path(shutil.copytree(exported_run, tmp_path / "run"))
    opened, _ = open_all(run, provider="cpu", threads=1)
    cut = Opened("cut", run / "engines" / "absent.onnx", opened[0].engine, "fp32")

    def here(command: Sequence[str], **_: object) -> subprocess.CompletedProcess[str]:
        outcome = CliRunner().invoke(skinaudit.cli.commands, list(command[3:]))
        return subprocess.CompletedProcess(command, outcome.exit_code, outcome.stdout, str(outcome.exception))

    monkeypatch.setattr(audits, "open_all", lambda *_, **__: ((opened[0], cut), {"other.plan": "needs | a GPU"}))
    monkeypatch.setattr(audits.subprocess, "run", here)
    settings = Settings(
        run=str(run), provider="cpu", threads=1, batches=(1,), rounds=1, formats=(), data="", size=0, width=0, epochs=0,
        images=0, steps=0, attacked=0, compiled=False,
    )  # fmt: skip
    answer = audits.measure(settings, lambda _: None)
    rows = [line.strip("| ").split(" | ") for line in answer.text.splitlines()[2:]]
    assert rows[0] == ["other.plan", "not opened", "-", "needs / a GPU"]
    assert rows[1][1] in ("PASS", "FAIL", "INCONCLUSIVE")
    assert rows[1][3] == answer.figures[opened[0].path.name]["reason"][:300]
    assert len(rows[1][3]) > 10
    assert rows[2][1].startswith("exit code ")
    assert "absent.onnx" in rows[2][3]


@pytest.mark.slow
def test_what_an_engine_answers_is_compared_with_the_stored_source(run: Path, built: object) -> None:
    opened, _ = open_all(run, provider="cpu", threads=1)
    (fp32,) = (engine for engine in opened if engine.name == "onnxruntime fp32.onnx")
    for stored in sets_of(run):
        figures = agreement(fp32.engine, stored)
        assert figures.flips == 0
        assert figures.source == figures.engine == (stored.source_logits.argmax(1) == stored.labels).mean()


@pytest.mark.slow
def test_without_a_gpu_each_engine_is_left_out_with_its_reason(run: Path, built: object) -> None:
    opened, left_out = open_all(run, provider="cuda", threads=1)
    if not opened:
        assert len(left_out) == len(list((run / "engines").glob("*.json")))
        assert all("provider cuda was requested" in reason for reason in left_out.values())


def test_speeds_are_per_image() -> None:
    calls = []
    images = np.zeros((5, 3, 2, 2), np.uint8)
    speed = throughput(lambda batch: calls.append(len(batch)), images, rounds=1)
    assert speed.images_per_second > 0
    assert speed.preparing >= 0
    assert set(calls) == {5}
