from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from skinaudit.export.rebuilds import Rebuilds, compare_builds


class Always:
    """An engine that answers every image with the classes of `answers`, in turn."""

    def __init__(self, answers: list[int]) -> None:
        self.answers = answers

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.eye(7, dtype=np.float32)[self.answers[: len(images)]]


class Clean:
    """Four black images."""

    def __len__(self) -> int:
        return 4

    def batches(self, size: int) -> Iterator[NDArray[np.uint8]]:
        yield np.zeros((4, 3, 2, 2), np.uint8)


@pytest.mark.parametrize(
    ("builds", "expected"),
    [
        ([(b"a", [0, 1, 2, 3])], Rebuilds(1, 1, 0, 4)),
        ([(b"a", [0, 1, 2, 3]), (b"a", [0, 1, 2, 3])], Rebuilds(2, 1, 0, 4)),
        ([(b"a", [0, 1, 2, 3]), (b"b", [0, 1, 2, 3]), (b"c", [0, 1, 2, 0])], Rebuilds(3, 3, 1, 4)),
        ([(b"a", [0, 1, 2, 3]), (b"b", [1, 1, 2, 3]), (b"c", [0, 1, 2, 0])], Rebuilds(3, 3, 2, 4)),
    ],
)
def test_files_and_the_most_flips_of_any_two(builds: list[tuple[bytes, list[int]]], expected: Rebuilds) -> None:
    built: Any = [(content, Always(answers)) for content, answers in builds]
    clean: Any = Clean()
    assert compare_builds(built, clean) == expected


def test_what_cannot_run_is_told_apart_by_its_bytes_alone() -> None:
    clean: Any = Clean()
    assert compare_builds([(b"a", None), (b"b", None), (b"a", None)], clean) == Rebuilds(3, 2, None, 4)
