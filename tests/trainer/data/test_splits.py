from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skinaudit.artifacts.contract import CLASSES, MALIGNANT
from skinaudit.errors import InvalidInputError
from skinaudit.trainer.data import splits
from skinaudit.trainer.data.dataset import Dataset, Split
from skinaudit.trainer.data.splits import SplitKind, lesion_split, official_split, paper_split, split

Make = Callable[..., Dataset]


def dataset_of(labels: list[int], groups: list[int]) -> Dataset:
    number = len(labels)
    return Dataset(
        images=np.zeros((number, 3, 1, 1), np.uint8),
        labels=np.array(labels),
        groups=np.array(groups),
        ids=tuple(map(str, range(number))),
        classes=CLASSES,
        malignant=MALIGNANT,
        title="test data",
        synthetic=False,
        digest="",
    )


def skewed(lesions: int, *, seed: int = 0) -> Dataset:
    """Lesions of one to six views in HAM10000's imbalance, in random order."""
    generator = np.random.default_rng(seed)
    label_of = np.concatenate(
        [np.repeat(np.arange(7), 3), generator.choice(7, lesions, p=[0.1, 0.67, 0.05, 0.03, 0.1, 0.02, 0.03])]
    )
    views = 1 + generator.geometric(0.7, len(label_of)).clip(1, 6) - 1
    groups = generator.permutation(np.repeat(np.arange(len(label_of)), views))
    return dataset_of(label_of[groups].tolist(), (groups * 3 + 5).tolist())


def check(dataset: Dataset, partition: Split) -> None:
    parts = (partition.train, partition.val, partition.test)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(dataset)))
    for part in parts:
        assert part.dtype == np.int64
        assert len(part)
        assert (np.diff(part) > 0).all()
    trained_lesions = set(dataset.groups[np.concatenate(parts[:2])].tolist())
    assert partition.leaked_lesions == len(trained_lesions & set(dataset.groups[partition.test].tolist()))


@pytest.mark.parametrize(
    ("lesions", "views", "malignant", "share"),
    [
        (9140, 1, 0, 0.1), (4570, 1, 0, 0.1), (2285, 1, 0, 0.2), (1828, 1, 0, 0.25), (1820, 1, 0, 0.1), (2285, 3, 0, 0.2),
        (4570, 1, 880, 0.1), (4570, 1, 550, 0.16), (4570, 2, 550, 0.16), (4570, 1, 340, 0.1),
    ],
)  # fmt: skip
def test_the_test_part_is_as_large_as_an_audit_needs(lesions: int, views: int, malignant: int, share: float) -> None:
    """457 effective lesions, 88 of them malignant, from a tenth to a quarter; views of one lesion add none."""
    groups = np.repeat(np.arange(lesions), views)
    labels = np.where(groups < malignant, CLASSES.index(MALIGNANT[0]), CLASSES.index("nv"))
    assert splits.test_fraction(groups, malignant=groups < malignant) == pytest.approx(share)
    partition = lesion_split(dataset_of(labels.tolist(), groups.tolist()), seed=0)
    assert len(partition.test) / len(labels) == pytest.approx(share, abs=0.01)
    assert len(partition.val) / len(labels) == pytest.approx(0.1, abs=0.01)


@settings(deadline=None)
@given(lesions=st.integers(0, 200), seed=st.integers(0, 1000))
def test_lesion_split_keeps_lesions_whole_and_every_class_everywhere(lesions: int, seed: int) -> None:
    dataset = skewed(lesions, seed=seed)
    partition = lesion_split(dataset, seed=seed)
    check(dataset, partition)
    assert partition.leaked_lesions == 0
    groups = [set(dataset.groups[part].tolist()) for part in (partition.train, partition.val, partition.test)]
    assert not groups[0] & groups[1]
    for part in (partition.train, partition.val, partition.test):
        assert set(dataset.labels[part].tolist()) == set(range(7))


def test_lesion_split_is_stratified_by_images() -> None:
    dataset = skewed(6000)
    partition = lesion_split(dataset, seed=0, fractions=(0.8, 0.1, 0.1))
    for label in range(7):
        total = (dataset.labels == label).sum()
        for part, fraction in ((partition.train, 0.8), (partition.val, 0.1), (partition.test, 0.1)):
            # A cut falls between two lesions: at most half of the largest (six views) off, on each side.
            assert abs((dataset.labels[part] == label).sum() - fraction * total) <= 6


def test_lesion_split_takes_other_fractions() -> None:
    dataset = skewed(3000)
    partition = lesion_split(dataset, seed=0, fractions=(0.5, 0.2, 0.3))
    shares = [len(part) / len(dataset) for part in (partition.train, partition.val, partition.test)]
    np.testing.assert_allclose(shares, (0.5, 0.2, 0.3), atol=0.005)


