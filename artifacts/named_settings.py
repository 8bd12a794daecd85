"""`NAME:key=value,...` on the command line: the name of a file in a folder, and settings with the types of its defaults."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from skinaudit.errors import InvalidInputError

MOST = 1_000_000
"""Largest size of a number. No setting needs more, and float32 still computes with it."""
_WHOLE = re.compile(r"[+-]?[0-9]+")


def parse_named(
    text: str, *, kind: str, defaults_of: Callable[[str], Mapping[str, Any]]
) -> tuple[str, dict[str, Any]]:  # fmt: skip
    """The name and the settings given in `NAME` or `NAME:key=value,...`, such as `pgd-dlr:steps=100,targets=6`.

    kind: what the name stands for, for messages. defaults_of: returns the settings of a name with their defaults, and
    refuses unknown names. Values have the types of the defaults; `none` is for settings that may be left open. Raises
    InvalidInputError for unknown settings, a setting that is given twice, values of another type, and numbers above MOST.
    """
    name, _, settings = text.partition(":")
    defaults = defaults_of(name)
    given: dict[str, Any] = {}
    for item in settings.split(",") if settings else ():
        key, equals, value = item.partition("=")
        key = key.strip().replace("-", "_")
        if not equals or not key:
            raise InvalidInputError(f"{kind} {text!r}: write settings as key=value, such as {name}:{_example(defaults)}")
        check_known({key}, kind=kind, name=name, defaults=defaults)
        if key in given:
            raise InvalidInputError(f"{kind} {name}: {key} is given twice; leave one out")
        given[key] = _value(f"{kind} {name}: {key}", value.strip(), defaults[key])
    return name, given


def check_known(given: set[str], *, kind: str, name: str, defaults: Mapping[str, Any]) -> None:
    """Raise InvalidInputError for a setting that `name` does not have."""
    unknown = sorted(given - set(defaults))
    if unknown:
        raise InvalidInputError(f"{kind} {name}: no setting {', '.join(unknown)}; it has {', '.join(defaults) or 'none'}")


def _example(defaults: Mapping[str, Any]) -> str:
    return ",".join(f"{key}={str(value).lower()}" for key, value in list(defaults.items())[:2])


def _value(setting: str, text: str, default: Any) -> Any:
    """`text` as the type of the default; a number if there is no default."""
    if default is None and text == "none":
        return None
    if isinstance(default, bool):
        if text not in ("true", "false"):
            raise InvalidInputError(f"{setting}={text}: choose true or false")
        return text == "true"
    if isinstance(default, str):
        return text
    whole = isinstance(default, int)
    value = _number(text, whole=whole)
    if math.isnan(value):
        raise InvalidInputError(f"{setting}={text}: give {'a whole number' if whole else 'a number'}")
    if abs(value) > MOST:
        raise InvalidInputError(f"{setting}={text}: give at most {MOST:,}")
    return int(value) if whole else value


def _number(text: str, *, whole: bool) -> float:
    """The number; NaN for text that is none, or that is not a whole one if `whole`."""
    if not text.isascii() or "_" in text or (whole and not _WHOLE.fullmatch(text)):
        return math.nan
    try:
        return float(text)
    except ValueError:
        return math.nan
