"""What a table says about the person and the picture besides the diagnosis, in one spelling for all archives."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from skinaudit.artifacts.printable import printable
from skinaudit.artifacts.set_subgroups import LONGEST
from skinaudit.trainer.data.tables import known

_ROMAN = ("I", "II", "III", "IV", "V", "VI")


def _age(text: str) -> str:
    """Age in whole years; ISIC writes 85 for 85 and more."""
    number = re.fullmatch(r"(\d{1,3})(?:[.,]0*)?\+?", text)
    return str(int(number[1])) if number and int(number[1]) <= 120 else ""


def _sex(text: str) -> str:
    return {"f": "female", "m": "male", "w": "female"}.get(text.casefold(), text.casefold())


def _skin_type(text: str) -> str:
    """Fitzpatrick's skin types I to VI."""
    roman = text.upper().removeprefix("TYPE").strip()
    number = re.fullmatch(r"([1-6])(?:[.,]0*)?", roman)
    return _ROMAN[int(number[1]) - 1] if number else roman if roman in _ROMAN else ""


def _site(text: str) -> str:
    return " ".join(text.casefold().replace("_", " ").split())


_SPELLING: Mapping[str, Callable[[str], str]] = {
    "age": _age,
    "sex": _sex,
    "site": _site,
    "skin_type": _skin_type,
    "source": lambda text: " ".join(text.split()),
}

NAMES = tuple(_SPELLING)
"""Subgroup names stored with an image.

Age in years, sex (female or male), site on the body, Fitzpatrick's skin type (I to VI), source (hospital or collection).
"""


def spelled(name: str, value: str) -> str:
    """A value in its standard spelling, cut to the length that a set can store; empty for an unreadable one."""
    return printable(_SPELLING[name](value))[:LONGEST] if known(value) else ""
