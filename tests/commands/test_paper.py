"""`skinaudit paper`: from stages to a page, resumed, cut short, and with a training that fails."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from skinaudit import cli
from skinaudit.artifacts.adversarial_set import open_set
from skinaudit.artifacts.study_folder import StudyFolder, StudyModel
from skinaudit.errors import InvalidInputError, TrainingDivergedError
from skinaudit.trainer.generate import attack_run
from skinaudit.trainer.study import schedule, work
from skinaudit.trainer.study.settings import SCALES, to_toml
from skinaudit.trainer.train import Training, set_plans

STANDARD = StudyModel("mobilenet", "paper", False, "lesion", 0)
HARDENED = StudyModel("mobilenet", "paper", True, "lesion", 0)


def copied_run(tiny_run: Path, training: Training, out: Path) -> None:
    """What a training would leave, of the tiny run, with the sets that it asks for."""
    shutil.copytree(tiny_run, out)
    attack_run(out, set_plans(training.threat_model, training.attacks))


@pytest.fixture
def study(tmp_path: Path, tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run the command on settings that fit the tiny run, whose copy stands for every training."""
    settings = replace(SCALES["tiny"], eps="4/255", attack_steps=2, splits=("lesion",))
    (tmp_path / "study.toml").write_text(to_toml(settings))
    arguments = ["paper", "--config", str(tmp_path / "study.toml"), "--out", str(tmp_path / "out"), "--threads", "1"]

    def train_run(dataset: object, training: Training, *, out: Path, resume: bool, report: object) -> None:
        copied_run(tiny_run, training, out)

    monkeypatch.setattr(work, "train_run", train_run)
    return lambda *further_arguments: CliRunner().invoke(cli.commands, [*arguments, *further_arguments])


def page_of(tmp_path: Path) -> tuple[str, dict[str, Any]]:
    folder = StudyFolder(tmp_path / "out")
    return folder.page.read_text(encoding="utf-8"), json.loads(folder.figures.read_text())


def test_a_whole_study_and_a_second_call_that_finds_nothing_to_do(
    study: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = study()
    assert outcome.exit_code == 0, outcome.output
    page, figures = page_of(tmp_path)
    folder = StudyFolder(tmp_path / "out")
    clean = open_set(folder.run(STANDARD).set_file("clean"))
    accuracy = 100 * float((clean.source_logits.argmax(1) == clean.labels).mean())
    (line,) = [
        line for line in page.splitlines() if line.startswith("| standard mobilenet | paper | split by lesions | 1 |")
    ]
    assert f"| {accuracy:.1f} [" in line
    assert "| 77.24 |" in line
    assert "SYNTHETIC images" in page
    # Both models are the same one, so a set of either is white-box for both and the answers have to agree.
    rows = {(row["attack"], row["crafted_on"] and row["crafted_on"]["hardened"]): row["figures"]
            for row in figures["rows"] if row["model"]["hardened"]}  # fmt: skip
    assert set(rows) == {("clean", None), *((attack, on) for attack in ("fgsm", "pgd") for on in (True, False)), *((attack, True) for attack in ("pgd-sample", "autoattack"))} | {("pgd-dlr", True)}  # fmt: skip  # noqa: E501
    assert rows["pgd", False] == rows["pgd", True]
    assert rows["autoattack", True]["images"] == rows["pgd-sample", True]["images"] == 8
    assert folder.plot.read_bytes().startswith(b"\x89PNG")
    assert figures["left"] == []

    monkeypatch.setattr(work, "train_run", None)  # calling it again would fail
    log = folder.log.read_text()
    assert study().exit_code == 0
    assert folder.log.read_text() == log


def test_a_study_that_is_cut_short_says_what_is_missing_and_goes_on(study: Callable[..., Result], tmp_path: Path) -> None:
    assert study("--only", "train").exit_code == 0
    cut = study("--minutes", "0.000001")
    assert cut.exit_code == 0
    assert "3 stages are left; repeat the command to go on" in cut.output
    page, figures = page_of(tmp_path)
    assert "**Not complete: 3 stages are left**" in page
    assert f"- autoattack {HARDENED.name}" in page
    assert len(figures["left"]) == 3


class PicklingPool:
    """Stands for the processes: takes what it is given as they would, and works here."""

    def submit(self, work: Callable[..., Any], *arguments: Any) -> Future[Any]:
        future: Future[Any] = Future()
        work, arguments = pickle.loads(pickle.dumps((work, arguments)))
        try:
            future.set_result(pickle.loads(pickle.dumps(work(*arguments))))
        except Exception as error:
            future.set_exception(pickle.loads(pickle.dumps(error)))
        return future


class TwoPartError(Exception):
    """Cannot be unpickled: it takes another number of arguments than it keeps."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")


def test_several_stages_at_once_are_the_same_study(
    study: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "_processes", lambda jobs: nullcontext(PicklingPool()))
    outcome = study("--jobs", "2", "--only", "train", "--only", "answer")
    assert outcome.exit_code == 0, outcome.output
    page, figures = page_of(tmp_path)
    assert figures["left"] == []
    assert "| hardened mobilenet | paper, split by lesions | PGD | standard mobilenet |" in page


def test_an_error_in_another_process_names_the_stage(study: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    def train_run(*positional: object, **named: object) -> None:
        raise TwoPartError("constraint", "violated")

    monkeypatch.setattr(work, "train_run", train_run)
    monkeypatch.setattr(schedule, "_processes", lambda jobs: nullcontext(PicklingPool()))
    failed = study("--jobs", "2").exception
    assert isinstance(failed, RuntimeError)
    assert str(failed) == f"train {STANDARD.name}: TwoPartError: constraint: violated"


def test_a_training_that_diverges_is_a_result(
    study: Callable[..., Result], tmp_path: Path, tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = []

    def train_run(dataset: object, training: Training, *, out: Path, **rest: object) -> None:
        names.append(out.name)
        if "hardened" in out.name:
            raise TrainingDivergedError("the loss became nan in epoch 1")
        copied_run(tiny_run, training, out)

    monkeypatch.setattr(work, "train_run", train_run)
    assert study("--only", "train").exit_code == 0
    page, figures = page_of(tmp_path)
    assert figures["left"] == []
    assert f"- train {HARDENED.name}: the loss became nan in epoch 1" in page
    assert study("--only", "train").exit_code == 0
    assert names == [STANDARD.name, HARDENED.name]  # neither is tried again


def test_other_settings_are_refused_but_more_seeds_are_not(study: Callable[..., Result], tmp_path: Path) -> None:
    assert study("--minutes", "0.000001").exit_code == 0
    with pytest.raises(InvalidInputError, match=r"belongs to a study with other settings; repeat them"):
        raise study("--minutes", "0.000001", "--eps", "8/255").exception or AssertionError
    assert study("--minutes", "0.000001", "--seeds", "2").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scale", "cpu"], "--data: name the folder of HAM10000, or `synthetic`"),
        (["--scale", "tiny", "--data", "x"], "--data x: the scale tiny has synthetic images"),
        (["--scale", "tiny", "--weights", "mobilenet"], "--weights mobilenet: write ARCH=FILE"),
    ],
)
def test_what_cannot_be_done_is_refused_at_once(arguments: list[str], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        raise CliRunner().invoke(cli.commands, ["paper", *arguments]).exception or AssertionError


def test_show_prints_the_settings_and_the_stages() -> None:
    text = CliRunner().invoke(cli.commands, ["paper", "--scale", "full", "--show"]).output
    assert 'scale = "full"' in text
    assert text.rstrip().splitlines()[-1].startswith("# autoattack")
