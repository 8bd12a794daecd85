from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from skinaudit.artifacts.adversarial_set import open_set
from skinaudit.audit.evidence.answers import AnsweredSet
from skinaudit.audit.evidence.consistency import (
    Consistency,
    answer_later,
    answer_once_more,
    check_consistency,
    further_sizes,
    named_sizes,
    spread_over_classes,
)
from skinaudit.audit.evidence.reference import Control
from skinaudit.engines.engine import BatchRange, EngineDescription


def checked(tmp_path: Path, lab: SimpleNamespace, fault: str | None) -> Consistency:
    planted = lab.plant(tmp_path, images=100, settings={"fault": fault})
    consistency: Consistency = check_consistency(
        lab.LinearEngine(planted.engine), open_set(planted.run / "sets" / "clean.safetensors"), batch_size=64, seed=0
    )
    return consistency


@pytest.mark.parametrize("fault", [None, "scaled", "constant"])
def test_an_answer_that_hangs_on_its_image_alone(tmp_path: Path, lab: SimpleNamespace, fault: str | None) -> None:
    consistency = checked(tmp_path, lab, fault)
    assert consistency == Consistency(35, consistency.sizes, True, True, 0.0, 0, ())
    assert {*range(1, 9), 64, 129, 256} <= set(consistency.sizes)


def test_another_answer_when_run_again(tmp_path: Path, lab: SimpleNamespace) -> None:
    consistency = checked(tmp_path, lab, "restless")
    assert not consistency.repeats
    assert 0 < consistency.largest < 1e-3


@pytest.mark.parametrize("fault", ["rare", "noise"])
def test_an_answer_that_hangs_on_the_place_in_the_batch(tmp_path: Path, lab: SimpleNamespace, fault: str) -> None:
    consistency = checked(tmp_path, lab, fault)
    assert consistency.repeats
    assert not consistency.identical
    assert consistency.largest > 0.1
    assert consistency.flips > 0


Fault = Callable[[NDArray[np.float32]], NDArray[np.float32]]


class Plan:
    """Mean and largest pixel as logits, in batches of 1 to 128; `fault` changes what a batch is answered."""

    def __init__(self, fault: Fault, *, taken: BatchRange | None = None) -> None:
        self._fault = fault
        ranges = (taken or BatchRange(1, 32, 128),)
        self.description = EngineDescription("fake", "1", "cuda", "a GPU", 1, {}, 8, 2, batches=ranges)

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        assert len(images) <= self.description.batches[0].largest
        pixels = images.reshape(len(images), -1).astype(np.float32)
        return self._fault(np.stack([pixels.mean(axis=1), pixels[:, 0]], axis=1))


class OfAnyBatch(Plan):
    """The same without bounds."""

    def __init__(self, fault: Fault) -> None:
        self._fault = fault
        self.description = EngineDescription("fake", "1", "cpu", "a CPU", 1, {}, 8, 2)

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        pixels = images.reshape(len(images), -1).astype(np.float32)
        return self._fault(np.stack([pixels.mean(axis=1), pixels[:, 0]], axis=1))


def from_row(row: int) -> Fault:
    return lambda logits: np.where(np.arange(len(logits))[:, None] >= row, -logits, logits)


def where_many(low: int, high: int) -> Fault:
    return lambda logits: -logits if low <= len(logits) <= high else logits


@pytest.fixture
def noise(tmp_path: Path, lab: SimpleNamespace) -> Any:
    """A clean set of 100 images."""
    return open_set(lab.plant(tmp_path, images=100).run / "sets" / "clean.safetensors")


@pytest.mark.parametrize(
    "fault",
    [from_row(1), from_row(31), from_row(64), from_row(105), from_row(127), where_many(2, 6), where_many(8, 31),
     where_many(9, 15), where_many(65, 127), where_many(128, 128), where_many(33, 63)],
)  # fmt: skip
def test_every_row_and_range_of_batches_counts(noise: Any, fault: Fault) -> None:
    consistency = check_consistency(Plan(fault), noise, batch_size=64, seed=0)
    assert not consistency.identical
    assert consistency.largest > 0.1
    assert consistency.flips > 0
    honest = check_consistency(Plan(lambda logits: logits), noise, batch_size=64, seed=0)
    assert honest.identical


def test_a_fixed_batch_is_tried_with_every_image_in_several_rows(noise: Any) -> None:
    fixed = BatchRange(100, 100, 100)
    assert check_consistency(Plan(lambda logits: logits, taken=fixed), noise, batch_size=64, seed=0).sizes == (100,)
    assert not check_consistency(Plan(from_row(70), taken=fixed), noise, batch_size=64, seed=0).identical


