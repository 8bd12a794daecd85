"""Work that is measured with the settings of a command, in a fork."""

from __future__ import annotations

import os
import sys

import pytest
import torch

from skinaudit.bench.own_process import as_a_command
from skinaudit.bench.timing import Timed, interleaved
from skinaudit.errors import SkinauditError
from skinaudit.trainer import cpu


def test_the_work_sees_this_process_and_answers_from_another(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared: list[int] = []
    monkeypatch.setattr(cpu, "prepare", prepared.append)
    here, values = os.getpid(), torch.arange(3)
    there, total, seen = as_a_command(lambda: (os.getpid(), values.sum(), list(prepared)))
    assert there != here
    assert total == 3
    assert (seen, prepared) == ([1], [])


def test_what_the_work_raises_is_named() -> None:
    class LocalError(Exception):
        """One that pickle does not take."""

    def work() -> None:
        raise LocalError("no such attack")

    with pytest.raises(SkinauditError, match=r"(?s)in work\n.*LocalError: no such attack"):
        as_a_command(work)


def test_an_answer_that_pickle_does_not_take_is_an_error() -> None:
    with pytest.raises(SkinauditError, match="pickle"):
        as_a_command(lambda: lambda: 1)


def test_a_fork_that_dies_or_leaves_is_an_error() -> None:
    with pytest.raises(SkinauditError, match=r"died \(exit code 7\)"):
        as_a_command(lambda: os._exit(7))
    with pytest.raises(SkinauditError, match="SystemExit"):
        as_a_command(lambda: sys.exit(0))


def test_what_the_work_prints_is_seen(capfd: pytest.CaptureFixture[str]) -> None:
    as_a_command(lambda: print("measured"))
    assert "measured" in capfd.readouterr().out


def test_work_that_measures_itself_keeps_its_seconds() -> None:
    contest = interleaved({"apart": lambda number: Timed(number, 7.0), "here": lambda number: number}, rounds=2)
    assert contest.seconds["apart"] == (7.0, 7.0)
    assert contest.answers["apart"] == contest.answers["here"] == (0, 1)
    assert contest.seconds["here"][0] < 1
