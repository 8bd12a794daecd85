"""The record of a run's pictures: which they are, and how they look."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from skinaudit.artifacts.pictures import STATISTICS, measure, pixel_digests, read_pictures, write_pictures
from skinaudit.errors import InvalidInputError


def images(count: int, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 3, 16, 16), dtype=np.uint8)


def test_a_record_knows_each_picture_and_its_part(tmp_path: Path) -> None:
    pictures, path = images(10), tmp_path / "pictures.safetensors"
    parts = [np.array([0, 3, 4, 7, 8, 9]), np.array([1]), np.array([2, 5, 6])]
    write_pictures(path, pictures, [f"image{index}" for index in range(10)], parts, seed=0)
    record = read_pictures(path)
    assert set(record.those_of("test")) == set(pixel_digests(pictures[[2, 5, 6]]))
    assert set(record.those_of("train", "val")) == set(pixel_digests(pictures[[0, 1, 3, 4, 7, 8, 9]]))
    assert not np.isin(pixel_digests(images(5, seed=1)), record.pixels).any()
    assert record.statistics.shape == (6, len(STATISTICS))
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(InvalidInputError, match="restore it or train again"):
        read_pictures(path)


def test_statistics_are_what_they_are_called() -> None:
    plain = np.full((1, 3, 16, 16), 100, np.uint8)
    plain[:, 0] = 160
    plain[:, :, :2, :2] = plain[:, :, :2, -2:] = plain[:, :, -2:, :2] = plain[:, :, -2:, -2:] = 0
    red, green, blue, contrast, saturation, sharpness, vignette = measure(plain)[0]
    assert (red, green, blue) == (160 * 240 / 256, 100 * 240 / 256, 100 * 240 / 256)
    assert (saturation, vignette) == (60 * 240 / 256, 120)
    assert contrast > 0
    assert sharpness > 0
