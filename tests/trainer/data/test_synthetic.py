from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from skinaudit.artifacts.contract import CLASSES
from skinaudit.errors import InvalidInputError, SkinauditError
from skinaudit.trainer.data.dataset import Dataset
from skinaudit.trainer.data.synthetic import generate
from skinaudit.trainer.data.synthetic.cues import CONFUSED_WITH, NAMES, TYPICAL, VARIANTS, Cues, draw_cues
from skinaudit.trainer.data.synthetic.parallel import draw
from skinaudit.trainer.data.synthetic.render import draw_image

# Images of HAM10000 by class, in the order of CLASSES: mel, nv, bcc, akiec, bkl, df, vasc.
HAM10000 = np.array([1113, 6705, 514, 327, 1099, 115, 142]) / 10015


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return generate(images=700, size=32, seed=3)


def test_equal_settings_give_equal_bytes() -> None:
    once, again = (generate(images=60, size=32, seed=3) for _ in range(2))
    assert again.digest == once.digest
    assert again.images.tobytes() == once.images.tobytes()
    assert again.ids == once.ids


def test_fewer_images_are_a_prefix(dataset: Dataset) -> None:
    fewer = generate(images=90, size=32, seed=3)
    np.testing.assert_array_equal(fewer.images, dataset.images[:90])
    np.testing.assert_array_equal(fewer.labels, dataset.labels[:90])
    np.testing.assert_array_equal(fewer.groups, dataset.groups[:90])
    assert fewer.ids == dataset.ids[:90]
    assert fewer.digest != dataset.digest


def test_another_seed_draws_other_lesions_of_the_same_classes(dataset: Dataset) -> None:
    redrawn = generate(images=40, size=32, seed=4)
    np.testing.assert_array_equal(redrawn.labels, dataset.labels[:40])
    assert (redrawn.images != dataset.images[:40]).mean(axis=(1, 2, 3)).min() > 0.5


@pytest.mark.parametrize("size", [28, 64, 128])
def test_another_size_shows_the_same_image(size: int) -> None:
    images = generate(images=4, size=2 * size, seed=0).images
    halved = images.reshape(4, 3, size, 2, size, 2).mean(axis=(3, 5))
    assert np.abs(halved - generate(images=4, size=size, seed=0).images).mean() < 6


def test_images_are_read_only_bytes_of_the_asked_shape(dataset: Dataset) -> None:
    assert dataset.images.dtype == np.uint8
    assert dataset.images.shape == (700, 3, 32, 32)
    assert dataset.labels.dtype == dataset.groups.dtype == np.int64
    assert len(dataset.ids) == len(set(dataset.ids)) == len(dataset) == 700
    assert dataset.synthetic
    assert dataset.title == "synthetic (procedural, seed 3, 700 images)"
    with pytest.raises(ValueError, match="read-only"):
        dataset.images[0] = 0


def test_images_are_neither_flat_nor_clipped_nor_repeated(dataset: Dataset) -> None:
    assert dataset.images.std(axis=(2, 3)).min() > 4
    centre = dataset.images[:, :, 8:24, 8:24]
    assert (centre == 255).mean() < 0.02
    assert len({image.tobytes() for image in dataset.images}) == 700


def test_class_shares_are_those_of_ham10000(dataset: Dataset) -> None:
    shares = np.bincount(dataset.labels, minlength=7) / len(dataset)
    np.testing.assert_allclose(shares, HAM10000, atol=0.01)
    images_per_lesion = len(dataset) / len(np.unique(dataset.groups))
    assert images_per_lesion == pytest.approx(10015 / 7470, abs=0.03)


def test_every_class_is_present_from_140_images_on() -> None:
    assert set(generate(images=140, size=16, seed=9).labels.tolist()) == set(range(7))


def test_views_of_a_lesion_share_its_label_and_are_neighbours(dataset: Dataset) -> None:
    assert set(np.diff(dataset.groups).tolist()) == {0, 1}
    for lesion in np.unique(dataset.groups):
        assert len(set(dataset.labels[dataset.groups == lesion].tolist())) == 1
    most_views = np.bincount(dataset.groups).max()
    assert 3 <= most_views <= 6


