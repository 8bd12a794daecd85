from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinaudit.artifacts.adversarial_set import open_set
from skinaudit.artifacts.contract import CLASSES, MALIGNANT, InputContract
from skinaudit.audit.audit import audit_engine
from skinaudit.audit.evidence.replay import replay
from skinaudit.audit.figures.flips import LIMIT, probabilities, worst_flips

CONTRACT = InputContract(size=1)
NAMES = tuple(f"image{index}" for index in range(7))
MEL, NV, BCC, AKIEC, BKL = range(5)


def logits_of(*rows: tuple[int, float]) -> np.ndarray:
    """One row an (answer, logit of that answer); the others are 0."""
    logits = np.zeros((len(rows), len(CLASSES)), np.float32)
    for index, (answer, height) in enumerate(rows):
        logits[index, answer] = height
    return logits


def test_missed_cancers_come_first_and_then_the_surest_mistakes() -> None:
    labels = np.array([NV, MEL, NV, BKL, MEL, BCC, NV])
    source = logits_of(*((label, 5.0) for label in labels))
    engine = logits_of((MEL, 2), (NV, 1), (MEL, 3), (BKL, 5), (BCC, 9), (BKL, 4), (NV, 5))
    flips = worst_flips(source, engine, labels=labels, groups=np.arange(7) + 40, names=NAMES, contract=CONTRACT)
    assert [flip.index for flip in flips] == [5, 1, 4, 2, 0]
    assert [flip.malignant_to_benign for flip in flips] == [True, True, False, False, False]
    first = flips[0]
    assert (first.label, first.source_answer, first.engine_answer, first.lesion) == ("bcc", "bcc", "bkl", 45)
    assert first.name == "image5"
    assert first.engine_probabilities[BKL] == pytest.approx(np.exp(4) / (np.exp(4) + 6), abs=1e-4)
    assert len(first.source_probabilities) == len(CLASSES)
    assert worst_flips(source, engine, labels=labels, groups=np.arange(7), names=NAMES, contract=CONTRACT, limit=2) == tuple(
        worst_flips(source, engine, labels=labels, groups=np.arange(7), names=NAMES, contract=CONTRACT)[:2]
    )


def test_a_cancer_that_was_called_another_cancer_and_turns_benign_is_listed_as_well() -> None:
    labels = np.array([MEL, MEL, BCC])
    source, engine = logits_of((BCC, 1), (BCC, 1), (NV, 1)), logits_of((NV, 1), (MEL, 1), (BKL, 1))
    (only,) = worst_flips(source, engine, labels=labels, groups=labels, names=NAMES, contract=CONTRACT)
    assert (only.index, only.label, only.source_answer, only.engine_answer) == (0, "mel", "bcc", "nv")
    assert only.malignant_to_benign


def test_all_that_turn_benign_are_kept_beyond_the_limit() -> None:
    labels = np.array([MEL] * 5 + [NV] * 2)
    source, engine = logits_of(*[(label, 1) for label in labels]), logits_of(*[(BKL, 1)] * 7)
    flips = worst_flips(source, engine, labels=labels, groups=labels, names=NAMES, contract=CONTRACT, limit=2)
    assert [flip.malignant_to_benign for flip in flips] == [True] * 5


def test_only_what_the_source_had_right_counts() -> None:
    labels = np.array([MEL, MEL, NV])
    wrong_before = logits_of((NV, 1), (NV, 1), (MEL, 1))
    assert (
        worst_flips(
            wrong_before, logits_of((BCC, 1), (NV, 1), (NV, 1)), labels=labels, groups=labels, names=NAMES, contract=CONTRACT
        )
        == ()
    )
    assert worst_flips(wrong_before, wrong_before, labels=labels, groups=labels, names=NAMES, contract=CONTRACT) == ()


@given(st.lists(st.lists(st.floats(-1e4, 1e4, width=32), min_size=3, max_size=3), max_size=5))
def test_probabilities_sum_to_one_and_keep_the_order(rows: list[list[float]]) -> None:
    logits = np.array(rows, np.float32).reshape(-1, 3)
    shares_by_row = probabilities(logits)
    assert shares_by_row.shape == logits.shape
    np.testing.assert_allclose(shares_by_row.sum(axis=1), 1)
    for row, shares in zip(logits, shares_by_row, strict=True):
        assert shares[row.argmax()] == shares.max()


@pytest.mark.usefixtures("opened")
def test_an_audit_names_the_images_that_it_lost(tmp_path: Path, lab: SimpleNamespace) -> None:
    planted = lab.plant(tmp_path / "run", settings={"fault": "melanoma to nevus"})
    result = audit_engine(planted.engine)
    for entry in result.sets:
        assert entry.comparison.malignant_to_benign
        cancers = [flip for flip in entry.flipped if flip.malignant_to_benign]
        assert len(cancers) == entry.comparison.malignant_to_benign > LIMIT
        assert entry.flipped[: len(cancers)] == tuple(cancers)
        assert all(flip.label in MALIGNANT for flip in cancers)
        opened = open_set(planted.engine.parent / entry.path)
        engine: Any = lab.LinearEngine(planted.engine)
        answers = replay(engine, opened).logits.argmax(axis=1)
        for flip in entry.flipped:
            assert CLASSES[opened.labels[flip.index]] == flip.label
            assert flip.name == opened.ids[flip.index]
            assert CLASSES[answers[flip.index]] == flip.engine_answer == "nv"
            assert flip.lesion == opened.group[flip.index]


@pytest.mark.usefixtures("opened")
def test_a_set_says_how_it_was_crafted_and_where_it_lies(tmp_path: Path, lab: SimpleNamespace) -> None:
    clean, attacked = audit_engine(lab.plant(tmp_path / "run", settings={}).engine).sets
    assert (clean.attack, clean.norm, clean.eps, clean.path) == ("clean", None, None, Path("../sets/clean.safetensors"))
    assert (attacked.attack, attacked.norm, attacked.eps) == ("pgd", "linf", "24/255")
    assert attacked.path == Path("../sets/pgd.safetensors")
