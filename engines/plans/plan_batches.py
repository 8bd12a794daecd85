"""Which batches a plan takes, and how any number of images is split into calls of such batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from skinaudit.engines.engine import BatchRange

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Profile:
    """One optimisation profile's shapes of the input, the batch first: the smallest, the usual and the largest."""

    smallest: Shape
    usual: Shape
    largest: Shape

    @property
    def batches(self) -> BatchRange:
        """The first side alone."""
        return BatchRange(self.smallest[0], self.usual[0], self.largest[0])

    def takes(self, sides: Shape) -> bool:
        """Whether images of these sides, the batch left out, fit."""
        limits = zip(self.smallest[1:], self.largest[1:], strict=True)
        return len(sides) == len(self.smallest) - 1 and all(
            low <= side <= high for side, (low, high) in zip(sides, limits, strict=True)
        )


@dataclass(frozen=True)
class Call:
    """One call: images `start` to `stop`, filled up to `batch` with copies of the last, under the profile of that number."""

    start: int
    stop: int
    batch: int
    profile: int


def calls(count: int, sides: Shape, profiles: Sequence[Profile]) -> Iterator[Call]:
    """Split `count` images into calls that the profiles take, as few as possible.

    Between several profiles that take a batch, the one whose usual batch is nearest runs it. Yields nothing if no profile
    takes images of these sides.
    """
    fitting = {number: profile.batches for number, profile in enumerate(profiles) if profile.takes(sides)}
    if not fitting:
        return
    largest = max(limits.largest for limits in fitting.values())
    start = 0
    while start < count:
        images = min(count - start, largest)
        batch = min(max(images, limits.smallest) for limits in fitting.values() if limits.largest >= images)
        able = {number: limits for number, limits in fitting.items() if limits.smallest <= batch <= limits.largest}
        chosen = min(able, key=lambda number: (abs(able[number].usual - batch), number))
        yield Call(start, start + images, batch, chosen)
        start += images


def unused(profiles: Sequence[Profile]) -> int:
    """How many profiles `calls` never chooses, whatever the number of images of the first profile's usual size."""
    if not profiles:
        return 0
    largest = max(profile.batches.largest for profile in profiles)
    sides = profiles[0].usual[1:]
    chosen = {call.profile for count in range(1, largest + 1) for call in calls(count, sides, profiles)}
    return len(profiles) - len(chosen)
