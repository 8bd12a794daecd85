"""The one reader of outside files: values accepted by skinaudit.artifacts.plain_values become values of a type hint.

Each error is an InvalidInputError with one line of limited length: the file, the path of the field in it
(`sets.pgd.digest`), what was expected and what was found.
"""

from __future__ import annotations

import difflib
import math
import re
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from skinaudit.artifacts.plain_values import UnfitError, below, named
from skinaudit.artifacts.printable import show
from skinaudit.errors import InvalidInputError, first_few


@dataclass(frozen=True)
class Range:
    """Bounds of a number, both inclusive: `Annotated[int, Range(0)]`."""

    low: float
    high: float = math.inf

    def __str__(self) -> str:
        return f"from {self.low:g} to {self.high:g}" if self.high < math.inf else f"of at least {self.low:g}"


Count = Annotated[int, Range(0)]
Share = Annotated[float, Range(0, 1)]
"""A count, and a fraction of 1."""


@dataclass(frozen=True, eq=False)  # compared by identity, so that hints that contain it can be looked up
class Known:
    """Keys of a mapping with known types: `Annotated[Mapping[str, Any], Known({"title": str}, required=("title",))]`.

    hints: type hint by key. required: keys that must be present. others: whether further keys with any value are allowed.
    """

    hints: Mapping[str, Any]
    required: tuple[str, ...] = ()
    others: bool = True


def build(hint: Any, value: Any, *, where: str, again: str, at: str = "") -> Any:
    """A value of the type `hint`, built from checked plain values.

    at: the path of `value` in its file. Rules: a dataclass takes exactly its fields, including those with a default. A
    dataclass with another form in files names that form as `written_as`, a dataclass whose `opened()` returns the value.
    bool is not an int; an int is accepted for a float and stays an int. Raises InvalidInputError for a value that does not
    fit or that its dataclass refuses, TypeError for a hint without a rule, which is a mistake in the program.
    """
    try:
        return _build(hint, value, at)
    except UnfitError as error:
        raise InvalidInputError(f"{where}: {error}; {again}") from error


def _build(hint: Any, value: Any, at: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _annotated(arguments[0], arguments[1:], value, at)
    if is_dataclass(hint):
        return _dataclass(hint, value, at)
    if origin in (Union, types.UnionType):
        return _union(hint, value, at)
    if origin is Literal:
        return _one_of([(choice, choice) for choice in arguments], value, at)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _one_of([(member.value, member) for member in hint], value, at)
    if origin is tuple:
        return _tuple(hint, arguments, value, at)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, dict):
            raise _unfit(hint, value, at)
        return {key: _build(arguments[1], item, below(at, key)) for key, item in value.items()}
    if hint is Any:
        return value
    if hint not in _SCALARS:
        raise TypeError(f"{named(at)}: no rule to read {hint}; add one here and to skinaudit.audit.reports.parts.schema")
    _, fits, make = _SCALARS[hint]
    if not fits(value):
        raise _unfit(hint, value, at)
    return make(value)


def _annotated(hint: Any, notes: tuple[Any, ...], value: Any, at: str) -> Any:
    built = _build(hint, value, at)
    for note in notes:
        if isinstance(note, Range) and built is not None and not note.low <= built <= note.high:
            raise UnfitError(f"{named(at)} should be {_expected(hint)} {note}, found {show(value)}")
        if isinstance(note, Known):
            _check_keys(
                value, list(value if note.others else note.hints), {key: note.hints[key] for key in note.required}, at
            )
            built |= {key: _build(note.hints[key], value[key], below(at, key)) for key in note.hints if key in value}
    return built


def _dataclass(hint: Any, value: Any, at: str) -> Any:
    if not isinstance(value, dict):
        raise _unfit(hint, value, at)
    written = getattr(hint, "written_as", None)
    hints = _hints(written or hint)
    names = [item.name for item in fields(written or hint)]
    _check_keys(value, names, {name: hints[name] for name in names}, at)
    built = {name: _build(hints[name], value[name], below(at, name)) for name in names}
    try:
        return hint(**built) if written is None else written(**built).opened()
    except InvalidInputError as error:
        raise UnfitError(f"{at}: {error}" if at else str(error)) from error


