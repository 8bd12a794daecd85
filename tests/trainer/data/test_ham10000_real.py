"""On the real images, where they lie beside the checkout or SKINAUDIT_HAM10000 names their folder."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from skinaudit.artifacts.contract import CLASSES
from skinaudit.trainer.data.dataset import Dataset
from skinaudit.trainer.data.load import load
from skinaudit.trainer.data.splits import lesion_split, paper_split

FOLDER = Path(os.environ.get("SKINAUDIT_HAM10000") or Path(__file__).resolve().parents[4] / "shared" / "ham10000")

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="no HAM10000 images: set SKINAUDIT_HAM10000 to their folder")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load(str(FOLDER), size=16, cache=tmp_path_factory.mktemp("cache"))


def test_counts_are_those_of_the_table(dataset: Dataset) -> None:
    counts = dict(zip(CLASSES, np.bincount(dataset.labels).tolist(), strict=True))
    assert counts == {"nv": 6034, "mel": 1002, "bkl": 989, "bcc": 463, "akiec": 294, "vasc": 128, "df": 103}
    assert dataset.images.shape == (9013, 3, 16, 16)
    assert len(np.unique(dataset.groups)) == 6716
    assert dataset.skipped == ()


def test_images_look_like_skin(dataset: Dataset) -> None:
    red, green, blue = dataset.images.mean((0, 2, 3))
    assert green + 30 < red
    assert blue + 30 < red
    assert (dataset.images.reshape(9013, -1).std(1) > 1).all()


def test_splits(dataset: Dataset) -> None:
    by_lesion = lesion_split(dataset, seed=0)
    assert by_lesion.leaked_lesions == 0
    assert abs(len(by_lesion.test) - 901) < 15
    assert set(dataset.labels[by_lesion.test].tolist()) == set(range(7))
    as_paper = paper_split(dataset, seed=0)
    assert (len(as_paper.train), len(as_paper.val), len(as_paper.test)) == (7299, 812, 902)
    assert as_paper.leaked_lesions > 300
