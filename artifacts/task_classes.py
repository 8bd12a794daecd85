"""The classes by which an engine of another tool is judged. They map the columns of the engine to the classes of the
sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from skinaudit.errors import InvalidInputError, first_few


@dataclass(frozen=True)
class TaskClass:
    """One class of the task. columns: its columns of the engine; if there are several, the largest answer counts.

    members: the classes of the sets that it represents; empty for a column that is not used, where every answer is wrong.
    """

    name: str
    columns: tuple[int, ...]
    members: tuple[str, ...]


def task_classes(classes: Sequence[str], mapping: Mapping[str, Sequence[str]] | None) -> tuple[TaskClass, ...]:
    """The classes of the task in the order of the engine's columns.

    classes: of the columns. mapping: for each column the classes of the sets that it represents; None if they are the same.
    Columns that represent the same classes are one class of the task. Raises InvalidInputError if a column is missing or
    unknown, if it represents only a part of what another column represents, and if a single class remains.
    """
    if mapping is None:
        return tuple(TaskClass(name, (place,), (name,)) for place, name in enumerate(classes))
    lacking = [name for name in classes if name not in mapping]
    unknown = [name for name in mapping if name not in classes]
    if lacking:
        raise InvalidInputError(f"has no entry for column {first_few(lacking)}; give its classes, or [] if it is not used")
    if unknown:
        raise InvalidInputError(f"has {first_few(unknown)}, which is not a column; the columns are {first_few(classes)}")
    places: dict[tuple[str, ...], list[int]] = {}
    for place, name in enumerate(classes):
        key = tuple(dict.fromkeys(mapping[name])) or (name, "")  # an unused column is like no other
        same = next((known for known in places if set(known) == set(key)), key)
        places.setdefault(same, []).append(place)
    named: list[str] = [member for key in places if key[-1] for member in key]
    shared = sorted({member for member in named if named.count(member) > 1})
    if shared:
        raise InvalidInputError(
            f"puts {first_few(shared)} into several columns that have different classes; the engine cannot be judged with "
            "this mapping"
        )
    if sum(1 for key in places if key[-1]) < 2:
        raise InvalidInputError("leaves only one class of the sets, so there is nothing to classify")
    return tuple(
        TaskClass(" / ".join(classes[place] for place in columns), tuple(columns), key if key[-1] else ())
        for key, columns in places.items()
    )
