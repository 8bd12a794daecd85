"""Defences of the input: what each owes its caller, and values that are known."""

from __future__ import annotations

import numpy as np
import pytest

from skinaudit.engines import defences
from skinaudit.engines.defences import quilting
from skinaudit.engines.defended import defended
from skinaudit.errors import InvalidInputError

SIZE = 16
IMAGE = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE), dtype=np.uint8)
EXAMPLES = np.random.default_rng(1).integers(0, 256, (4, 3, SIZE, SIZE), dtype=np.uint8)
FLAT = np.full((3, SIZE, SIZE), 77, np.uint8)


@pytest.mark.parametrize("name", defences.names())
def test_it_returns_another_image_of_the_same_kind_and_repeats(name: str) -> None:
    defence = defences.parse(name, examples=EXAMPLES)
    before = IMAGE.copy()
    changed = defence.fixed(IMAGE, draw=0)
    assert (changed.shape, changed.dtype) == (IMAGE.shape, IMAGE.dtype)
    assert (changed != IMAGE).any()
    assert np.array_equal(IMAGE, before)
    assert np.array_equal(changed, defence.fixed(IMAGE, draw=0))
    assert np.array_equal(changed, defence.fixed(IMAGE, draw=1)) != defence.random


@pytest.mark.parametrize("name", defences.names())
def test_an_image_of_one_colour_stays_as_it_is(name: str) -> None:
    """Of quilting, where a training image has that colour."""
    defence = defences.parse(name, examples=np.stack([FLAT]))
    assert np.abs(defence.fixed(FLAT, draw=0).astype(int) - 77).max() <= 1


def test_quilting_finds_patches_of_its_own_training_image() -> None:
    """With every patch of the image in the library, the nearest ones put it together again."""
    defence = defences.parse("quilting:nearest=1,overlap=0,patch=4,patches=20000", examples=np.stack([IMAGE]))
    assert np.array_equal(defence.fixed(IMAGE, draw=0), IMAGE)


@pytest.mark.parametrize("patches", [20, 499, 500, 503, 2000])
def test_quilting_draws_from_the_nearest_patches_only(patches: int) -> None:
    """Each square is one of its ten nearest, by distances computed one after the other, and each of these is drawn."""
    settings = f"quilting:overlap=0,patch=4,nearest=10,patches={patches}"
    defence = defences.parse(settings, examples=EXAMPLES)
    library = quilting._squares(EXAMPLES, 4, patches)
    drawn = set()
    for draw in range(60):
        square = defence.fixed(IMAGE, draw=draw)[:, 4:8, 8:12].astype(float).ravel()
        apart = [
            float(np.square(IMAGE[:, 4:8, 8:12].astype(float).ravel() - other).sum()) for other in library.astype(float)
        ]
        number = next(number for number, other in enumerate(library) if np.array_equal(other, square))
        assert apart[number] <= sorted(apart)[9]
        drawn.add(apart[number])
    assert drawn == set(sorted(apart)[:10])


def test_quilting_with_other_training_images_uses_those() -> None:
    others = 255 - EXAMPLES
    images = [
        defences.parse("quilting", examples=examples).fixed(IMAGE, draw=0) for examples in (EXAMPLES, others, EXAMPLES)
    ]
    assert np.array_equal(images[0], images[2])
    assert not np.array_equal(images[0], images[1])


def test_the_factors_of_a_crop_are_the_crop() -> None:
    defence = defences.parse("crop-rescale:share=0.75")
    factors = defence.factors(SIZE, np.random.default_rng(5))
    assert factors is not None
    rows, columns = factors
    assert np.allclose(rows.sum(1), 1)
    by_factors = rows @ IMAGE.astype(np.float32) @ columns.T
    assert np.abs(by_factors - defence(IMAGE, np.random.default_rng(5))).max() <= 0.51
    assert defences.parse("jpeg").factors(SIZE, np.random.default_rng(5)) is None


def test_a_crop_of_all_is_the_image() -> None:
    assert np.array_equal(defences.parse("crop-rescale:share=1").fixed(IMAGE, draw=3), IMAGE)


def test_a_median_removes_a_single_outlier_and_a_mean_spreads_it() -> None:
    spiked = FLAT.copy()
    spiked[:, 8, 8] = 255
    assert np.array_equal(defences.parse("denoise").fixed(spiked, draw=0), FLAT)
    mean = defences.parse("denoise:kind=mean").fixed(spiked, draw=0)
    assert (mean[:, 7:10, 7:10] == round(77 + (255 - 77) / 9)).all()
    assert (defences.parse("denoise:kind=bilateral").fixed(spiked, draw=0)[:, 8, 8] > 200).all()


def test_deflection_without_wavelets_moves_that_many_pixels_at_most() -> None:
    moved = defences.parse("pixel-deflection:pixels=9,levels=0").fixed(IMAGE, draw=0)
    assert 0 < (moved != IMAGE).any(0).sum() <= 9


def test_wavelets_keep_a_clean_edge_and_weaken_noise() -> None:
    edge = np.zeros((3, SIZE, SIZE), np.uint8)
    edge[:, :, SIZE // 2 :] = 200
    smooth = defences.parse("pixel-deflection:pixels=0")
    assert np.abs(smooth.fixed(edge, draw=0).astype(int) - edge).max() <= 1
    noise = np.random.default_rng(2).normal(128, 12, edge.shape).clip(0, 255).astype(np.uint8)
    assert smooth.fixed(noise, draw=0).std() < 0.7 * noise.std()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("blur", "defence 'blur': choose one of crop-rescale, denoise, jpeg"),
        ("jpeg:quality=0", "quality 0: choose from 1 to 95"),
        ("jpeg:size=3", "no setting size; it has quality"),
        ("crop-rescale:share=1.5", "share 1.5: choose one above 0"),
        ("denoise:window=4", "an odd window from 3"),
        ("denoise:window=99", "an odd window from 3 to 15"),
        ("denoise:kind=best", "choose mean, median, bilateral"),
        ("pixel-deflection:window=0", "give a window from 1"),
        ("quilting:overlap=5", "overlap < patch"),
    ],
)
def test_what_makes_no_sense_is_refused(text: str, expected: str) -> None:
    with pytest.raises(InvalidInputError, match=expected):
        defences.parse(text, examples=EXAMPLES).fixed(IMAGE, draw=0)


def test_a_defended_model_answers_the_mean_over_its_draws_in_any_batch() -> None:
    images = np.stack([IMAGE, IMAGE[:, ::-1].copy()])

    def logits(batch: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        return batch.reshape(len(batch), -1)[:, :2].astype(np.float32)

    defence = defences.parse("crop-rescale")
    defended_logits = defended(logits, defence, 3, images)
    expected = np.mean([logits(np.stack([defence.fixed(IMAGE, draw=draw)])) for draw in range(3)], axis=0)
    assert np.allclose(defended_logits[:1], expected)
    assert np.allclose(defended_logits[1:], defended(logits, defence, 3, images[1:]))
