"""When an image is given up: it is far from breaking, and neither the gradient nor the course so far promise enough."""

from __future__ import annotations

import pytest
import torch

from skinaudit.trainer.ascent.settling import by_ratio, by_smooth_lead


@pytest.mark.parametrize(
    ("smooth", "largest", "first", "gain", "expected"),
    [
        (-2.1, -2.2, -2.2, 1.0, True),
        (-1.9, -2.0, -2.5, 1.0, False),
        (-2.1, -2.2, -7.0, 1.0, False),  # misses less than half of what was gained
        (-20.1, -20.2, -20.2, 10.0, True),
        (0.5, -1.0, -1.5, 0.1, True),  # two wrong classes are about equal
        (0.5, -1.0, -1.5, 0.2, False),
        (0.5, -1.0, -2.5, 0.1, False),  # gained more than it misses
        (-3.0, -0.1, -0.2, 1.0, True),  # the present point is worse than an earlier one
        (0.5, 0.1, -0.5, 0.0, False),  # broken
        (1000.0, 1000.0, -1000.0, 0.0, False),
    ],
)
def test_when_an_image_settles(smooth: float, largest: float, first: float, gain: float, expected: bool) -> None:
    """For a share of 2."""
    values = (torch.tensor([value]) for value in (smooth, gain, first, largest))
    given, rise, start, best = values
    assert by_smooth_lead(given, rise, first=start, largest=best, share=2.0).tolist() == [expected]


@pytest.mark.parametrize(
    ("ratio", "largest", "first", "gain", "expected"),
    [
        (-0.9, -3.0, -4.0, 0.025, True),
        (-0.7, -3.0, -4.0, 0.025, False),  # 32 times the gain flips it
        (-0.9, -3.0, -7.0, 0.025, False),  # gained more than it misses
        (0.2, 0.5, -1.0, 0.0, False),  # broken
    ],
)
def test_when_an_image_settles_under_the_ratio(
    ratio: float, largest: float, first: float, gain: float, expected: bool
) -> None:
    """For a share of 2. The ratio has another unit than the margins."""
    given, rise, start, best = (torch.tensor([value]) for value in (ratio, gain, first, largest))
    assert by_ratio(given, rise, first=start, largest=best, share=2.0).tolist() == [expected]
