"""The input contract survives its file, and says what is wrong with a damaged one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinaudit.artifacts.contract import CLASS_TITLES, CLASSES, MALIGNANT, InputContract, upgraded
from skinaudit.artifacts.typed_json import build
from skinaudit.errors import InvalidInputError


def read(value: dict[str, Any], *, earlier: bool = False) -> InputContract:
    plain = upgraded(value, where="run.json: contract", again="do it") if earlier else value
    contract: InputContract = build(InputContract, plain, where="run.json", again="do it", at="contract")
    return contract


@given(size=st.integers(1, 4096), classes=st.lists(st.text(), unique=True).map(tuple), name=st.text(), data=st.data())
def test_round_trip_through_json(size: int, classes: tuple[str, ...], name: str, data: st.DataObject) -> None:
    malignant = tuple(data.draw(st.lists(st.sampled_from(classes), unique=True))) if classes else ()
    contract = InputContract(size=size, classes=classes, malignant=malignant, input=name)
    assert read(json.loads(json.dumps(contract.to_json()))) == contract


def test_the_seven_diagnoses_and_the_malignant_among_them() -> None:
    assert CLASSES == ("mel", "nv", "bcc", "akiec", "bkl", "df", "vasc")
    assert set(MALIGNANT) < set(CLASSES) == set(CLASS_TITLES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": None}, "contract.classes should be an array, found null; do it"),
        ({"classes": [["mel"]]}, r"contract.classes\[0\] should be a text, found an array of 1 item"),
        ({"colour": "BGR"}, "contract.colour is unknown, expected only size, classes, malignant"),
        ({"size": 0}, "contract.size should be an integer from 1 to 16384, found 0"),
        ({"size": 2**20}, "contract.size should be an integer from 1 to 16384"),
        ({"size": "224"}, "contract.size should be an integer, found '224'"),
        ({"size": True}, "contract.size should be an integer, found true"),
        ({"size": 22.4}, "contract.size should be an integer, found 22.4"),
        ({"classes": ["mel", "mel"]}, "a class is named twice"),
        ({"malignant": ["melanoma"]}, "malignant has melanoma, but the classes are mel, nv"),
        ({"malignant": ["mel", "mel"]}, "a class is named twice"),
    ],
)
def test_a_damaged_contract_is_refused_by_name(change: dict[str, Any], message: str) -> None:
    value = {**InputContract(size=64).to_json(), **change}
    with pytest.raises(InvalidInputError, match=f"run.json: .*{message}"):
        read(value)


@pytest.mark.parametrize("lacking", ["size", "classes", "malignant", "layout"])
def test_a_missing_field_is_refused(lacking: str) -> None:
    value = InputContract(size=64).to_json()
    del value[lacking]
    with pytest.raises(
        InvalidInputError, match=rf"run.json: contract\.{lacking} is missing, expected an? (integer|array|text)"
    ):
        read(value)


def test_an_earlier_file_means_the_malignant_diagnoses_of_ham10000_and_of_no_other_classes() -> None:
    value = InputContract(size=64).to_json()
    del value["malignant"]
    assert read(value, earlier=True).malignant == MALIGNANT
    assert read({**value, "classes": list(CLASSES[::-1])}, earlier=True).malignant == MALIGNANT
    renamed = {**value, "classes": ["melanoma", *CLASSES[1:]]}
    assert read(renamed, earlier=True).malignant == ()
    with pytest.raises(InvalidInputError, match=r"contract\.malignant is unknown in this earlier format"):
        read({**value, "malignant": ["mel"]}, earlier=True)


def test_labels_of_the_malignant_classes() -> None:
    assert InputContract(size=64).malignant_labels == (0, 2, 3)
