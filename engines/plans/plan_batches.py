"""The batch sizes that a plan accepts, and how any number of images is split into such batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from skinaudit.engines.engine import BatchRange

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Profile:
    """Input shapes of one optimisation profile, batch first: smallest, usual and largest."""

    smallest: Shape
    usual: Shape
    largest: Shape

    @property
    def batches(self) -> BatchRange:
        """The batch sizes alone."""
        return BatchRange(self.smallest[0], self.usual[0], self.largest[0])

    def takes(self, sides: Shape) -> bool:
        """Whether images of these sides, without the batch, fit."""
        limits = zip(self.smallest[1:], self.largest[1:], strict=True)
        return len(sides) == len(self.smallest) - 1 and all(
            low <= side <= high for side, (low, high) in zip(sides, limits, strict=True)
        )


@dataclass(frozen=True)
class Call:
    """One call: images `start` to `stop`, padded to `batch` with copies of the last image, with profile number `profile`."""

    start: int
    stop: int
    batch: int
    profile: int


def calls(count: int, sides: Shape, profiles: Sequence[Profile]) -> Iterator[Call]:
    """Split `count` images into as few calls as possible, with batches that the profiles accept.

    If several profiles accept a batch, the one with the nearest usual batch runs it. Yields nothing if no profile accepts
    images of these sides.
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
    """Number of profiles that `calls` never chooses, for any number of images of the first profile's usual size."""
    if not profiles:
        return 0
    largest = max(profile.batches.largest for profile in profiles)
    sides = profiles[0].usual[1:]
    chosen = {call.profile for count in range(1, largest + 1) for call in calls(count, sides, profiles)}
    return len(profiles) - len(chosen)
