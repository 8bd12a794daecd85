from __future__ import annotations

import pytest

from skinaudit.trainer.data.subgroups import NAMES, spelled


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("age", "85", "85"), ("age", "85.0", "85"), ("age", "85+", "85"), ("age", "55,0", "55"), ("age", "0", "0"),
        ("age", "nan", ""), ("age", "55.5", ""), ("age", "1980", ""), ("age", "old", ""),
        ("sex", "M", "male"), ("sex", "FEMALE", "female"), ("sex", "f", "female"), ("sex", "unknown", ""),
        ("sex", "Divers", "divers"),
        ("site", "Head_Neck", "head neck"), ("site", " lower  extremity ", "lower extremity"), ("site", "N/A", ""),
        ("site", "x" * 300, "x" * 200), ("site", "a\x1bb", "a?b"),
        ("skin_type", "3.0", "III"), ("skin_type", "iv", "IV"), ("skin_type", "Type II", "II"), ("skin_type", "0", ""),
        ("skin_type", "7", ""), ("source", "ViDIR  Group", "ViDIR Group"),
    ],
)  # fmt: skip
def test_one_spelling(name: str, value: str, expected: str) -> None:
    assert spelled(name, value) == expected


def test_every_name_has_a_spelling() -> None:
    assert NAMES == ("age", "sex", "site", "skin_type", "source")
    assert {spelled(name, "") for name in NAMES} == {""}
