"""Answers of a study survive their file; damaged ones are named."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from skinaudit.artifacts.adversarial_set import AdversarialSet, open_set
from skinaudit.artifacts.study_folder import read_answers, write_answers
from skinaudit.errors import InvalidInputError
from skinaudit.tests.linear_run import pictures, write_sets


@pytest.fixture
def image_set(tmp_path: Path) -> AdversarialSet:
    write_sets(tmp_path, *pictures(20, seed=0), seed=0, source="sha256:0")
    return open_set(tmp_path / "clean.safetensors")


def test_answers_come_back_for_the_same_weights_and_images(tmp_path: Path, image_set: AdversarialSet) -> None:
    path = tmp_path / "answers"
    assert read_answers(path, weights="sha256:w", image_set=image_set) is None
    write_answers(path, image_set.source_logits, weights="sha256:w", images=image_set.images_digest)
    answers = read_answers(path, weights="sha256:w", image_set=image_set)
    assert answers is not None
    assert np.array_equal(answers, image_set.source_logits)
    assert read_answers(path, weights="sha256:v", image_set=image_set) is None


@pytest.mark.parametrize("change", ["fewer", "columns", "doubles", "NaN", "other name"])
def test_answers_that_do_not_fit_the_images_are_refused(tmp_path: Path, image_set: AdversarialSet, change: str) -> None:
    logits = image_set.source_logits
    changed = {
        "fewer": logits[:-1], "columns": logits[:, :-1], "doubles": logits.astype(np.float64), "NaN": logits * np.nan,
        "other name": logits,
    }[change]  # fmt: skip
    metadata = {"weights": "sha256:w", "images": image_set.images_digest}
    name = "x" if change == "other name" else "logits"
    save_file({name: np.ascontiguousarray(changed)}, tmp_path / "answers", metadata=metadata)
    with pytest.raises(
        InvalidInputError, match=r"answers: logits should be .* shape \(\d+, 7\); delete it, and the stage is"
    ):
        read_answers(tmp_path / "answers", weights="sha256:w", image_set=image_set)


def test_a_pipe_in_their_place_is_refused_at_once(tmp_path: Path, image_set: AdversarialSet) -> None:
    os.mkfifo(tmp_path / "answers")
    with pytest.raises(InvalidInputError, match="answers: is a pipe"):
        read_answers(tmp_path / "answers", weights="sha256:w", image_set=image_set)
