from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skinaudit.errors import InvalidInputError
from skinaudit.trainer.data.load import load
from skinaudit.trainer.data.splits import split, usual_split


def tree(folder: Path, *paths: str) -> Path:
    for number, path in enumerate(paths):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 9), (10 * number, 0, 0)).save(folder / path)
    return folder


def test_folders_are_classes(tmp_path: Path) -> None:
    folder = tree(tmp_path / "set", "nevus/1.jpg", "melanoma/1.jpg", "melanoma/._1.jpg", "__MACOSX/1.jpg")
    dataset = load(str(folder), size=8, cache=tmp_path / "cache")
    assert (dataset.classes, dataset.malignant) == (("melanoma", "nevus"), ())
    assert dataset.ids == ("melanoma/1.jpg", "nevus/1.jpg")
    assert dataset.labels.tolist() == [0, 1]
    assert dataset.title == "set (folders, no lesion ids: each image is its own lesion)"
    assert usual_split(dataset) == "lesion"


def test_bitmaps_are_read_and_a_format_that_is_not_is_named(tmp_path: Path) -> None:
    folder = tree(tmp_path / "set", "a/1.bmp", "b/1.BMP")
    assert load(str(folder), size=8, cache=tmp_path / "cache").ids == ("a/1.bmp", "b/1.BMP")
    for name in ("b/2.HEIC", "b/._2.HEIC", "Thumbs.db"):
        (folder / name).write_bytes(b"x")
    with pytest.raises(InvalidInputError, match=r"1 unusable image: b/2.HEIC \(2.HEIC: this format is not read"):
        load(str(folder), size=8, cache=tmp_path / "cache")
    assert len(load(str(folder), size=8, cache=tmp_path / "cache", skip_bad=True)) == 2


@pytest.mark.parametrize("parts", [("train", "val", "test"), ("Training", "valid", "TEST")])
def test_parts_are_kept(tmp_path: Path, parts: tuple[str, ...]) -> None:
    paths = [f"{part}/{name}/{number}.jpg" for part in parts for name in ("a", "b") for number in range(2)]
    dataset = load(str(tree(tmp_path / "set", *paths)), size=8, cache=tmp_path / "cache")
    assert usual_split(dataset) == "official"
    partition = split(dataset, kind="official", seed=0)
    for part, rows in zip(parts, (partition.train, partition.val, partition.test), strict=True):
        assert [dataset.ids[row].split("/")[0] for row in rows] == [part] * 4


def test_without_validation_images_some_of_the_training_images_are_taken(tmp_path: Path) -> None:
    paths = [f"{part}/{name}/{number}.jpg" for part in ("train", "test") for name in ("a", "b") for number in range(8)]
    dataset = load(str(tree(tmp_path / "set", *paths)), size=8, cache=tmp_path / "cache")
    partition = split(dataset, kind="official", seed=5)
    assert sorted(dataset.labels[partition.val].tolist()) == [0, 1]
    assert (len(partition.train), len(partition.test)) == (14, 16)
    assert partition.val.tolist() == split(dataset, kind="official", seed=6).val.tolist()


