from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from skinaudit.artifacts.contract import CLASSES
from skinaudit.errors import InvalidInputError
from skinaudit.trainer.data.load import load
from skinaudit.trainer.data.splits import lesion_split, official_split

Arrays = dict[str, NDArray[Any]]
COUNTS = {"train": 21, "val": 7, "test": 14}


def arrays(*, side: int = 28) -> Arrays:
    """Labels run through the seven classes; red is ten times an image's MedMNIST label, green its number, so all differ."""
    content: Arrays = {}
    for part, count in COUNTS.items():
        labels = (np.arange(count) % 7).astype(np.uint8).reshape(-1, 1)
        images = np.full((count, side, side, 3), 7, np.uint8)
        images[..., 0] = 10 * labels[:, :, None]
        images[..., 1] = (len(content) * 20 + np.arange(count))[:, None, None]
        content |= {f"{part}_images": images, f"{part}_labels": labels}
    return content


def write(path: Path, content: Arrays) -> Path:
    np.savez_compressed(path, **content)  # type: ignore[arg-type]
    return path


def test_labels_are_mapped_to_our_order_and_parts_kept(tmp_path: Path) -> None:
    path = write(tmp_path / "dermamnist.npz", arrays())
    dataset = load(str(path), size=28, cache=tmp_path / "cache")
    theirs = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
    assert dataset.images.shape == (42, 3, 28, 28)
    for index in range(42):
        assert CLASSES[dataset.labels[index]] == theirs[dataset.images[index, 0, 0, 0] // 10]
        assert dataset.images[index, 2].min() == dataset.images[index, 2].max() == 7
    split = official_split(dataset)
    assert [len(part) for part in (split.train, split.val, split.test)] == [21, 7, 14]
    assert dataset.ids[split.val[0]] == "val/00000"
    assert len(np.unique(dataset.groups)) == 42
    assert dataset.title == "MedMNIST dermamnist, 28x28 (no lesion ids: each image is its own lesion)"
    assert lesion_split(dataset, seed=0).leaked_lesions == 0


def test_images_that_stand_in_several_parts_are_one_lesion_and_a_leak(tmp_path: Path) -> None:
    content = arrays()
    content["test_images"][:3] = content["train_images"][:3]
    path = write(tmp_path / "dermamnist.npz", content)
    for _ in range(2):
        dataset = load(str(path), size=28, cache=tmp_path / "cache")
        assert len(np.unique(dataset.groups)) == 39
        assert official_split(dataset).leaked_lesions == 3


@pytest.mark.parametrize("size", [14, 56])
def test_other_size_is_resized_and_the_title_says_so(tmp_path: Path, size: int) -> None:
    path = write(tmp_path / "dermamnist.npz", arrays())
    load(str(path), size=28, cache=tmp_path / "cache")
    dataset = load(str(path), size=size, cache=tmp_path / "cache")
    assert dataset.images.shape == (42, 3, size, size)
    assert dataset.title.endswith(f"resized to {size}x{size}")
    assert set(np.unique(dataset.images[:, 0])) == set(range(0, 70, 10))


def test_second_run_reads_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "dermamnist.npz", arrays())
    first = load(str(path), size=28, cache=tmp_path / "cache")
    monkeypatch.setattr("skinaudit.trainer.data.medmnist.read_images", None)
    second = load(str(path), size=28, cache=tmp_path / "cache")
    assert second.digest == first.digest
    np.testing.assert_array_equal(second.official_split, first.official_split)


