from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from skinaudit.artifacts.files import digest_file
from skinaudit.errors import InvalidInputError
from skinaudit.export.calibration import BATCH, BatchReader, read_calibration

IMAGES = np.random.default_rng(0).integers(0, 256, (BATCH * 2 + 3, 3, 4, 4), dtype=np.uint8)


def test_images_are_read_back_with_their_digest(tmp_path: Path) -> None:
    path = tmp_path / "calibration.safetensors"
    save_file({"images": IMAGES}, path)
    calibration = read_calibration(path, size=4)
    assert np.array_equal(calibration.images, IMAGES)
    assert calibration.digest == digest_file(path)


def test_the_reader_yields_every_image_once_scaled_to_one() -> None:
    reader, batches = BatchReader(IMAGES, name="image"), []
    while (feed := reader.get_next()) is not None:
        assert list(feed) == ["image"]
        batches.append(feed["image"])
    assert [len(batch) for batch in batches] == [BATCH, BATCH, 3]
    pixels = np.concatenate(batches)
    assert pixels.dtype == np.float32
    assert np.array_equal(np.rint(pixels * 255).astype(np.uint8), IMAGES)
    assert pixels.max() <= 1


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"pixels": IMAGES}, "no such tensor"),
        ({"images": IMAGES.astype(np.float32)}, r"float32 \(67, 3, 4, 4\)"),
        ({"images": IMAGES[:0]}, r"uint8 \(0, 3, 4, 4\)"),
        ({"images": IMAGES[:, :1]}, r"uint8 \(67, 1, 4, 4\)"),
        ({"images": IMAGES[..., :2]}, r"uint8 \(67, 3, 4, 2\)"),
    ],
)
def test_other_content_is_refused(tmp_path: Path, tensors: dict[str, np.ndarray], message: str) -> None:
    path = tmp_path / "calibration.safetensors"
    save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, path)
    with pytest.raises(
        InvalidInputError, match=r"calibration\.safetensors: `images` must be uint8 \(M, 3, 4, 4\), found " + message
    ):
        read_calibration(path, size=4)


def test_missing_and_truncated_files_say_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "calibration.safetensors"
    with pytest.raises(InvalidInputError, match="no calibration images"):
        read_calibration(path, size=4)
    save_file({"images": IMAGES}, path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InvalidInputError, match="truncated or not a safetensors file"):
        read_calibration(path, size=4)
