"""A report is computed again from its answers by image: edits of its figures are refused, whatever else was edited along."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from skinaudit.audit.audit import audit_engine
from skinaudit.audit.figures.image_answers import lesion_numbers, pack_numbers, unpack_numbers
from skinaudit.audit.judgement.reading import read_audit
from skinaudit.audit.reports.json_ import to_json
from skinaudit.errors import InvalidInputError


@pytest.fixture
def written(tmp_path: Path, lab: SimpleNamespace, opened: list[Any]) -> dict[str, Any]:
    return to_json(audit_engine(lab.plant(tmp_path / "run").engine))


def better_accuracy(report: dict[str, Any]) -> None:
    report["sets"][1]["comparison"]["engine_accuracy"] = 1.0


def fewer_flips(report: dict[str, Any]) -> None:
    report["sets"][0]["comparison"]["flips"] = 7


def another_lesion(report: dict[str, Any]) -> None:
    report["sets"][0]["comparison"]["lesions"] += 1


def narrower_interval(report: dict[str, Any]) -> None:
    gate = report["gates"][0]
    gate["interval"]["high"] /= 2


def other_answers(report: dict[str, Any]) -> None:
    report["sets"][1]["engine_answers"] = report["sets"][0]["engine_answers"]
    report["sets"][1]["engine_answers"] = pack_numbers(np.zeros(report["sets"][1]["comparison"]["images"], np.int64))


def a_gate_left_out(report: dict[str, Any]) -> None:
    report["gates"] = report["gates"][:-1]


def answers_cut(report: dict[str, Any]) -> None:
    report["labels"] = pack_numbers(np.zeros(3, np.int64))


@pytest.mark.parametrize(
    "edit",
    [better_accuracy, fewer_flips, another_lesion, narrower_interval, other_answers, a_gate_left_out, answers_cut],
)
def test_an_edited_report_is_refused(
    tmp_path: Path, written: dict[str, Any], edit: Callable[[dict[str, Any]], None]
) -> None:
    path = tmp_path / "audit.json"
    path.write_text(json.dumps(written))
    assert read_audit(path).by_image
    edit(written)
    path.write_text(json.dumps(written))
    with pytest.raises(InvalidInputError, match=r"audit\.json.*audit the engine again"):
        read_audit(path)


ANSWERS = ("labels", "lesions", "engine_answers", "source_answers")


def labels_emptied(report: dict[str, Any]) -> None:
    report["labels"] = ""


def answers_emptied(report: dict[str, Any]) -> None:
    for part in (report, *report["sets"]):
        part.update({name: "" for name in ANSWERS if name in part})


def answers_taken_out(report: dict[str, Any]) -> None:
    for part in (report, *report["sets"]):
        for name in ANSWERS:
            part.pop(name, None)


def named_after_the_earlier_format(report: dict[str, Any]) -> None:
    answers_taken_out(report)
    report["kind"] = "skinaudit-audit/1"


@pytest.mark.parametrize(
    "edit",
    [labels_emptied, answers_emptied, answers_taken_out, named_after_the_earlier_format],
    ids=lambda edit: edit.__name__,
)
def test_a_report_without_its_answers_is_no_earlier_one(
    tmp_path: Path, written: dict[str, Any], edit: Callable[[dict[str, Any]], None]
) -> None:
    edit(written)
    path = tmp_path / "audit.json"
    path.write_text(json.dumps(written))
    with pytest.raises(InvalidInputError, match="its predictions per image were removed"):
        read_audit(path)


def test_answers_come_back_and_stay_small() -> None:
    answers = np.random.default_rng(0).integers(0, 7, 10_000)
    text = pack_numbers(answers)
    assert len(text) < 8_000
    assert (unpack_numbers(text, images=10_000, below=7) == answers).all()
    assert lesion_numbers(np.array([9, -4, 9])).tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("text", "images", "below"),
    [("?", 1, 7), ("AAAA", 1, 7), (pack_numbers(np.array([1, 2])), 3, 7), (pack_numbers(np.array([7])), 1, 7)],
)
def test_other_texts_are_refused(text: str, images: int, below: int) -> None:
    with pytest.raises(InvalidInputError, match="predictions per image"):
        unpack_numbers(text, images=images, below=below)