@pytest.mark.parametrize("fractions", [(0.01, 0.01, 0.98), (0.01, 0.98, 0.01), (0.98, 0.01, 0.01)])
def test_three_lesions_are_in_three_parts_whatever_the_fractions(fractions: tuple[float, float, float]) -> None:
    dataset = skewed(0)
    partition = lesion_split(dataset, seed=0, fractions=fractions)
    for part in (partition.train, partition.val, partition.test):
        assert len(np.unique(dataset.groups[part])) == 7
        assert set(dataset.labels[part].tolist()) == set(range(7))


@pytest.mark.parametrize("fractions", [(0.8, 0.2, 0.0), (0.8, 0.1, 0.2), (1.2, -0.1, -0.1)])
def test_lesion_split_refuses_fractions(fractions: tuple[float, float, float]) -> None:
    with pytest.raises(InvalidInputError, match="must be positive and sum to 1"):
        lesion_split(skewed(10), seed=0, fractions=fractions)


def test_class_of_one_or_two_lesions() -> None:
    """One lesion trains; of two, one trains and one tests."""
    labels = [0] * 10 + [1] * 2 + [2]
    dataset = dataset_of(labels, list(range(13)))
    partition = lesion_split(dataset, seed=0)
    check(dataset, partition)
    assert 12 in partition.train
    assert sorted(sum(index in part for index in (10, 11)) for part in (partition.train, partition.val, partition.test)) == [
        0,
        1,
        1,
    ]
    assert not {10, 11} & set(partition.val.tolist())


@pytest.mark.parametrize(
    ("number", "sizes"), [(10015, (8111, 902, 1002)), (9013, (7299, 812, 902)), (100, (81, 9, 10)), (7, (5, 1, 1))]
)
def test_paper_split_sizes(number: int, sizes: tuple[int, int, int]) -> None:
    dataset = dataset_of([index % 7 for index in range(number)], [index // 2 for index in range(number)])
    partition = paper_split(dataset, seed=0)
    check(dataset, partition)
    assert (len(partition.train), len(partition.val), len(partition.test)) == sizes


def test_paper_split_leaks_and_counts_it() -> None:
    """With two views each, a test lesion escapes only if its other view is tested too: about one in ten."""
    dataset = dataset_of([0] * 10000, [index // 2 for index in range(10000)])
    partition = paper_split(dataset, seed=0)
    tested = len(set(dataset.groups[partition.test].tolist()))
    assert 0.85 < partition.leaked_lesions / tested < 0.99


def test_paper_split_of_single_views_leaks_nothing() -> None:
    assert paper_split(dataset_of([0] * 500, list(range(500))), seed=0).leaked_lesions == 0


def test_official_split(make_dataset: Make) -> None:
    dataset = make_dataset([0, 1, 0, 1], [0, 1, 0, 2], official_split=np.array([0, 1, 2, 0]))
    partition = official_split(dataset)
    check(dataset, partition)
    assert (partition.train.tolist(), partition.val.tolist(), partition.test.tolist()) == ([0, 3], [1], [2])
    assert partition.leaked_lesions == 1


def test_official_split_where_there_is_none(make_dataset: Make) -> None:
    with pytest.raises(InvalidInputError, match="test data: has no split of its own; choose --split lesion"):
        official_split(make_dataset([0], [0]))


@pytest.mark.parametrize("kind", ["lesion", "paper"])
def test_seed_decides(kind: SplitKind) -> None:
    dataset = skewed(500)
    first, again, other_seed = (split(dataset, kind=kind, seed=seed) for seed in (1, 1, 2))
    for part in ("train", "val", "test"):
        np.testing.assert_array_equal(getattr(first, part), getattr(again, part))
    assert not np.array_equal(first.test, other_seed.test)
    with pytest.raises(InvalidInputError, match="seed -1: must be 0 or greater"):
        split(dataset, kind=kind, seed=-1)


def test_dispatch() -> None:
    dataset = skewed(100)
    np.testing.assert_array_equal(split(dataset, kind="lesion", seed=3).test, lesion_split(dataset, seed=3).test)
    np.testing.assert_array_equal(split(dataset, kind="paper", seed=3).test, paper_split(dataset, seed=3).test)
    with pytest.raises(InvalidInputError, match="has no split of its own"):
        split(dataset, kind="official", seed=3)


@pytest.mark.parametrize("kind", ["lesion", "paper"])
def test_too_few_images(kind: SplitKind) -> None:
    with pytest.raises(InvalidInputError, match=r"2 images of 2 lesions leave the \w+ part empty"):
        split(dataset_of([0, 1], [0, 1]), kind=kind, seed=0)


def test_images_that_stay_together_leave_parts_empty_however_many_they_are() -> None:
    dataset = dataset_of([0] * 20, [0] * 20)
    with pytest.raises(InvalidInputError, match=r"20 images of 1 lesion leave .* use images of more lesions"):
        split(dataset, kind="lesion", seed=0)
    of_one_patient = replace(dataset_of([0] * 20, list(range(20))), patients=np.zeros(20, np.int64))
    with pytest.raises(InvalidInputError, match=r"20 images of 1 patient leave .* use images of more patients"):
        split(of_one_patient, kind="lesion", seed=0)
