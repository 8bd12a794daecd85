"""Compare the speed of functions fairly on a machine that is never quite idle: in turns, and by medians."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Generic, TypeVar

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Timed(Generic[Answer]):
    """An answer with the seconds that it took."""

    answer: Answer
    seconds: float


Contestant = Callable[[int], Answer | Timed[Answer]]
"""Does the work once; its argument is the round's number, to seed from. One that works elsewhere measures its own time."""


@dataclass(frozen=True)
class Contest(Generic[Answer]):
    """What `interleaved` measured, by contestant: wall-clock seconds and answers, one a round that it took part in."""

    seconds: Mapping[str, tuple[float, ...]]
    answers: Mapping[str, tuple[Answer, ...]]

    def median(self, name: str) -> float:
        """Median seconds of a contestant."""
        return median(self.seconds[name])

    def fastest(self, *names: str) -> str:
        """The one of `names` with the smallest median."""
        return min(names, key=self.median)

    def ratio(self, slow: str, fast: str) -> float:
        """How many times as long `slow` takes as `fast`: the ratio of their medians."""
        return self.median(slow) / self.median(fast)


def interleaved(
    contestants: Mapping[str, Contestant[Answer]],
    *,
    rounds: int,
    rivals: frozenset[str] = frozenset(),
    cutoff: float = float("inf"),
    say: Callable[[str], None] = lambda _: None,
    clock: Callable[[], float] | None = None,
) -> Contest[Answer]:
    """Let all contestants work in turns, round after round, so that a slow minute of the machine hits all of them alike.

    Every other round runs in reverse order, so that nobody always follows the same neighbour. Warming up is the caller's,
    who knows a small piece of the work. Of the `rivals`, those that need more than `cutoff` times the fastest rival's time
    in the first round sit out the rest: which of them is fastest is known, and only that one matters. clock: in
    seconds; the wall clock's where None is given; those of the process's CPU where other programs keep the machine busy.
    """
    clock = clock or time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    answers: dict[str, list[Answer]] = {name: [] for name in contestants}
    staying = list(contestants)
    for number in range(rounds):
        for name in staying if number % 2 == 0 else reversed(staying):
            started = clock()
            answer = contestants[name](number)
            took = clock() - started
            seconds[name].append(answer.seconds if isinstance(answer, Timed) else took)
            answers[name].append(answer.answer if isinstance(answer, Timed) else answer)
            say(f"round {number + 1} of {rounds}: {name} {seconds[name][-1]:.2f} s")
        if number == 0 and rivals:
            limit = cutoff * min(seconds[name][0] for name in rivals)
            staying = [name for name in staying if name not in rivals or seconds[name][0] <= limit]
    return Contest(
        {name: tuple(values) for name, values in seconds.items()}, {name: tuple(values) for name, values in answers.items()}
    )
