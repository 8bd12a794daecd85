from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from skinaudit.trainer.data.dataset import Dataset, Skipped, Split
from skinaudit.trainer.data.summary import summarise

Make = Callable[..., Dataset]


def some_split(train: list[int], validation: list[int], test: list[int], leaked: int) -> Split:
    return Split(train=np.array(train), val=np.array(validation), test=np.array(test), leaked_lesions=leaked)


def test_figures(make_dataset: Make) -> None:
    dataset = make_dataset(
        [0, 1, 1, 1, 2, 3, 4], [0, 1, 1, 2, 3, 4, 5], skipped=(Skipped("x", "corrupt: y"), Skipped("z\x1b", "a\nb"))
    )
    summary = summarise(dataset, some_split([0, 1], [4, 5], [2, 3, 6], 1))
    assert summary.counts["nv"] == {"train": 1, "val": 0, "test": 2}
    assert summary.counts["vasc"] == {"train": 0, "val": 0, "test": 0}
    assert sum(sum(counts.values()) for counts in summary.counts.values()) == summary.images == 7
    assert (summary.majority_class, summary.majority_share) == ("nv", 2 / 3)
    assert (summary.lesions, summary.leaked_lesions) == (6, 1)
    assert summary.part_images == {"train": 2, "val": 2, "test": 3}
    assert summary.part_lesions == {"train": 2, "val": 2, "test": 3}
    assert json.loads(json.dumps(summary.to_json())) == summary.to_json()
    assert summary.to_json()["skipped"] == [
        {"image_id": "x", "reason": "corrupt: y"},
        {"image_id": "z?", "reason": "a b"},  # or no manifest could hold it
    ]


def test_a_picture_under_many_names_is_told_in_a_few_words(make_dataset: Make) -> None:
    """A black frame may stand a thousand times in a folder, and run.json holds the text."""
    labels = [0, *[1] * 999, 2, 2]
    dataset = make_dataset(labels, [0] * 1000 + [1, 2], pictures=np.array([0] * 1000 + [1, 2]))
    summary = summarise(dataset, some_split([0], [1000], [1001], 0))
    assert (summary.identical, summary.contradictions) == (999, ("image_0 mel = image_1 nv and 998 more",))


@pytest.mark.parametrize(("number", "words"), [(1, ("1 image has", "1 picture\n")), (2, ("2 images have", "2 pictures\n"))])
def test_numbers_agree_with_their_words(make_dataset: Make, number: int, words: tuple[str, str]) -> None:
    summary = summarise(make_dataset([0, 1, 1], [0, 1, 2]), some_split([0], [1], [2], 0))
    text = "\n".join(replace(summary, identical=number, turned=number).lines()) + "\n"
    assert f"identical pictures: {words[0]} the same pixels" in text
    assert f"turned by their orientation tag: {words[1]}" in text


def test_text(make_dataset: Make) -> None:
    dataset = make_dataset([0, 1, 1, 1], [0, 1, 1, 2], skipped=(Skipped("x", "corrupt: y"),))
    text = "\n".join(summarise(dataset, some_split([0, 1], [3], [2], 1)).lines())
    assert "test data: 4 images of 3 lesions" in text
    assert "nv             1       1       1" in text
    assert "always answering nv scores 100.0% on test" in text
    assert "leaked lesions: 1 of 1 in test" in text
    assert "dropped 1 image: x (corrupt: y)" in text
    assert "note: test lesions are also in training" in text
    assert "note: no test image of class mel, bcc, akiec, bkl, df, vasc" in text
    assert "synthetic" not in text
    assert "each image counts as its own lesion" not in text


def test_synthetic_says_so_and_lesionless_data_says_so(make_dataset: Make) -> None:
    dataset = make_dataset([0, 1, 2], [0, 1, 2], synthetic=True)
    summary = summarise(dataset, some_split([0], [1], [2], 0))
    assert summary.to_json()["synthetic"] is True
    notes = " ".join(summary.notes)
    assert "synthetic images: figures on them say nothing about patients" in notes
    assert "each image counts as its own lesion" in notes
    assert "also in training" not in notes
