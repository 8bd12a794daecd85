from __future__ import annotations

import pytest

from skinaudit.artifacts.task_classes import TaskClass, task_classes
from skinaudit.errors import InvalidInputError


def test_without_a_mapping_each_column_is_a_class() -> None:
    assert task_classes(("b", "a"), None) == (TaskClass("b", (0,), ("b",)), TaskClass("a", (1,), ("a",)))


def test_columns_are_grouped_with_the_classes_that_they_stand_for() -> None:
    mapping = {"ill": ("mel", "bcc"), "none": (), "well": ("nv",), "too ill": ("bcc", "mel"), "dust": ()}
    assert task_classes(("none", "ill", "well", "too ill", "dust"), mapping) == (
        TaskClass("none", (0,), ()),
        TaskClass("ill / too ill", (1, 3), ("mel", "bcc")),
        TaskClass("well", (2,), ("nv",)),
        TaskClass("dust", (4,), ()),
    )


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"a": ("x",)}, r"has no entry for column b; give its classes, or \[\] if it is not used"),
        ({"a": ("x",), "b": ("y",), "c": ()}, "has c, which is not a column; the columns are a, b"),
        ({"a": ("x", "y"), "b": ()}, "leaves only one class of the sets"),
        ({"a": ("x", "y"), "b": ("y",)}, "puts y into several columns that have different classes"),
    ],
)
def test_a_partial_or_contradictory_mapping_is_refused(mapping: dict[str, tuple[str, ...]], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        task_classes(("a", "b"), mapping)
