"""Tiny data sets in the layouts of the real distributions, and datasets made of arrays alone."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skinaudit.artifacts.contract import CLASSES, MALIGNANT
from skinaudit.trainer.data.dataset import Dataset

VIEWS = 2
LESIONS = 4


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([header, *rows])


def write_image(path: Path, number: int) -> None:
    """A flat colour that tells the number; with the same blue, JPEG would store some neighbours as the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30), (number, 255 - number, 118 + number % 2 * 20)).save(path, quality=95)


def cases() -> list[tuple[str, str, str]]:
    """(lesion, image, dx) of 7 classes with 4 lesions of 2 views each, not in the order of the image ids."""
    rows = []
    for label, dx in enumerate(CLASSES):
        for lesion in range(LESIONS):
            for view in range(VIEWS):
                number = 99 - (label * LESIONS + lesion) * VIEWS - view
                rows.append((f"HAM_{label}{lesion}", f"ISIC_{number:04d}", dx))
    return rows


@pytest.fixture
def ham(tmp_path: Path) -> Path:
    """A HAM10000 folder of 56 images in two parts."""
    folder = tmp_path / "ham"
    for row, (_, image, _) in enumerate(cases()):
        write_image(folder / f"HAM10000_images_part_{1 + row % 2}" / f"{image}.jpg", int(image[-4:]))
    write_table(
        folder / "HAM10000_metadata.csv",
        ("lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization"),
        [(*case, "histo", "50", "male", "back") for case in cases()],
    )
    return folder


@pytest.fixture
def isic(tmp_path: Path) -> Path:
    """The same images as ISIC 2018 Task 3, with lesion groupings."""
    folder = tmp_path / "isic"
    for _, image, _ in cases():
        write_image(folder / "ISIC2018_Task3_Training_Input" / f"{image}.jpg", int(image[-4:]))
    write_table(
        folder / "ISIC2018_Task3_Training_GroundTruth.csv",
        ("image", *(name.upper() for name in CLASSES)),
        [(image, *("1.0" if name == dx else "0.0" for name in CLASSES)) for _, image, dx in cases()],
    )
    write_table(
        folder / "ISIC2018_Task3_Training_LesionGroupings.csv",
        ("image", "lesion_id", "diagnosis_confirm_type"),
        [(image, lesion, "histopathology") for lesion, image, _ in cases()],
    )
    return folder


@pytest.fixture
def edit() -> Callable[[Path, str, str], None]:
    """Replace one text in a table, which must be there."""

    def replace(path: Path, old: str, new: str) -> None:
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    return replace


@pytest.fixture
def make_dataset() -> Callable[..., Dataset]:
    """A dataset of 1 x 1 pixel images from labels and groups."""

    def make(labels: Sequence[int], groups: Sequence[int], **settings: object) -> Dataset:
        number = len(labels)
        values = {
            "title": "test data", "synthetic": False, "digest": "sha256:0123456789abcdef",
            "classes": CLASSES, "malignant": MALIGNANT, **settings,
        }  # fmt: skip
        return Dataset(
            images=np.zeros((number, 3, 1, 1), np.uint8),
            labels=np.asarray(labels, np.int64),
            groups=np.asarray(groups, np.int64),
            ids=tuple(f"image_{index}" for index in range(number)),
            **values,  # type: ignore[arg-type]
        )

    return make
