"""Progress off a terminal: silent while things go fast, then a line from time to time."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from skinaudit.commands.screen import FIRST_LINE, NEXT_LINE, bars, progress_lines, say_table
from skinaudit.commands.training import figures_table


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_what_is_done_soon_is_silent_and_what_takes_longer_says_how_far_it_is() -> None:
    clock, lines = Clock(), list[str]()
    line = progress_lines(lines.append, clock=clock)
    training = line("training")
    training(0, 1200)
    clock.now += FIRST_LINE - 0.1
    training(100, 1200)
    assert lines == []
    clock.now += 0.1
    training(250, 1200)
    assert lines == ["training: 250 of 1,200 (21%), 50 per second, 19 s left"]
    clock.now += NEXT_LINE - 0.1
    training(700, 1200)
    line("another part")(1, 2)
    assert len(lines) == 1
    clock.now += 0.1
    training(1200, 1200)
    assert len(lines) == 1, "what is complete needs no line"
    training(750, 1200)
    assert lines[1:] == ["training: 750 of 1,200 (62%), 50 per second, 9 s left"]


def test_a_part_that_goes_on_from_before_is_timed_from_where_it_went_on() -> None:
    clock, lines = Clock(), list[str]()
    training = progress_lines(lines.append, clock=clock)("training")
    training(100_000, 200_000)
    clock.now += 20
    training(100_200, 200_000)
    clock.now += 20
    training(100_400, 200_000)
    assert [text.partition("), ")[2] for text in lines] == ["10 per second, 2.8 h left", "10 per second, 2.8 h left"]


def test_a_slow_part_does_not_stand_at_zero() -> None:
    clock, lines = Clock(), list[str]()
    probing = progress_lines(lines.append, clock=clock)("probe")
    probing(0, 100)
    clock.now += 60
    probing(20, 100)
    assert lines == ["probe: 20 of 100 (20%), 0.3 per second, 4 min left"]


def test_a_first_word_that_comes_late_has_no_rate_and_one_that_stands_still_neither() -> None:
    clock, lines = Clock(), list[str]()
    line = progress_lines(lines.append, clock=clock)
    clock.now += 60
    late = line("late")
    late(1, 4)
    clock.now += 60
    late(1, 4)
    assert lines == ["late: 1 of 4 (25%)"] * 2


@pytest.mark.parametrize("stderr", [None, "piped"])
def test_without_a_terminal_and_without_a_standard_error_there_are_no_bars(
    stderr: str | None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if stderr is None:
        monkeypatch.setattr("sys.stderr", None)
    with bars() as make_bar:
        replaying = make_bar("replaying")
        assert replaying is not None
        replaying(1, 2)
        replaying(2, 2)
    assert capsys.readouterr().err == ""


def test_a_table_keeps_its_columns_and_no_name_moves_them(capsys: pytest.CaptureFixture[str]) -> None:
    say_table([("test set", "accuracy"), ("clean", "75.5%"), ("a" + " " * 90 + "PASS\x1b", "9.9%")])
    assert capsys.readouterr().out == "test set   accuracy\nclean         75.5%\na   PASS?      9.9%\n"


@pytest.mark.parametrize(
    ("malignant", "rows"),
    [
        (("mel",), [("test set", "accuracy", "balanced", "sensitivity to melanoma"), ("clean", "70.0%", "60.0%", "50.0%"),
                    ("always nv", "67.0%", "50.0%", "0.0%")]),
        ((), [("test set", "accuracy", "balanced"), ("clean", "70.0%", "60.0%"), ("always nv", "67.0%", "50.0%")]),
    ],
)  # fmt: skip
def test_the_last_table_of_a_training_has_a_column_only_for_what_was_measured(
    malignant: tuple[str, ...], rows: list[tuple[str, ...]]
) -> None:
    counts = {"mel": {"test": 1}, "nv": {"test": 2}, "bcc": {"test": 0}}
    figures = {"accuracy": 0.7, "balanced_accuracy": 0.6, **{f"sensitivity_{name}": 0.5 for name in malignant}}
    manifest = SimpleNamespace(
        contract=SimpleNamespace(malignant=("bcc", *malignant) if malignant else ()), results={"clean": figures},
        data={"counts": counts, "majority_class": "nv", "majority_share": 0.67},
    )  # fmt: skip
    assert figures_table(cast(Any, manifest)) == rows