def test_whole_sets_are_answered_in_the_largest_batch(noise: Any) -> None:
    """A fault that strikes few images, and none of those that are tried in every way."""

    def rare(logits: NDArray[np.float32]) -> NDArray[np.float32]:
        struck = (np.arange(len(logits)) == 99) & (len(logits) == 100)
        return np.where(struck[:, None], -logits, logits)

    engine = Plan(rare, taken=BatchRange(1, 32, 256))
    honest = np.concatenate([engine.logits(batch) for batch in noise.batches(64)])
    answered_set = AnsweredSet(noise, "clean", True, Control(False, ""), honest, None, 1.0, noise.group)
    before = check_consistency(engine, noise, batch_size=64, seed=0)
    consistency = answer_once_more(before, engine, [answered_set], batch_size=64)
    assert before.identical
    assert (consistency.whole, consistency.flips, consistency.identical) == (100, 1, False)
    assert answer_once_more(before, engine, [answered_set], batch_size=256) is before


def test_whole_sets_are_answered_singly_where_logits_move_with_the_batch(noise: Any) -> None:
    """Quantisation with ranges of the batch: logits move, and whether classes do has to be known of all images."""
    engine = OfAnyBatch(lambda logits: logits * (1 + 0.1 * (len(logits) > 1)))
    logits = np.concatenate([engine.logits(batch) for batch in noise.batches(64)])
    answered_set = AnsweredSet(noise, "clean", True, Control(False, ""), logits, None, 1.0, noise.group)
    consistency = answer_once_more(
        check_consistency(engine, noise, batch_size=64, seed=0), engine, [answered_set], batch_size=64
    )
    assert (consistency.whole, consistency.flips) == (100, 0)
    assert consistency.largest > 0.05
    steady = OfAnyBatch(lambda logits: logits)
    before = check_consistency(steady, noise, batch_size=64, seed=0)
    assert answer_once_more(before, steady, [answered_set], batch_size=64) is before


def test_rare_classes_are_among_the_images() -> None:
    labels = np.array([0] * 500 + [1] * 3 + [2] * 40)
    chosen = labels[spread_over_classes(labels, count=35)]
    assert np.bincount(chosen).tolist() == [16, 3, 16]
    assert spread_over_classes(labels[:4], count=35) == [0, 1, 2, 3]


def test_an_engine_that_takes_any_batch_gets_many_and_no_two_audits_the_same() -> None:
    assert named_sizes((), batch_size=64) == {1, 7, 64, 129}
    further = [further_sizes((), batch_size=64, side=64, generator=np.random.default_rng(seed)) for seed in range(20)]
    assert all({2, 3, 4, 5, 6, 33, 256} <= sizes and max(sizes) <= 256 for sizes in further)
    assert len(set(further)) > 15
    assert max(further_sizes((), batch_size=64, side=224, generator=np.random.default_rng(0))) <= 128  # memory


def test_no_batch_leaves_the_ranges_of_an_engine() -> None:
    ranges = (BatchRange(8, 16, 24),)
    assert named_sizes(ranges, batch_size=64) == {8, 16, 24}
    for seed in range(20):
        further = further_sizes(ranges, batch_size=64, side=64, generator=np.random.default_rng(seed))
        assert {9, 15, 17} >= {size for size in further if size in (7, 9, 15, 17, 25)} >= {9, 15}
        assert all(8 <= size <= 24 for size in further)


@pytest.mark.parametrize(("low", "high"), [(2, 6), (8, 31), (65, 127), (130, 10**6), (32, 32), (256, 256)])
def test_an_engine_of_any_batch_is_caught_at_unusual_ones(noise: Any, low: int, high: int) -> None:
    consistency = check_consistency(OfAnyBatch(where_many(low, high)), noise, batch_size=64, seed=0)
    assert not consistency.identical
    assert consistency.flips > 0


@pytest.mark.parametrize(("calls", "changed"), [(10**6, 0), (2, 100)])
def test_the_same_images_are_shown_again_at_the_end(noise: Any, calls: int, changed: int) -> None:
    """An engine that answers otherwise after some calls."""
    used = 0

    def worn(logits: NDArray[np.float32]) -> NDArray[np.float32]:
        nonlocal used
        used += 1
        return logits if used <= calls else -logits

    engine = OfAnyBatch(worn)
    honest = np.concatenate([engine.logits(batch) for batch in noise.batches(64)])
    answered_set = AnsweredSet(noise, "clean", True, Control(False, ""), honest, None, 1.0, noise.group)
    before = Consistency(35, (1,), True, True, 0.0, 0, ())
    consistency = answer_later(before, engine, [answered_set], batch_size=64, seed=0)
    assert consistency.later in (36, 64)
    assert consistency.later_changed == min(changed, consistency.later)
    assert (consistency.later_flips > 0) == (consistency.later_largest > 0.1) == bool(changed)
