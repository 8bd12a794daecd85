from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from skinaudit.trainer.data.decode import Decoded, decode_file, decode_files, digest_copies, resize
from skinaudit.trainer.data.unreadable import Unreadable


def decoded(path: Path, *, size: int = 8) -> NDArray[np.uint8]:
    result = decode_file(path, size=size)
    assert isinstance(result, Decoded)
    return result.pixels


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
    np.testing.assert_array_equal(decoded(tmp_path / "a.png", size=16), pixels.transpose(2, 0, 1))


@pytest.mark.parametrize(("mode", "colour"), [("L", 90), ("RGBA", (90, 90, 90, 255))])
def test_other_8_bit_modes_become_rgb(tmp_path: Path, mode: str, colour: object) -> None:
    Image.new(mode, (20, 20), colour).save(tmp_path / "a.png")  # type: ignore[arg-type]
    pixels = decoded(tmp_path / "a.png")
    assert pixels.shape == (3, 8, 8)
    assert set(np.unique(pixels)) == {90}


def rgb_at(path: Path) -> tuple[int, ...]:
    """The colour of a flat picture."""
    pixels = decoded(path).reshape(3, -1)
    assert (pixels == pixels[:, :1]).all()
    return tuple(pixels[:, 0].tolist())


@pytest.mark.parametrize(
    ("mode", "colour", "file", "expected"),
    [
        ("1", 1, "a.png", (255, 255, 255)),
        ("LA", (90, 0), "a.png", (255, 255, 255)),
        ("LA", (90, 255), "a.png", (90, 90, 90)),
        ("RGBA", (200, 100, 0, 0), "a.png", (255, 255, 255)),
        ("RGBA", (200, 100, 0, 51), "a.webp", (244, 224, 204)),
        ("RGBA", (200, 100, 0, 51), "a.tif", (244, 224, 204)),
        ("CMYK", (0, 255, 255, 0), "a.tif", (255, 0, 0)),
        ("CMYK", (0, 255, 255, 0), "a.jpg", (254, 0, 0)),
        ("RGB", (10, 20, 30), "a.tiff", (10, 20, 30)),
    ],
)
def test_the_rule_of_conversion(tmp_path: Path, mode: str, colour: object, file: str, expected: tuple[int, ...]) -> None:
    Image.new(mode, (9, 7), colour).save(tmp_path / file, lossless=True)  # type: ignore[arg-type]
    assert np.abs(np.subtract(rgb_at(tmp_path / file), expected)).max() <= 1


def test_a_palette_is_looked_up_and_its_transparent_entry_is_white(tmp_path: Path) -> None:
    picture = Image.new("P", (2, 1))
    picture.putpalette([200, 10, 20, 40, 50, 60])
    picture.putdata([0, 1])
    picture.save(tmp_path / "a.png", transparency=1)
    first, second = decoded(tmp_path / "a.png").transpose(1, 2, 0)[4, [0, 7]].tolist()
    assert (first, second) == ([200, 10, 20], [255, 255, 255])


@pytest.mark.parametrize("file", ["a.png", "a.tif"])
@pytest.mark.parametrize(("value", "expected"), [(40000, 156), (0xFFFF, 255), (4096, 16)])
def test_of_16_bits_the_upper_8_count(tmp_path: Path, file: str, value: int, expected: int) -> None:
    Image.fromarray(np.full((20, 20), value, np.uint16)).save(tmp_path / file)
    assert rgb_at(tmp_path / file) == (expected,) * 3


