"""What a run recorded of its test images, against images that were dropped, relabelled or renamed since."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from skinaudit.artifacts.adversarial_set import AdversarialSet, open_set
from skinaudit.artifacts.run_sets import TEST_SET, recorded_split

MakeSet = Callable[..., Path]
COUNTS = {name: {"train": 9, "test": 2} for name in ("mel", "nv", "bcc", "akiec", "bkl", "df", "vasc")}


def clean(make_set: MakeSet, folder: Path, **arrays: Any) -> AdversarialSet:
    return open_set(make_set(folder / "clean.safetensors", count=14, **arrays))


def run_of(opened: AdversarialSet, **changes: Any) -> Any:
    data = {"counts": COUNTS, "part_lesions": {"test": 7}, TEST_SET: opened.images_digest, **changes}
    return SimpleNamespace(data={name: value for name, value in data.items() if value is not None})


def test_the_recorded_images_differ_in_nothing(make_set: MakeSet, tmp_path: Path) -> None:
    opened = clean(make_set, tmp_path)
    assert recorded_split(run_of(opened), {TEST_SET: opened.images_digest}).differences(opened) == ()
    assert recorded_split(run_of(opened, **{TEST_SET: None}), {}).differences(opened) == ()
    assert recorded_split(None, {}).differences(opened) == ()


@pytest.mark.parametrize(
    ("arrays", "difference"),
    [
        ({"labels": np.where(np.arange(14) == 0, 1, np.arange(14) % 7)}, "mel 1 instead of 2, nv 3 instead of 2"),
        ({"group": np.zeros(14, np.int64)}, "1 lesions instead of 7"),
    ],
)
def test_what_was_changed_is_said_also_by_a_run_without_digest(
    make_set: MakeSet, tmp_path: Path, arrays: dict[str, Any], difference: str
) -> None:
    honest, changed = clean(make_set, tmp_path / "one"), clean(make_set, tmp_path / "two", **arrays)
    for run in (run_of(honest), run_of(honest, **{TEST_SET: None})):
        assert difference in "; ".join(recorded_split(run, {}).differences(changed))


def test_dropped_images_and_other_names_of_classes_are_said(make_set: MakeSet, tmp_path: Path) -> None:
    honest = clean(make_set, tmp_path / "one")
    fewer = open_set(make_set(tmp_path / "two", count=13))
    assert "13 images instead of 14" in recorded_split(run_of(honest), {}).differences(fewer)
    renamed = {("melanoma" if name == "mel" else name): parts for name, parts in COUNTS.items()}
    (differences,) = recorded_split(run_of(honest, counts=renamed), {}).differences(honest)
    assert differences == "images by class: melanoma 0 instead of 2, mel 2 instead of 0"


def test_labels_that_change_places_are_seen_by_the_digest_of_run_or_lineage(make_set: MakeSet, tmp_path: Path) -> None:
    honest = clean(make_set, tmp_path / "one")
    swapped = clean(make_set, tmp_path / "two", labels=np.roll(np.arange(14) % 7, 1))
    for split in (recorded_split(run_of(honest), {}), recorded_split(None, {TEST_SET: honest.images_digest})):
        assert len(split.differences(swapped)) == 1
