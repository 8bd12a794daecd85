"""Where a training may write is settled before it spends any time."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from skinaudit import cli
from skinaudit.commands.library.run_folders import check_out, point_latest
from skinaudit.errors import InvalidInputError
from skinaudit.trainer.data import load


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
    assert message.endswith("the link to the newest run, which train sets itself; leave --out away, or choose another")


@pytest.mark.usefixtures("folder", "no_images")
def test_a_link_that_could_not_be_set_after_the_training_is_said_before() -> None:
    Path("runs/latest").mkdir(parents=True)
    assert refusal("train").startswith("runs/latest: in the way of the link to the newest run")
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
    assert refusal("export").endswith("runs/latest: not a finished run (no run.json); make one with `skinaudit train`")
    check_out(Path("runs/mobilenet-standard"))
