from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skinaudit.trainer.data.decode import Unreadable, decode_file, decode_files, digest_copies, resize


def test_whole_frame_is_squashed_antialiased() -> None:
    """A checkerboard of single pixels has no detail left at a quarter of its side: antialiasing makes it grey."""
    board = np.indices((64, 128)).sum(0) % 2 * 255
    image = Image.fromarray(np.stack([board] * 3, -1).astype(np.uint8))
    inner = resize(image, size=16)[:, 2:-2, 2:-2].astype(int)
    assert inner.shape == (3, 12, 12)
    assert np.abs(inner - 127.5).max() < 3


def test_halves_stay_in_their_place() -> None:
    pixels = np.zeros((30, 40, 3), np.uint8)
    pixels[:, 20:, 0] = 200
    pixels[15:, :, 2] = 100
    red, green, blue = resize(Image.fromarray(pixels), size=10)
    assert red[:, :4].max() == 0
    assert red[:, 6:].min() == 200
    assert green.max() == 0
    assert blue[:4].max() == 0
    assert blue[6:].min() == 100


def test_fitting_image_is_unchanged(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(decode_file(tmp_path / "a.png", size=16), pixels.transpose(2, 0, 1))


@pytest.mark.parametrize(("mode", "colour"), [("L", 90), ("RGBA", (90, 90, 90, 255))])
def test_other_8_bit_modes_become_rgb(tmp_path: Path, mode: str, colour: object) -> None:
    Image.new(mode, (20, 20), colour).save(tmp_path / "a.png")  # type: ignore[arg-type]
    decoded = decode_file(tmp_path / "a.png", size=8)
    assert isinstance(decoded, np.ndarray)
    assert decoded.shape == (3, 8, 8)
    assert set(np.unique(decoded)) == {90}


def test_16_bit_image_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.full((20, 20), 40000, np.uint16)).save(tmp_path / "a.png")
    assert decode_file(tmp_path / "a.png", size=8) == Unreadable("pixel format I;16, expected 8-bit colour")


def test_other_formats_are_refused_whatever_their_name(tmp_path: Path) -> None:
    Image.new("RGB", (20, 20)).save(tmp_path / "a.jpg", format="TIFF")
    assert decode_file(tmp_path / "a.jpg", size=8) == Unreadable("not a JPEG or PNG image")


def test_huge_frame_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (100, 100)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert decode_file(tmp_path / "a.png", size=8) == Unreadable("more pixels than Pillow accepts")


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_every_truncation_is_noticed_or_harmless(tmp_path: Path, suffix: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(pixels).save(path)
    whole = path.read_bytes()
    intact = decode_file(path, size=8)
    noticed = 0
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        decoded = decode_file(path, size=8)
        if isinstance(decoded, Unreadable):
            noticed += 1
        else:
            np.testing.assert_array_equal(decoded, intact)
    assert noticed > 0.9 * len(whole) / 7


def test_order_is_kept_over_threads_and_batches(tmp_path: Path) -> None:
    paths = []
    for number in range(256):
        paths.append(tmp_path / f"{number}.png")
        Image.new("RGB", (8, 8), (number, 0, 0)).save(paths[-1])
    paths = [*paths, *reversed(paths)]
    reds = [image[0, 0, 0] for image in decode_files(paths, size=8) if not isinstance(image, Unreadable)]
    assert reds == [*range(256), *reversed(range(256))]


def test_digest_of_copies(tmp_path: Path) -> None:
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / name).write_bytes(content)
    paths = [tmp_path / name for name in "abc"]
    same, different, absent = digest_copies([(paths[0], paths[1]), (paths[1], paths[2]), (tmp_path / "d",)])
    assert same == "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"
    assert isinstance(different, Unreadable)
    assert "2 files of this name that differ" in different.reason
    assert absent == Unreadable("no such file")