def png_of_16_bit_colour(pixels: np.ndarray[Any, np.dtype[np.uint16]]) -> bytes:
    """A PNG as the format lays it down; Pillow writes no 16-bit colour."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_16_bit_colour_is_read_like_16_bit_grey(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png_of_16_bit_colour(np.full((8, 8, 3), (40000, 0xFFFF, 4096), np.uint16)))
    assert rgb_at(tmp_path / "a.png") == (156, 255, 16)


def test_16_bit_pixels_of_an_unstated_depth_are_refused(tmp_path: Path) -> None:
    """12 bits in 16, as microscopes write them, would be nearly black."""
    Image.fromarray(np.full((20, 20), 4095, np.uint16)).save(tmp_path / "grey.png")
    (tmp_path / "colour.png").write_bytes(png_of_16_bit_colour(np.full((8, 8, 3), 4095, np.uint16)))
    for name in ("grey.png", "colour.png"):
        result = decode_file(tmp_path / name, size=8)
        assert isinstance(result, Unreadable)
        assert "16-bit pixels that use less than 1/16 of their range" in result.reason


@pytest.mark.parametrize("mode", ["F", "I"])
def test_pixels_without_a_range_are_refused(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (20, 20), 3).save(tmp_path / "a.tif")
    reason = f"pixel format {mode}, expected 8-bit or 16-bit grey or colour"
    assert decode_file(tmp_path / "a.tif", size=8) == Unreadable(reason)


@pytest.mark.parametrize("file", ["a.tif", "a.webp", "a.png"])
def test_several_frames_are_refused(tmp_path: Path, file: str) -> None:
    frames = [Image.new("RGB", (20, 20), (value, 0, 0)) for value in (10, 200, 90)]
    frames[0].save(tmp_path / file, save_all=True, append_images=frames[1:], duration=100)
    assert decode_file(tmp_path / file, size=8) == Unreadable("3 frames, expected one picture")


def test_a_tiff_of_many_frames_is_not_walked_to_its_end(tmp_path: Path) -> None:
    frames = [Image.new("L", (2, 2), shade) for shade in range(120)]
    frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:])
    assert decode_file(tmp_path / "a.tif", size=8) == Unreadable("more than 100 frames, expected one picture")


def test_a_progressive_jpeg_of_many_scans_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    Image.effect_noise((40, 40), 50).save(tmp_path / "usual.jpg", progressive=True)
    usual = (tmp_path / "usual.jpg").read_bytes()
    assert isinstance(decode_file(tmp_path / "usual.jpg", size=8), Decoded)
    scan = usual[usual.rindex(b"\xff\xda") : -2]
    (tmp_path / "bomb.jpg").write_bytes(usual[:-2] + 200 * scan + usual[-2:])
    refused = decode_file(tmp_path / "bomb.jpg", size=8)
    assert isinstance(refused, Unreadable)
    assert refused.reason.startswith("more than 100 scans")


@pytest.mark.parametrize("tag", range(0, 10))
@pytest.mark.parametrize("file", ["a.jpg", "a.png", "a.tif", "a.webp"])
def test_orientation_tags_are_applied(tmp_path: Path, file: str, tag: int) -> None:
    """The stored pixels of each tag, as EXIF 2.3 (4.6.4) defines them, all show the same upright picture."""
    upright = np.zeros((16, 16, 3), np.uint8)
    upright[:8, :8], upright[:8, 8:] = (250, 0, 0), (0, 250, 0)
    stored = {
        2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1), 7: upright[::-1, ::-1].transpose(1, 0, 2), 8: np.rot90(upright, -1),
    }.get(tag, upright)  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = tag
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / file, exif=exif, quality=95, lossless=True)
    result = decode_file(tmp_path / file, size=16)
    assert isinstance(result, Decoded)
    assert result.turned == (tag in range(2, 9))
    assert np.abs(result.pixels.astype(int) - upright.transpose(2, 0, 1)).mean() < 6


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow warns of some of them when it opens a JPEG
@pytest.mark.parametrize("file", ["a.jpg", "a.png", "a.webp"])
@pytest.mark.parametrize(
    "exif",
    [
        b"garbage here",
        b"II*\0",
        b"II*\0\xff\xff\xff\xff",
        b"II*\0\x08\0\0\0\xff\xff\x12\x01\x03\0\xff\xff\xff\x7f\0\0\0\0",
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x02\0\0\x006\0\0\0\0\0\0\0",
    ],
    ids=["no-head", "short", "beyond-the-end", "many-entries", "text"],
)
def test_damaged_exif_data_make_no_picture_unreadable(tmp_path: Path, file: str, exif: bytes) -> None:
    Image.new("RGB", (16, 8), (200, 100, 50)).save(tmp_path / file, exif=b"Exif\0\0" + exif, lossless=True)
    result = decode_file(tmp_path / file, size=8)
    assert isinstance(result, Decoded)
    assert not result.turned


def test_the_content_tells_the_format_whatever_the_name(tmp_path: Path) -> None:
    Image.new("RGB", (20, 20), (10, 20, 30)).save(tmp_path / "a.jpg", format="TIFF")
    assert rgb_at(tmp_path / "a.jpg") == (10, 20, 30)
    Image.new("RGB", (20, 20)).save(tmp_path / "b.jpg", format="GIF")
    assert decode_file(tmp_path / "b.jpg", size=8) == Unreadable("not a JPEG, PNG, TIFF, WebP, BMP or DICOM picture")


def test_frames_of_equal_pixels_have_one_digest(tmp_path: Path) -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 8, 3), np.uint8))
    turned = Image.Exif()
    turned[0x0112] = 8
    picture.save(tmp_path / "a.png")
    picture.save(tmp_path / "b.tif")
    picture.transpose(Image.Transpose.ROTATE_270).save(tmp_path / "c.png", exif=turned.tobytes())
    picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "d.png")
    first, second, third, flipped = (decode_file(tmp_path / name, size=8) for name in ("a.png", "b.tif", "c.png", "d.png"))
    assert isinstance(first, Decoded)
    assert isinstance(second, Decoded)
    assert isinstance(third, Decoded)
    assert isinstance(flipped, Decoded)
    assert first.digest == second.digest
    assert first.digest != flipped.digest
    assert first.digest == third.digest


def test_huge_frame_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (100, 100)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert decode_file(tmp_path / "a.png", size=8) == Unreadable("more pixels than Pillow accepts")


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_every_truncation_is_noticed_or_harmless(tmp_path: Path, suffix: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(pixels).save(path)
    content = path.read_bytes()
    intact = decoded(path)
    noticed = 0
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        result = decode_file(path, size=8)
        if isinstance(result, Unreadable):
            noticed += 1
        else:
            np.testing.assert_array_equal(result.pixels, intact)
    assert noticed > 0.9 * len(content) / 7


def test_order_is_kept_over_threads_and_batches(tmp_path: Path) -> None:
    paths = []
    for number in range(256):
        paths.append(tmp_path / f"{number}.png")
        Image.new("RGB", (8, 8), (number, 0, 0)).save(paths[-1])
    paths = [*paths, *reversed(paths)]
    reds = [image.pixels[0, 0, 0] for image in decode_files(paths, size=8) if isinstance(image, Decoded)]
    assert reds == [*range(256), *reversed(range(256))]


def test_digest_of_copies(tmp_path: Path) -> None:
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / name).write_bytes(content)
    paths = [tmp_path / name for name in "abc"]
    equal_digest, different, absent = digest_copies([(paths[0], paths[1]), (paths[1], paths[2]), (tmp_path / "d",)])
    assert equal_digest == "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"
    assert isinstance(different, Unreadable)
    assert "2 files of this name that differ" in different.reason
    assert absent == Unreadable("no such file")