def test_progress_counts_to_the_end() -> None:
    calls: list[tuple[int, int]] = []
    generate(images=3, size=16, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("images", [2, 30, 31])
def test_several_processes_draw_the_same_images(images: int) -> None:
    apart = list(draw(images=images, size=16, seed=3, processes=3))
    np.testing.assert_array_equal(np.stack(apart), generate(images=images, size=16, seed=3).images)


def test_a_process_that_ends_early_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(SkinauditError, match="ended too early"):
        list(draw(images=10, size=16, seed=3, processes=2))


def test_a_python_that_prints_when_it_starts_does_not_change_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('welcome')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(SkinauditError, match="wrote more than its images"):
        list(draw(images=10, size=16, seed=3, processes=2))


@pytest.mark.parametrize("setting", [{"images": 0}, {"size": 8}, {"seed": -1}])
def test_unusable_settings_are_refused(setting: dict[str, int]) -> None:
    with pytest.raises(InvalidInputError, match="use images >= 1, size >= 16 and seed >= 0"):
        generate(**{"images": 2, "size": 16, "seed": 0, **setting})  # type: ignore[arg-type]


def test_cue_tables_name_known_cues_and_classes() -> None:
    assert tuple(TYPICAL) == CLASSES
    assert set(VARIANTS) == set(CONFUSED_WITH) == set(CLASSES)
    for name in CLASSES:
        rows = [TYPICAL[name], *(row for _, row in VARIANTS[name])]
        assert sum(share for share, _ in VARIANTS[name]) < 0.5
        for row in rows:
            assert set(row) <= set(NAMES)
            assert all(0 <= chance <= 1 and 0 <= low <= high for chance, low, high in row.values())
        assert name not in CONFUSED_WITH[name]


# Each cue must be visible: the same lesion drawn with and without it, everything random being equal.
@pytest.mark.parametrize("cue", [name for name in NAMES if name not in {"network_disorder", "softness"}])
def test_each_cue_changes_the_picture(cue: str) -> None:
    typical = draw_cues(CLASSES.index("nv"), np.random.default_rng(5))
    base = dataclasses.replace(typical, network=0.5, ring=0.0, globules=0.0, melanin=0.6, variegation=0.3, asymmetry=0.3)
    changed = dataclasses.replace(base, **{cue: getattr(base, cue) + 0.6})
    assert np.abs(_draw(changed) - _draw(base)).max() > 8


def _draw(cues: Cues) -> NDArray[np.float64]:
    image = draw_image(cues, geometry=np.random.default_rng(1), view=np.random.default_rng(2), size=32)
    return image.astype(np.float64)


def test_classes_are_learnable_but_not_given_away() -> None:
    """Nearest class mean (whitened) on the mean colours of four concentric zones, fitted and scored on different lesions."""
    data = generate(images=1400, size=16, seed=1)
    axis = (np.arange(16) + 0.5) / 8 - 1
    zone = np.digitize(np.hypot(axis, axis[:, None]), [0.35, 0.65, 0.95]).ravel()
    flat = data.images.reshape(len(data), 3, -1).astype(np.float64)
    features = np.concatenate([flat[:, :, zone == k].mean(axis=2) for k in range(4)], axis=1)
    fitted = data.groups % 2 == 0
    means = np.stack([features[fitted & (data.labels == c)].mean(axis=0) for c in range(7)])
    spread = features[fitted] - means[data.labels[fitted]]
    inverse = np.linalg.inv(spread.T @ spread / fitted.sum())
    offsets = features[~fitted][:, None] - means[None]
    guesses = np.einsum("ncf,fg,ncg->nc", offsets, inverse, offsets).argmin(axis=1)
    truth = data.labels[~fitted]
    balanced = np.mean([(guesses[truth == c] == c).mean() for c in range(7)])
    assert 0.4 < balanced < 0.9
