"""The input contract survives its file, and says what is wrong with a damaged one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinaudit.artifacts.contract import CLASS_TITLES, CLASSES, MALIGNANT, InputContract
from skinaudit.errors import InvalidInputError


@given(size=st.integers(1, 4096), classes=st.lists(st.text(), unique=True).map(tuple), name=st.text(), data=st.data())
def test_round_trip_through_json(size: int, classes: tuple[str, ...], name: str, data: st.DataObject) -> None:
    malignant = tuple(data.draw(st.lists(st.sampled_from(classes), unique=True))) if classes else ()
    contract = InputContract(size=size, classes=classes, malignant=malignant, input=name)
    assert InputContract.from_json(json.loads(json.dumps(contract.to_json())), where="x") == contract


def test_the_seven_diagnoses_and_the_malignant_among_them() -> None:
    assert CLASSES == ("mel", "nv", "bcc", "akiec", "bkl", "df", "vasc")
    assert set(MALIGNANT) < set(CLASSES) == set(CLASS_TITLES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": None}, "incomplete or has unknown fields"),
        ({"classes": [["mel"]]}, "incomplete or has unknown fields"),
        ({"colour": "BGR"}, "incomplete or has unknown fields"),
        ({"size": 0}, "has size 0"),
        ({"size": "224"}, "has size '224'"),
        ({"size": 22.4}, "has size 22.4"),
        ({"classes": ["mel", "mel"]}, "a class is named twice"),
        ({"malignant": ["melanoma"]}, "malignant names melanoma; the classes are mel, nv"),
        ({"malignant": ["mel", "mel"]}, "a class is named twice"),
    ],
)
def test_a_damaged_contract_is_refused_by_name(change: dict[str, Any], message: str) -> None:
    value = {**InputContract(size=64).to_json(), **change}
    with pytest.raises(InvalidInputError, match=f"run.json: .*{message}"):
        InputContract.from_json(value, where="run.json")


@pytest.mark.parametrize("lacking", ["size", "classes"])
def test_a_missing_field_is_refused(lacking: str) -> None:
    value = InputContract(size=64).to_json()
    del value[lacking]
    with pytest.raises(InvalidInputError, match="incomplete"):
        InputContract.from_json(value, where="run.json")


def test_an_earlier_file_means_the_malignant_diagnoses_of_ham10000_and_of_no_other_classes() -> None:
    value = InputContract(size=64).to_json()
    del value["malignant"]
    assert InputContract.from_json(value, where="x").malignant == MALIGNANT
    renamed = {**value, "classes": ["melanoma", *CLASSES[1:]]}
    assert InputContract.from_json(renamed, where="x").malignant == ()


def test_labels_of_the_malignant_classes() -> None:
    assert InputContract(size=64).malignant_labels == (0, 2, 3)
