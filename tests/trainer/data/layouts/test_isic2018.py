from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from skinaudit.errors import InvalidInputError
from skinaudit.trainer.data.load import load

Edit = Callable[[Path, str, str], None]
TRUTH = "ISIC2018_Task3_Training_GroundTruth.csv"
GROUPINGS = "ISIC2018_Task3_Training_LesionGroupings.csv"


def test_equals_ham10000_of_the_same_images(ham: Path, isic: Path, tmp_path: Path) -> None:
    first = load(str(ham), size=8, cache=tmp_path / "cache")
    second = load(str(isic), size=8, cache=tmp_path / "cache")
    assert second.digest == first.digest
    assert (first.title, second.title) == ("HAM10000", "ISIC 2018 Task 3")


def test_without_groupings_each_image_is_its_own_lesion_and_the_title_says_so(isic: Path, tmp_path: Path) -> None:
    (isic / GROUPINGS).unlink()
    dataset = load(str(isic), size=8, cache=tmp_path / "cache")
    assert len(np.unique(dataset.groups)) == len(dataset) == 56
    assert dataset.title == "ISIC 2018 Task 3 (no lesion ids: each image is its own lesion)"


@pytest.mark.parametrize(
    ("table", "old", "new", "reason"),
    [
        (TRUTH, "ISIC_0098,1.0,0.0", "ISIC_0098,1.0,1.0", "not one-hot: 1.0 1.0 0.0 0.0 0.0 0.0 0.0"),
        (TRUTH, "ISIC_0098,1.0", "ISIC_0098,0.0", "not one-hot: 0.0 0.0 0.0 0.0 0.0 0.0 0.0"),
        (TRUTH, "ISIC_0098,1.0", "ISIC_0098,0.5", "not one-hot: 0.5 "),
        (TRUTH, "ISIC_0098,1.0,0.0", "ISIC_0098,1.0,nan", "not one-hot: 1.0 nan "),
        (TRUTH, "ISIC_0098,1.0,0.0", "ISIC_0098,mel,", "not one-hot: mel (empty) "),
        (GROUPINGS, "ISIC_0098,HAM_00,histopathology\n", "", "no lesion id"),
        (GROUPINGS, "ISIC_0098,HAM_00", "ISIC_0098,", "no lesion id"),
        (GROUPINGS, "ISIC_0097,HAM_01", "ISIC_0098,HAM_01", "the tables name 2 lesions: HAM_00, HAM_01"),
    ],
)
def test_bad_row(isic: Path, tmp_path: Path, edit: Edit, table: str, old: str, new: str, reason: str) -> None:
    edit(isic / table, old, new)
    with pytest.raises(InvalidInputError) as caught:
        load(str(isic), size=8, cache=tmp_path / "cache")
    assert f"ISIC_0098 ({reason}" in str(caught.value)
    dataset = load(str(isic), size=8, cache=tmp_path / "cache", skip_bad=True)
    assert "ISIC_0098" not in dataset.ids
    assert any(item.image_id == "ISIC_0098" and item.reason.startswith(reason) for item in dataset.skipped)


def test_missing_class_column(isic: Path, tmp_path: Path, edit: Edit) -> None:
    edit(isic / TRUTH, "VASC", "VAS")
    with pytest.raises(InvalidInputError, match=f"{TRUTH}: no column VASC; the columns are image, MEL, NV"):
        load(str(isic), size=8, cache=tmp_path / "cache")
