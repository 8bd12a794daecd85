"""Where a training may write is settled before it spends any time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from skinaudit import cli
from skinaudit.commands.library.run_folders import check_latest, check_out, point_latest
from skinaudit.errors import InvalidInputError
from skinaudit.trainer import checkpoint
from skinaudit.trainer.data import load
from skinaudit.trainer.resuming import write_options


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def no_images(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("images were drawn before the folder was refused")

    monkeypatch.setattr(load, "load", fail)


def refusal(*arguments: str) -> str:
    result = CliRunner().invoke(cli.commands, arguments)
    assert isinstance(result.exception, InvalidInputError)
    return str(result.exception)


@pytest.mark.usefixtures("no_images")
@pytest.mark.parametrize("out", ["runs/latest", "./runs/../runs/latest/", "{folder}/runs/latest"])
@pytest.mark.parametrize("linked", [False, True])
def test_the_link_to_the_newest_run_is_no_place_for_a_run(folder: Path, out: str, linked: bool) -> None:
    if linked:
        point_latest(Path("runs/other"))
    message = refusal("train", "--out", out.format(folder=folder), "--resume")
    assert message.endswith("is the link to the newest run, which train sets itself; omit --out, or choose another folder")


@pytest.mark.usefixtures("folder", "no_images")
def test_a_link_that_could_not_be_set_after_the_training_is_said_before() -> None:
    Path("runs/latest").mkdir(parents=True)
    assert refusal("train").startswith("runs/latest: train sets a link of this name to the newest run")
    Path("runs/latest").rmdir()
    Path("runs").rmdir()
    Path("runs").write_bytes(b"")
    assert refusal("train", "--out", "elsewhere").startswith("runs: cannot be made or written (File exists), and train sets")


@pytest.mark.usefixtures("folder", "no_images")
def test_a_folder_of_other_files_is_refused_before_images_are_drawn() -> None:
    Path("photos").mkdir()
    Path("photos/holiday.jpg").write_bytes(b"")
    assert refusal("train", "--out", "photos") == (
        "photos: is not a run folder, because it contains holiday.jpg; choose a new folder for --out"
    )
    Path("runs/finished").mkdir(parents=True)
    Path("runs/finished/run.json").write_bytes(b"{}")
    assert refusal("train", "--out", "runs/finished").startswith("runs/finished: contains a finished run")


@pytest.mark.usefixtures("folder")
def test_a_link_that_leads_nowhere_any_more_is_replaced() -> None:
    point_latest(Path("runs/deleted"))
    check_out(Path("runs/new"))
    Path("runs/new").mkdir()
    point_latest(Path("runs/new"))
    assert Path("runs/latest").resolve() == Path("runs/new").resolve()


@pytest.mark.usefixtures("folder")
def test_without_a_run_the_advice_is_one_that_train_accepts() -> None:
    assert refusal("export") == (
        "no finished run here; train one with `skinaudit train`, or name the folder of a run, such as runs/hardened"
    )
    check_out(Path("runs/mobilenet-standard"))


def begin(name: str, *, at: int, sign: str = "checkpoint.safetensors") -> Path:
    """A training that has not ended; its last sign of life is at this time."""
    run = Path("runs") / name
    run.mkdir(parents=True)
    (run / sign).write_bytes(b"")
    os.utime(run / sign, (at, at))
    return run


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("command", ["export", "attack", "card"])
def test_where_only_an_interrupted_training_is_there_the_advice_continues_it(command: str) -> None:
    begin("older", at=1_000)
    begin("newer", at=2_000, sign=".training.lock")
    assert refusal(command) == (
        "no finished run here; there is runs/newer, but its training has not ended; continue it with `skinaudit train "
        "--resume --out runs/newer` and its options"
    )
    point_latest(Path("runs/deleted"))
    assert refusal(command).startswith("runs/latest: the run runs/deleted is gone; there is runs/newer, but")


@pytest.mark.usefixtures("folder")
def test_the_run_that_latest_is_and_a_newer_unfinished_one_are_said() -> None:
    finished, remarks = begin("done", at=2_000, sign="weights.safetensors"), list[str]()
    (finished / "run.json").write_bytes(b"{}")
    point_latest(finished)
    begin("earlier", at=1_000)
    check_latest(Path("runs/latest"), remark=remarks.append)
    check_latest(finished, remark=remarks.append)
    assert remarks == ["runs/latest is runs/done"]
    begin("later", at=3_000)
    check_latest(Path("runs/latest"), remark=remarks.append)
    assert remarks[2].startswith(
        "runs/later is newer, but its training has not ended; continue it with `skinaudit train --resume"
    )


def test_a_finished_folder_is_refused_before_torch_is_imported(folder: Path) -> None:
    Path("run").mkdir()
    Path("run/run.json").write_bytes(b"{}")
    program = (
        "import sys\nfrom click.testing import CliRunner\nfrom skinaudit import cli\n"
        "done = CliRunner().invoke(cli.commands, ['train', '--out', 'run', '--hardening', 'pgd'])\n"
        "print(done.exception, 'torch' in sys.modules)"
    )
    process = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True)
    assert process.stdout == "run: contains a finished run; choose another --out, or delete the folder False\n"


@pytest.mark.usefixtures("folder", "no_images")
def test_what_cannot_be_resumed_is_refused_before_images_are_read() -> None:
    run = Path("runs/mobilenet-standard")
    run.mkdir(parents=True)
    (run / "checkpoint.safetensors").write_bytes(b"cut")
    assert "not a readable checkpoint" in refusal("train", "--resume")
    checkpoint.save(run / "checkpoint.safetensors", {"a": torch.zeros(1)}, {})
    assert "images were drawn" in str(CliRunner().invoke(cli.commands, ["train", "--resume"]).exception)
    write_options(run, {"seed": 0, "size": 64, "recipe": {"epochs": 30, "batch": 32}})
    assert refusal("train", "--resume", "--epochs", "5", "--seed", "3", "--batch", "32") == (
        "runs/mobilenet-standard: this training was started with recipe epochs 30, not 5, seed 0, not 3; repeat its "
        "options, or choose another --out"
    )
    write_options(run, {"processes": 2})
    assert "was started with processes 2, not 1; repeat its options" in refusal("train", "--resume")
