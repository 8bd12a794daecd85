"""Turns, medians and ratios."""

from __future__ import annotations

import pytest

from skinaudit.bench import timing


def test_contestants_work_in_turns_and_every_other_round_in_reverse() -> None:
    calls: list[tuple[str, int]] = []

    def worker(name: str) -> timing.Contestant[None]:
        return lambda number: calls.append((name, number))

    timing.interleaved({name: worker(name) for name in "abc"}, rounds=3)
    assert calls == [(name, number) for number, order in enumerate(("abc", "cba", "abc")) for name in order]


def test_answers_and_seconds_are_one_a_round() -> None:
    contest = timing.interleaved({"a": lambda number: number * 10, "b": lambda number: -number}, rounds=4)
    assert contest.answers == {"a": (0, 10, 20, 30), "b": (0, -1, -2, -3)}
    assert {name: len(values) for name, values in contest.seconds.items()} == {"a": 4, "b": 4}


def test_ratio_is_of_medians_so_that_one_slow_round_does_not_count() -> None:
    contest = timing.Contest({"slow": (4.0, 4.0, 400.0), "fast": (2.0, 200.0, 1.0)}, {"slow": (), "fast": ()})
    assert contest.median("slow") == 4.0
    assert contest.ratio("slow", "fast") == 2.0
    assert contest.fastest("slow", "fast") == "fast"


def test_slow_rivals_sit_out_after_the_first_round(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 0.0

    def worker(seconds: float) -> timing.Contestant[None]:
        def work(_: int) -> None:
            nonlocal clock
            clock += seconds

        return work

    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock)
    contest = timing.interleaved(
        {"ours": worker(1), "near": worker(11), "far": worker(20), "first": worker(10)},
        rounds=3,
        rivals=frozenset({"near", "far", "first"}),
        cutoff=1.5,
    )
    assert contest.seconds == {"ours": (1, 1, 1), "near": (11, 11, 11), "far": (20,), "first": (10, 10, 10)}
