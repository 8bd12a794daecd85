"""Whether a subgroup loses more than the rest of its set: a test by lesions that is valid for many subgroups at once.

Each image has d = +1 (only the source is right), -1 (only the engine is right) or 0. Let m be the mean of d over the set and
s the subgroup's share of the images. A subgroup's score adds up (d - m) * (1 - s) over its images and (d - m) * (-s) over
all others; the parts of each lesion are added first. If the subgroup loses as much as the rest, the mean of the score is 0,
and a lesion's part is equally likely to have either sign. So the signs of all lesions are flipped at random, FLIPS times,
and the score is compared with the scores of the flipped parts (Hemerik, Goeman and Finos, JRSS B 82 (2020) 841-864). The
test makes no assumption about the number of differing images in a subgroup, or about how images of one lesion agree.

One draw flips a lesion in all sets, figures and subgroups. The largest score of a draw, each divided by its standard error,
gives p-values adjusted for the number of tests, step by step (Westfall and Young, Resampling-Based Multiple Testing (1993),
2.6). So sets with the same images cost no power, and neither do subgroups without differences.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.lesions import effective_lesions
from skinaudit.artifacts.logits import Indices
from skinaudit.audit.figures.clinical import MALIGNANT_CALLS
from skinaudit.audit.figures.image_answers import unpack_numbers
from skinaudit.audit.figures.subgroups import ACCURACY, Excess, SubgroupColumn, SubgroupResult

FLIPS = 4_000
_AT_ONCE = 500
"""Number of flips in memory at the same time."""
_TIE = 1e-9
_Key = tuple[int, str, str, str]
"""Number of the set, column, value, figure."""


@dataclass(frozen=True)
class Answers:
    """Classes predicted by engine and source, int64 (N,), in one set; source is None if nothing was compared."""

    engine: Indices
    source: Indices | None


def with_excess(
    results: Sequence[tuple[SubgroupResult, ...]],
    answers: Sequence[Answers],
    columns: Sequence[SubgroupColumn],
    *,
    labels: Indices,
    groups: NDArray[np.int64],
    malignant: Sequence[int],
    judged: Callable[[str], bool],
    least: int,
) -> list[tuple[SubgroupResult, ...]]:
    """The subgroups of each set, with the excess of those that are tested.

    results: of each set, all with the same images. labels, groups (lesions): int64 (N,). judged: whether a column with this
    name is tested. least: smallest effective number of lesions in the subgroup and in the rest.
    """
    parts: dict[_Key, NDArray[np.float64]] = {}
    rests: dict[_Key, float] = {}
    ill, every = np.isin(labels, malignant), np.ones(len(labels), np.bool_)
    lesions = np.unique(groups, return_inverse=True)[1]
    members = {
        (column.name, value): unpack_numbers(column.of_images, images=len(labels), below=len(column.values) + 1) == number
        for column in columns
        if judged(column.name)
        for number, value in enumerate(column.values)
    }
    for index, answer in enumerate(answers):
        if answer.source is None:
            continue
        lost = {
            ACCURACY: (every, (answer.source == labels).astype(np.int64) - (answer.engine == labels)),
            MALIGNANT_CALLS: (ill, np.isin(answer.source, malignant).astype(np.int64) - np.isin(answer.engine, malignant)),
        }
        for (name, value), rows in members.items():
            for figure, (of_figure, difference) in lost.items():
                inside, outside = rows & of_figure, ~rows & of_figure
                if min(_effective_lesions(groups[inside]), _effective_lesions(groups[outside])) >= least:
                    key = (index, name, value, figure)
                    parts[key] = _score_by_lesion(difference, inside, of_figure, lesions)
                    rests[key] = float(difference[outside].mean())
    adjusted = dict(zip(parts, adjusted_p(list(parts.values())), strict=True))
    excess = {key: Excess(rests[key], adjusted[key]) for key in parts}
    return [tuple(_filled(result, index, excess) for result in of_set) for index, of_set in enumerate(results)]


def adjusted_p(parts: Sequence[NDArray[np.float64]], *, flips: int | None = None, seed: int = 0) -> tuple[float, ...]:
    """One-sided p-values of the sums of `parts`, each float64 (lesions,), adjusted for their number by flips of the lesions.

    flips: FLIPS by default. Lesions with the same parts are drawn together: the sum of their signs is binomial. The same
    seed gives the same p-values.
    """
    if not parts:
        return ()
    matrix = np.stack(parts, axis=1)
    scale = np.sqrt((matrix**2).sum(axis=0))
    matrix = np.divide(matrix, scale, out=np.zeros_like(matrix), where=scale > 0)
    kinds, lesions = np.unique(matrix[(matrix != 0).any(axis=1)], axis=0, return_counts=True)
    observed = lesions @ kinds
    order = np.argsort(observed, kind="stable")  # the weakest evidence first
    generator, at_least, flips = np.random.default_rng(seed), np.ones(len(parts)), flips or FLIPS
    for start in range(0, flips, _AT_ONCE):
        signs = 2.0 * generator.binomial(lesions, 0.5, (min(_AT_ONCE, flips - start), len(lesions))) - lesions
        largest = np.maximum.accumulate((signs @ kinds)[:, order], axis=1)
        at_least += (largest >= observed[order] - _TIE).sum(axis=0)
    stepped = np.maximum.accumulate(at_least[::-1])[::-1] / (flips + 1)
    adjusted = np.empty(len(parts))
    adjusted[order] = stepped
    return tuple(float(p) for p in adjusted)


def _score_by_lesion(
    difference: Indices, inside: NDArray[np.bool_], of_figure: NDArray[np.bool_], lesions: Indices
) -> NDArray[np.float64]:
    share, mean = inside.sum() / of_figure.sum(), difference[of_figure].mean()
    by_image = np.where(of_figure, (inside - share) * (difference - mean), 0.0)
    return np.bincount(lesions, weights=by_image).astype(np.float64)


def _effective_lesions(groups: NDArray[np.int64]) -> float:
    return effective_lesions(groups) if len(groups) else 0.0


def _filled(result: SubgroupResult, index: int, excess: dict[_Key, Excess]) -> SubgroupResult:
    accuracy = replace(result.accuracy, excess=excess.get((index, result.column, result.value, ACCURACY)))
    malignant = result.malignant
    if malignant is not None:
        malignant = replace(malignant, excess=excess.get((index, result.column, result.value, MALIGNANT_CALLS)))
    return replace(result, accuracy=accuracy, malignant=malignant)