def test_a_part_alone_is_a_tree_of_classes(tmp_path: Path) -> None:
    folder = tree(tmp_path / "set", "train/a/1.jpg", "train/b/1.jpg")
    assert load(str(folder / "train"), size=8, cache=tmp_path / "cache").classes == ("a", "b")


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (("a/1.jpg", "a/2.jpg"), "no images that skinaudit knows how to read"),
        (("1.jpg", "a/2.jpg"), "no images that skinaudit knows how to read"),
        (("a/1.jpg", "b/c/2.jpg"), "no images that skinaudit knows how to read"),
        (("train/a/1.jpg", "test/a/2.jpg"), "1 classes (a)"),
    ],
)
def test_what_is_no_tree_of_classes_is_refused(tmp_path: Path, paths: tuple[str, ...], message: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        load(str(tree(tmp_path / "set", *paths)), size=8, cache=tmp_path / "cache")
    assert message in str(caught.value)


def test_what_lies_in_a_folder_that_is_no_tree_is_named(tmp_path: Path) -> None:
    folder = tree(tmp_path / "set", "fold_1/a/1.jpg", "fold_2/b/1.jpg")
    (folder / "labels.json").touch()
    (folder / "more.zip").touch()
    message = r"2 pictures in 2 folders, such as fold_1/a/1\.jpg; tables are read as CSV, not as labels\.json; unpack more"
    with pytest.raises(InvalidInputError, match=message):
        load(str(folder), size=8, cache=tmp_path / "cache")


@pytest.mark.parametrize(
    ("pattern", "strays", "message"),
    [
        ("{name}/{number}.jpg", ("preview.jpg",), "not in a folder of a class: preview.jpg; move or remove it"),
        ("train/{name}/{number}.jpg", ("train/loose.jpg",), "not in a folder of a class: loose.jpg; move or remove it"),
        ("{name}/train/{number}.jpg", ("a/test/1.jpg",), "the parts test, train have to be the outer folders"),
        ("train/{name}/{number}.jpg", ("dev/a/1.jpg",), "parts are called train, val or test, not dev; rename or move it"),
    ],
)
def test_what_keeps_pictures_from_being_a_tree_is_named(
    tmp_path: Path, pattern: str, strays: tuple[str, ...], message: str
) -> None:
    paths = [pattern.format(name=name, number=number) for name in "ab" for number in range(6)]
    with pytest.raises(InvalidInputError) as caught:
        load(str(tree(tmp_path / "set", *paths, *strays)), size=8, cache=tmp_path / "cache")
    assert message in str(caught.value)


def test_folders_that_differ_in_capitals_or_stored_accents_are_one_class(tmp_path: Path) -> None:
    composed, parts = "n\N{LATIN SMALL LETTER A WITH DIAERESIS}vus", "Na\N{COMBINING DIAERESIS}vus"
    folder = tree(
        tmp_path / "set", f"train/{parts}/1.jpg", f"train/{composed}/2.jpg", f"test/{composed}/3.jpg", "train/mel/4.jpg"
    )
    dataset = load(str(folder), size=8, cache=tmp_path / "cache")
    assert dataset.classes == ("mel", composed)
    assert dataset.notes == (f"the folder {parts} counts as class {composed}",)


def test_masks_beside_their_pictures_are_left_out(tmp_path: Path) -> None:
    folder = tree(tmp_path / "set", "a/1.jpg", "a/1_Segmentation.png", "a/2_mask.png", "b/1.jpg", "b/1_mask.jpg")
    dataset = load(str(folder), size=8, cache=tmp_path / "cache")
    assert dataset.ids == ("a/1.jpg", "a/2_mask.png", "b/1.jpg")  # of the second there is no picture without it
    assert dataset.notes == ("masks beside their pictures, left out: a/1_Segmentation.png, b/1_mask.jpg",)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_table_of_the_images_is_not_passed_over(tmp_path: Path, encoding: str) -> None:
    folder = tree(tmp_path / "set", "part_1/ISIC_1.jpg", "part_2/ISIC_2.jpg")
    (folder / "labels (1).csv").write_text("id;dx\nISIC_1;mel\nISIC_2;nv\n", encoding=encoding)
    with pytest.raises(InvalidInputError) as caught:
        load(str(folder), size=8, cache=tmp_path / "cache")
    message = "labels (1).csv: no column lesion_id, image_id; the columns are id, dx; nearest is the table of HAM10000"
    assert message in str(caught.value)


def test_classes_without_a_training_image_are_refused(tmp_path: Path) -> None:
    folder = tree(tmp_path / "set", "train/a/1.jpg", "val/a/1.jpg", "test/a/1.jpg", "test/b/1.jpg")
    dataset = load(str(folder), size=8, cache=tmp_path / "cache")
    assert np.bincount(dataset.labels).tolist() == [3, 1]
    with pytest.raises(InvalidInputError, match="no training image of class b"):
        split(dataset, kind="official", seed=0)
