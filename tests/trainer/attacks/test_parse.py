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
        ("pgd:steps=٣", "attack pgd: steps=٣: give a whole number"),
        ("pgd:steps=1_0", "attack pgd: steps=1_0: give a whole number"),
        ("pgd:step_size=1_0", "attack pgd: step_size=1_0: give a number"),
        ("pgd:steps=1000001", "attack pgd: steps=1000001: give at most 1,000,000"),
        ("pgd:steps=" + 5000 * "9", "give at most 1,000,000"),
        ("pgd:step_size=1e300", "attack pgd: step_size=1e300: give at most 1,000,000"),
        ("pgd:step_size=-inf", "attack pgd: step_size=-inf: give at most 1,000,000"),
        ("pgd:steps=2,restarts=2,steps=3", "attack pgd: steps is given twice; leave one out"),
        ("pgd:step-size=1,step_size=1", "attack pgd: step_size is given twice; leave one out"),
        ("pgd:stpes=3", "attack pgd: no setting stpes; it has steps"),
    ],
)
def test_what_cannot_be_read_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        attacks.parse(text)


@pytest.mark.parametrize("name", attacks.names())
def test_the_example_in_a_message_can_be_used(name: str) -> None:
    with pytest.raises(InvalidInputError) as raised:
        attacks.parse(f"{name}:steps")
    advised = str(raised.value).rpartition("such as ")[2]
    assert attacks.parse(advised)[0] == name
