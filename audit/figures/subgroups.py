"""Source and engine compared by subgroup: the images with one value of a column, such as sex female or age 40 to 59."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.logits import Indices
from skinaudit.artifacts.set_subgroups import Subgroups
from skinaudit.artifacts.typed_json import Count, Share
from skinaudit.audit.figures.clinical import MALIGNANT_CALLS
from skinaudit.audit.figures.image_answers import pack_numbers, unpack_numbers
from skinaudit.audit.figures.metrics import Hits
from skinaudit.audit.figures.statistics import Interval, PairedDrop, accuracy_interval, paired_drop

ACCURACY = "accuracy"
AGE = "age"
"""The column with ages in years; they are grouped into bands."""
BAND = 20
"""Years in a band."""
OLDEST = 120
"""Largest age in years; a larger value is not an age and stays unchanged."""
MOST = 60
"""Number of values of a column that are shown, the most frequent ones."""


@dataclass(frozen=True)
class SubgroupColumn:
    """The subgroup of each image in one column.

    values: sorted, ages as bands. of_images: for each image the number of its value, or len(values) if it is unknown or not
    among the MOST most frequent ones, packed by skinaudit.audit.figures.image_answers.
    """

    name: str
    values: tuple[str, ...]
    of_images: str


@dataclass(frozen=True)
class Excess:
    """How much more a subgroup loses than the rest of its set.

    rest: the drop of the rest, a fraction of 1. p_value: one-sided, against "it loses no more than the rest", adjusted for
    all subgroups, figures and sets that are judged (skinaudit.audit.figures.subgroup_excess).
    """

    rest: float
    p_value: Share


@dataclass(frozen=True)
class SubgroupShare:
    """Correct answers of engine and source to some images.

    `source` and `drop` are None if nothing was compared. `excess` is None if nothing is judged either, and in reports of
    earlier versions.
    """

    engine: Hits
    engine_interval: Interval
    source: Hits | None
    drop: PairedDrop | None
    excess: Excess | None = None


@dataclass(frozen=True)
class SubgroupResult:
    """One subgroup of one set. malignant: malignant images called malignant; None if the subgroup has no such image."""

    column: str
    value: str
    images: Count
    lesions: Count
    accuracy: SubgroupShare
    malignant: SubgroupShare | None

    @property
    def title(self) -> str:
        """For people: `skin type IV`, `age 40 to 59`."""
        return f"{self.column.replace('_', ' ')} {self.value}"

    @property
    def shares(self) -> Iterator[tuple[str, SubgroupShare]]:
        """The compared figures, by name."""
        yield ACCURACY, self.accuracy
        if self.malignant is not None:
            yield MALIGNANT_CALLS, self.malignant


def columns_of(subgroups: Subgroups) -> tuple[SubgroupColumn, ...]:
    """The columns of a set, sorted by name, without columns about which nothing is known."""
    columns = (_column(name, subgroups[name]) for name in sorted(subgroups))
    return tuple(column for column in columns if column.values)


def age_band(text: str) -> str:
    """Years as a band of BAND years: `45.0` -> `40 to 59`; another text unchanged."""
    try:
        years = float(text)
    except ValueError:
        return text
    if not 0 <= years <= OLDEST:
        return text
    low = int(years) // BAND * BAND
    return f"{low} to {low + BAND - 1}"


def subgroup_results(
    engine: Indices,
    source: Indices | None,
    columns: Sequence[SubgroupColumn],
    *,
    labels: Indices,
    groups: NDArray[np.int64],
    malignant: Sequence[int],
    confidence: float,
) -> tuple[SubgroupResult, ...]:
    """Every subgroup that has an image. engine, source, labels, groups (lesions): int64 (N,).

    malignant: labels of the malignant classes. confidence: of every interval, two-sided. Raises InvalidInputError if a
    column does not have N images.
    """
    ill = np.isin(labels, malignant)
    right = engine == labels, None if source is None else source == labels
    called = np.isin(engine, malignant), None if source is None else np.isin(source, malignant)
    results = []
    for column in columns:
        numbers = unpack_numbers(column.of_images, images=len(labels), below=len(column.values) + 1)
        for number, value in enumerate(column.values):
            rows = numbers == number
            if not rows.any():
                continue
            sick = rows & ill
            results.append(
                SubgroupResult(
                    column=column.name,
                    value=value,
                    images=int(rows.sum()),
                    lesions=len(np.unique(groups[rows])),
                    accuracy=_share(*right, rows, groups, confidence=confidence),
                    malignant=_share(*called, sick, groups, confidence=confidence) if sick.any() else None,
                )
            )
    return tuple(results)


def _share(
    engine: NDArray[np.bool_],
    source: NDArray[np.bool_] | None,
    rows: NDArray[np.bool_],
    groups: NDArray[np.int64],
    *,
    confidence: float,
) -> SubgroupShare:
    count = int(rows.sum())
    return SubgroupShare(
        engine=Hits(int(engine[rows].sum()), count),
        engine_interval=accuracy_interval(engine[rows], groups[rows], confidence=confidence),
        source=None if source is None else Hits(int(source[rows].sum()), count),
        drop=None if source is None else paired_drop(source[rows], engine[rows], groups[rows], confidence=confidence),
    )


def _column(name: str, texts: Sequence[str]) -> SubgroupColumn:
    values = [age_band(text) if name == AGE else text for text in texts]
    counts = Counter(value for value in values if value)
    frequent = sorted(counts, key=lambda value: (-counts[value], value))[:MOST]
    known = sorted(frequent, key=_order)
    numbers = {value: number for number, value in enumerate(known)}
    return SubgroupColumn(name, tuple(known), pack_numbers(np.array([numbers.get(value, len(known)) for value in values])))


def _order(value: str) -> tuple[float, str]:
    """A sort key: age bands by their years, before other texts."""
    start = value.split(" ")[0]
    return (float(start) if start.isdecimal() else float("inf"), value)