def broken(kind: str) -> Arrays:
    content = arrays()
    match kind:
        case "key":
            del content["val_labels"]
        case "grey":
            content["val_images"] = content["val_images"][..., 0]
        case "float":
            content["train_images"] = content["train_images"] / np.float32(255)
        case "oblong":
            content["test_images"] = content["test_images"][:, :20]
        case "mixed":
            content["test_images"] = content["test_images"][:, :20, :20]
        case "empty":
            content["test_images"], content["test_labels"] = content["test_images"][:0], content["test_labels"][:0]
        case "short":
            content["test_labels"] = content["test_labels"][:-1]
        case "one-hot":
            content["test_labels"] = np.eye(7, dtype=np.uint8)[content["test_labels"][:, 0]]
        case "eight":
            content["train_labels"] = content["train_labels"] + np.uint8(1)
        case "negative":
            content["train_labels"] = content["train_labels"].astype(np.int8) - np.int8(1)
        case "pickle":
            content["train_labels"] = np.array([[{}]] * 21, dtype=object)
        case "class":
            for part in COUNTS:
                content[f"{part}_labels"] = content[f"{part}_labels"] % np.uint8(6)
    return content


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("key", "no val_labels; a MedMNIST file has it, this one has train_images, train_labels"),
        ("grey", "val_images is uint8 (7, 28, 28), expected uint8 (N, side, side, 3)"),
        ("float", "train_images is float32 (21, 28, 28, 3), expected uint8"),
        ("oblong", "test_images is uint8 (14, 20, 28, 3), expected uint8"),
        ("mixed", "the parts have images of different sizes [20, 28]"),
        ("empty", "test_images is empty (0, 28, 28, 3)"),
        ("short", "test_labels is uint8 (13, 1), expected whole numbers (14, 1)"),
        ("one-hot", "test_labels is uint8 (14, 7), expected whole numbers (14, 1)"),
        ("eight", "3 of train_labels lie outside 0 to 6, the first is 7; download it again"),
        ("negative", "3 of train_labels lie outside 0 to 6, the first is -1"),
        ("pickle", "train_labels is object (21, 1), expected whole numbers"),
        ("class", "no image of class vasc"),
    ],
)
def test_unusable_content(tmp_path: Path, kind: str, expected: str) -> None:
    path = write(tmp_path / "dermamnist.npz", broken(kind))
    with pytest.raises(InvalidInputError) as caught:
        load(str(path), size=28, cache=tmp_path / "cache")
    assert str(caught.value).startswith(f"{path}: {expected}")


def test_truncated_and_foreign_archives(tmp_path: Path) -> None:
    path = write(tmp_path / "some.npz", arrays())
    archive = path.read_bytes()
    for content in (archive[: len(archive) // 2], b"", b"\x93NUMPY"):
        path.write_bytes(content)
        with pytest.raises(InvalidInputError, match=r"train_images cannot be read .*; download it again"):
            load(str(path), size=28, cache=tmp_path / "cache")


def test_damaged_pixels_leave_no_cache_entry(tmp_path: Path) -> None:
    path = write(tmp_path / "some.npz", arrays())
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("test_images.npy")
    content = bytearray(path.read_bytes())
    content[info.header_offset + 60 + info.compress_size // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match="test_images cannot be read"):
        load(str(path), size=28, cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists() or not list((tmp_path / "cache").iterdir())


@pytest.mark.parametrize("key", ["train_images", "train_labels"])
def test_shape_that_lies_is_refused_before_anything_is_allocated(tmp_path: Path, key: str) -> None:
    path = write(tmp_path / "some.npz", {name: array for name, array in arrays().items() if name != key})
    header = io.BytesIO()
    shape = (10**12, 28, 28, 3) if key == "train_images" else (21 * 10**12, 1)
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{key}.npy", header.getvalue() + bytes(64))
    with pytest.raises(InvalidInputError, match=f"{key} is shorter or longer than its shape"):
        load(str(path), size=28, cache=tmp_path / "cache")


def test_zeros_that_pack_to_nothing_are_refused_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skinaudit.trainer.data.medmnist._LARGE", 1000)
    path = write(tmp_path / "some.npz", {name: array for name, array in arrays().items() if name != "train_images"})
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train_images.npy", bytes(10**6))
    with pytest.raises(InvalidInputError, match=r"unpacks from \d+ to 1,000,000 bytes, so it holds no photographs"):
        load(str(path), size=28, cache=tmp_path / "cache")


def test_a_header_that_claims_a_great_length_is_not_read(tmp_path: Path) -> None:
    path = write(tmp_path / "some.npz", {name: array for name, array in arrays().items() if name != "train_images"})
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train_images.npy", b"\x93NUMPY\x02\0" + (2**20).to_bytes(4, "little") + bytes(2**20))
    with pytest.raises(InvalidInputError, match=r"expected 1048576 bytes got 16372"):
        load(str(path), size=28, cache=tmp_path / "cache")


@pytest.mark.parametrize("header", ["{'descr': '|u1', (", "'" * 50, "\0" * 50, "(" * 50, "{'shape': (-1,)}"])
def test_a_header_of_any_text_is_refused(tmp_path: Path, header: str) -> None:
    path = write(tmp_path / "some.npz", {name: array for name, array in arrays().items() if name != "train_images"})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("train_images.npy", b"\x93NUMPY\x01\0" + len(header).to_bytes(2, "little") + header.encode())
    with pytest.raises(InvalidInputError, match=r"train_images cannot be read .*; download it again"):
        load(str(path), size=28, cache=tmp_path / "cache")
