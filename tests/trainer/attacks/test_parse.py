"""Attacks with settings, as the command line has them."""

from __future__ import annotations

import pytest

from skinaudit.errors import InvalidInputError
from skinaudit.trainer import attacks


@pytest.mark.parametrize(
    ("text", "name", "settings"),
    [
        ("pgd", "pgd", {}),
        ("pgd:steps=100,restarts=2", "pgd", {"steps": 100, "restarts": 2}),
        ("pgd:step-size=0.01,random_start=false", "pgd", {"step_size": 0.01, "random_start": False}),
        ("pgd:step_size=none,keep=last", "pgd", {"step_size": None, "keep": "last"}),
        ("pgd-dlr:momentum=1", "pgd-dlr", {"momentum": 1.0}),
    ],
)
def test_settings_have_the_types_of_the_defaults(text: str, name: str, settings: dict[str, object]) -> None:
    assert attacks.parse(text) == (name, settings)
    assert [type(value) for value in attacks.parse(text)[1].values()] == [type(value) for value in settings.values()]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pgdd", "attack 'pgdd': choose one of"),
        ("", "attack '': choose one of"),
        ("pgd:steps", "write settings as key=value, such as pgd:steps=40"),
        ("pgd:steps=few", "attack pgd: steps=few: give a whole number"),
        ("pgd:steps=1.5", "attack pgd: steps=1.5: give a whole number"),
        ("pgd:step_size=nan", "attack pgd: step_size=nan: give a number"),
        ("pgd:targeted=yes", "attack pgd: targeted=yes: choose true or false"),
        ("pgd:stpes=3", "attack pgd: no setting stpes; it has steps"),
    ],
)
def test_what_cannot_be_read_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        attacks.parse(text)
