"""Pictures that unpack to more than they weigh, or claim more than they hold; bench/odd_inputs.py shows them to commands."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from skinaudit.bench.odd_parts.bombs import READ, REFUSED, grey, tiff
from skinaudit.trainer.data import bounds
from skinaudit.trainer.data.decode import Decoded, decode_file
from skinaudit.trainer.data.unreadable import Unreadable

LARGE = ("GB", "8,191", "16,383", "8,000", "10,000,000", "2^26", "9,000", "65,535 frames", "100,000", "300,000", "100 texts")
"""Words of inputs that take long to make."""


def light(names: dict[str, object]) -> list[str]:
    return [name for name in names if not any(word in name for word in LARGE)]


def read(path: Path, name: str, content: bytes) -> Decoded | Unreadable:
    if name.startswith("DICOM"):
        pytest.importorskip("pydicom", reason="pydicom is not installed: pip install 'skinaudit[dicom]'")
    path.write_bytes(content)
    return decode_file(path, size=8)


@pytest.mark.filterwarnings("ignore::UserWarning")  # of Pillow and pydicom
@pytest.mark.parametrize("name", light({**REFUSED}))
def test_a_bomb_is_unreadable_and_says_why(tmp_path: Path, name: str) -> None:
    picture = read(tmp_path / "a.png", name, REFUSED[name]())
    assert isinstance(picture, Unreadable)
    assert picture.reason.removeprefix("corrupt: ")


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", light({**READ}))
def test_an_odd_picture_is_read(tmp_path: Path, name: str) -> None:
    assert isinstance(read(tmp_path / "a.png", name, READ[name]()), Decoded)


def test_the_lists_of_further_frames_are_bounded_too(tmp_path: Path) -> None:
    """Pillow takes them apart when it counts the frames."""
    second = b"\1\0" + b"\x11\1\4\0" + (70_000).to_bytes(4, "little") + (500).to_bytes(4, "little") + bytes(4)
    content = tiff(grey(4, 4), following=400, body=bytes(100) + second)
    picture = read(tmp_path / "a.tif", "TIFF", content)
    assert picture == Unreadable("a tag of 70,000 numbers, more than 65,536")


@pytest.mark.parametrize("head", [b"MM\x00\x2a", b"MM\x2a\x00"])
def test_the_order_of_a_tiff_files_bytes_does_not_matter(tmp_path: Path, head: bytes) -> None:
    """Pillow takes the second one, too."""
    entry = b"\1\x11\0\4" + (70_000).to_bytes(4, "big") + bytes(4)
    picture = read(tmp_path / "a.tif", "TIFF", head + b"\0\0\0\x08\0\1" + entry + bytes(4))
    assert picture == Unreadable("a tag of 70,000 numbers, more than 65,536")


def test_a_tiff_directory_that_is_cut_off_is_named_as_corrupt(tmp_path: Path) -> None:
    picture = read(tmp_path / "a.tif", "TIFF", tiff(grey(4, 4), body=bytes(16), following=2**31))
    assert isinstance(picture, Unreadable)
    assert picture.reason.startswith("corrupt: ")


def test_large_pictures_are_decoded_one_at_a_time() -> None:
    inside, waited = threading.Event(), threading.Event()

    def second() -> None:
        inside.wait()
        with bounds.decoding(2**13, 2**13):
            waited.set()

    thread = threading.Thread(target=second)
    thread.start()
    with bounds.decoding(2**13, 2**13):
        inside.set()
        assert not waited.wait(0.05)
        with bounds.decoding(100, 100):  # a small one does not wait
            pass
    thread.join()
    assert waited.is_set()


@pytest.mark.parametrize(
    ("width", "height", "reason"),
    [
        (8192, 8192, ""),
        (8192, 8193, "more than 67,108,864 pixels"),
        (65_535, 1000, ""),
        (65_536, 1, "a side of more than 65,535 pixels"),
    ],
)
def test_the_bounds_of_a_picture(width: int, height: int, reason: str) -> None:
    assert bounds.too_large(width, height) == reason
