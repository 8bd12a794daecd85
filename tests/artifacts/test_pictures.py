"""The record of a run's pictures: which they are, and how they look."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from skinaudit.artifacts import likeness
from skinaudit.artifacts.pictures import (
    PARTS,
    STATISTICS,
    measure,
    near_copies,
    pixel_digests,
    read_pictures,
    write_pictures,
)
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


def blurred(count: int, *, seed: int) -> np.ndarray:
    """Pictures of soft spots, 32 x 32."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 1, 8, 8)).astype(float)
    fine = coarse.repeat(4, axis=2).repeat(4, axis=3).repeat(3, axis=1)
    return fine.astype(np.uint8)


def test_near_copies_are_told_with_the_part_that_they_are_of(tmp_path: Path) -> None:
    pictures, path = blurred(60, seed=0), tmp_path / "pictures.safetensors"
    parts = [np.arange(40), np.arange(40, 50), np.arange(50, 60)]
    frames = np.tile(np.array([[600, 450]], np.int32), (60, 1))
    write_pictures(path, pictures, [f"image{index}" for index in range(60)], parts, seed=0, frames=frames)
    record = read_pictures(path)
    assert record.frames is not None
    assert record.frames.tolist() == [[600, 450]] * 40
    noise = np.random.default_rng(2).normal(0, 6, pictures.shape)
    edited = np.clip(pictures * 0.9 + noise, 0, 255).astype(np.uint8)[..., ::-1]
    unrelated = blurred(30, seed=1)
    steps: list[tuple[int, int]] = []
    images = np.concatenate([edited[[3, 45, 55]], unrelated])
    parts_of_copies = near_copies(images, record, (), progress=lambda part, whole: steps.append((part, whole)))
    assert steps == [(33, 33)]
    assert [PARTS[part] for part in parts_of_copies[:3]] == ["train", "val", "test"]
    assert (parts_of_copies[3:] == -1).all()

    tensors = load_file(path)
    save_file({name: tensors[name] for name in ("pixels", "names", "part", "statistics")}, path,
              metadata={"statistics": " ".join(STATISTICS)})  # fmt: skip
    earlier = read_pictures(path)
    assert (earlier.cells, earlier.frames) == (None, None)
    parts_of_copies = near_copies(edited[[3, 55]], earlier, iter([pictures[50:]]))
    assert parts_of_copies.tolist() == [-1, PARTS.index("test")]


def test_a_picture_is_moved_only_beside_the_recorded_ones_that_are_most_like_it(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded, compared = blurred(300, seed=0), []
    moved = likeness._moved

    def counting(*arguments: Any) -> Any:
        compared.append(len(arguments[2]))
        return moved(*arguments)

    monkeypatch.setattr(likeness, "ALIKE", -1.0)  # as if all pictures were alike, which drawings are
    monkeypatch.setattr(likeness, "_moved", counting)
    shifted = np.roll(recorded[[7, 200]], 1, axis=3)
    nearest = likeness.copied_from(
        likeness.reduced_luminance(shifted), likeness.cells_of(likeness.reduced_luminance(recorded))
    )
    assert nearest.tolist() == [7, 200]
    assert sum(compared) <= 8 * len(shifted)


@pytest.mark.parametrize(
    ("name", "value"),
    [("cells", np.zeros((9, 256), np.int8)), ("cells", np.zeros((10, 256), np.uint8)),
     ("frames", np.zeros((6, 2), np.int32)), ("frames", np.ones((5, 2), np.int32))],
)  # fmt: skip
def test_a_record_with_strange_cells_or_frames_is_refused(tmp_path: Path, name: str, value: np.ndarray) -> None:
    path = tmp_path / "pictures.safetensors"
    parts = [np.array([0, 3, 4, 7, 8, 9]), np.array([1]), np.array([2, 5, 6])]
    write_pictures(path, images(10), [str(index) for index in range(10)], parts, seed=0, frames=np.ones((10, 2), np.int32))
    save_file({**load_file(path), name: value}, path, metadata={"statistics": " ".join(STATISTICS)})
    with pytest.raises(InvalidInputError, match="not a record of pictures that this version can read"):
        read_pictures(path)
