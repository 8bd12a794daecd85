"""Progress off a terminal: silent while things go fast, then a line from time to time."""

from __future__ import annotations

import pytest

from skinaudit.commands.screen import FIRST_LINE, NEXT_LINE, bars, progress_lines


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_what_is_done_soon_is_silent_and_what_takes_longer_says_how_far_it_is() -> None:
    clock, said = Clock(), list[str]()
    line = progress_lines(said.append, clock=clock)
    training = line("training")
    training(0, 1200)
    clock.now += FIRST_LINE - 0.1
    training(100, 1200)
    assert said == []
    clock.now += 0.1
    training(250, 1200)
    assert said == ["training: 250 of 1,200 (21%), 50 images/s, 19 s left"]
    clock.now += NEXT_LINE - 0.1
    training(700, 1200)
    line("another part")(1, 2)
    assert len(said) == 1
    clock.now += 0.1
    training(1200, 1200)
    assert len(said) == 1, "what is complete needs no line"
    training(750, 1200)
    assert said[1:] == ["training: 750 of 1,200 (62%), 50 images/s, 9 s left"]


def test_a_part_that_goes_on_from_before_is_timed_from_where_it_went_on() -> None:
    clock, said = Clock(), list[str]()
    training = progress_lines(said.append, clock=clock)("training")
    training(100_000, 200_000)
    clock.now += 20
    training(100_200, 200_000)
    clock.now += 20
    training(100_400, 200_000)
    assert [text.partition("), ")[2] for text in said] == ["10 images/s, 2.8 h left", "10 images/s, 2.8 h left"]


def test_a_first_word_that_comes_late_has_no_rate_and_one_that_stands_still_neither() -> None:
    clock, said = Clock(), list[str]()
    line = progress_lines(said.append, clock=clock)
    clock.now += 60
    late = line("late")
    late(1, 4)
    clock.now += 60
    late(1, 4)
    assert said == ["late: 1 of 4 (25%)"] * 2


@pytest.mark.parametrize("stderr", [None, "piped"])
def test_without_a_terminal_and_without_a_standard_error_there_are_no_bars(
    stderr: str | None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if stderr is None:
        monkeypatch.setattr("sys.stderr", None)
    with bars() as bar:
        replaying = bar("replaying")
        assert replaying is not None
        replaying(1, 2)
        replaying(2, 2)
    assert capsys.readouterr().err == ""