@cache
def _hints(of: type) -> dict[str, Any]:
    """Types of a dataclass's fields, cached: computing them takes as long as reading the file."""
    return get_type_hints(of, include_extras=True)


def _check_keys(value: Mapping[str, Any], known: list[str], required: Mapping[str, Any], at: str) -> None:
    for key in value:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            only = f"did you mean {near[0]!r}?" if near else f"expected only {first_few(known, limit=20)}"
            raise UnfitError(f"{named(below(at, key))} is unknown, {only}")
    for key, hint in required.items():
        if key not in value:
            raise UnfitError(f"{named(below(at, key))} is missing, expected {_expected(hint)}")


def _union(hint: Any, value: Any, at: str) -> Any:
    members = [member for member in get_args(hint) if member is not types.NoneType]
    if value is None and len(members) < len(get_args(hint)):
        return None
    if len(members) == 1:
        return _build(members[0], value, at)
    for member in members:
        try:
            return _build(member, value, at)
        except UnfitError:
            continue
    raise _unfit(hint, value, at)


def _one_of(members: list[tuple[Any, Any]], value: Any, at: str) -> Any:
    for plain, member in members:
        if type(plain) is type(value) and plain == value:
            return member
    raise UnfitError(f"{named(at)} should be {_choices([plain for plain, _ in members])}, found {show(value)}")


def _tuple(hint: Any, arguments: tuple[Any, ...], value: Any, at: str) -> Any:
    if not isinstance(value, list):
        raise _unfit(hint, value, at)
    hints = arguments[:1] * len(value) if arguments[-1:] == (...,) else arguments
    if len(hints) != len(value):
        raise UnfitError(f"{named(at)} should be {_expected(hint)}, found {len(value)} items")
    return tuple(_build(item, part, f"{at}[{index}]") for index, (item, part) in enumerate(zip(hints, value, strict=True)))


def _unfit(hint: Any, value: Any, at: str) -> UnfitError:
    return UnfitError(f"{named(at)} should be {_expected(hint)}, found {show(value)}")


def _expected(hint: Any) -> str:
    """A type hint, for messages."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _expected(arguments[0])
    if origin in (Union, types.UnionType):
        return " or ".join(_expected(member) for member in arguments)
    if origin is Literal:
        return _choices(list(arguments))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _choices([member.value for member in hint])
    if origin is tuple:
        return "an array" if arguments[-1:] == (...,) else f"an array of {len(arguments)} items"
    if hint in _SCALARS:
        return _SCALARS[hint][0]
    return "null" if hint is types.NoneType else "any value" if hint is Any else "an object"


def _choices(plain: list[Any]) -> str:
    return f"one of {', '.join(map(str, plain))}" if len(plain) > 1 else str(plain[0])


def _is_number(value: Any) -> bool:
    return type(value) is int or (type(value) is float and math.isfinite(value))


def _is_fraction(value: Any) -> bool:
    written = isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,40}(/[1-9][0-9]{0,39})?", value)
    return bool(written) and str(Fraction(value)) == value


_SCALARS: Mapping[Any, tuple[str, Callable[[Any], bool], Callable[[Any], Any]]] = {
    bool: ("true or false", lambda value: type(value) is bool, bool),
    int: ("an integer", lambda value: type(value) is int, int),
    float: ("a finite number", _is_number, lambda value: value),  # an int stays an int, so that it is written as it was
    str: ("a text", lambda value: isinstance(value, str), str),
    Path: ("a path", lambda value: isinstance(value, str), Path),
    Fraction: ("a fraction such as 1/2", _is_fraction, Fraction),
    type(None): ("null", lambda value: value is None, lambda value: None),
}
"""Type -> its name in messages, whether a plain value fits it, and how it is built from one."""
