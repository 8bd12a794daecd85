"""Audits read back from their JSON, by the type hints of the values in skinaudit.audit.judgement.result."""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from skinaudit.artifacts.files import read_json
from skinaudit.audit.judgement.earlier_reports import EARLIER_FORMAT, upgraded
from skinaudit.audit.judgement.result import AUDIT_FORMAT, AuditResult
from skinaudit.errors import InvalidInputError


def read_audit(path: Path) -> AuditResult:
    """Read what `skinaudit audit` wrote as JSON. Invariant: to_json of the result is what the file holds.

    Raises InvalidInputError for another kind of file, a key too many or too few, a value of another type, NaN or infinity,
    and a value that its dataclass refuses.
    """
    value = read_json(path, what="JSON report of an audit")
    kind = value.pop("kind", None)
    if kind == EARLIER_FORMAT:
        kind, value = AUDIT_FORMAT, upgraded(value)
    if kind != AUDIT_FORMAT:
        raise InvalidInputError(
            f"{path}: is of kind {str(kind)[:40]!r}, not {AUDIT_FORMAT!r}; name the JSON report that `skinaudit audit` wrote"
        )
    try:
        result: AuditResult = _read(AuditResult, value, "")
    except (_UnfitError, InvalidInputError) as error:
        raise InvalidInputError(
            f"{path}: {' '.join(str(error).split())}; not as this version of skinaudit writes it, so audit the engine again"
        ) from error
    return result


class _UnfitError(Exception):
    """A value that does not fit its type hint; the message begins with where it lies."""


def _read(hint: Any, value: Any, where: str) -> Any:
    """`value`, made of JSON's types, as the type hint says; `where` is its place in the file."""
    if is_dataclass(hint):
        return _dataclass(hint, value, where)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _union(arguments, value, where)
    if origin is Literal:
        return _one_of({str(one): one for one in arguments}, value, where)
    if origin is tuple:
        return _tuple(arguments, value, where)
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, dict):
            raise _unfit(where, "an object", value)
        return {key: _read(arguments[1], one, _at(where, key)) for key, one in value.items()}
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _one_of({str(one.value): one for one in hint}, value, where)
    if hint in _SCALARS:
        expected, fits, build = _SCALARS[hint]
        if not fits(value):
            raise _unfit(where, expected, value)
        return build(value)
    raise TypeError(f"{where}: no rule to read {hint}; add one here and to skinaudit.audit.reports.parts.schema")


def _dataclass(hint: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise _unfit(where, "an object", value)
    hints = get_type_hints(hint)
    expected = [field.name for field in fields(hint)]
    for problem, keys in (("lacks", set(expected) - set(value)), ("has unknown", set(value) - set(expected))):
        if keys:
            raise _UnfitError(f"{where or 'the report'} {problem} {', '.join(sorted(keys))[:80]}")
    return hint(**{name: _read(hints[name], value[name], _at(where, name)) for name in expected})


def _union(arguments: tuple[Any, ...], value: Any, where: str) -> Any:
    members = [one for one in arguments if one is not types.NoneType]
    if value is None and len(members) < len(arguments):
        return None
    for member in members[:-1]:
        try:
            return _read(member, value, where)
        except (_UnfitError, InvalidInputError):
            continue
    return _read(members[-1], value, where)


def _one_of(members: Mapping[str, Any], value: Any, where: str) -> Any:
    for name, member in members.items():
        plain = member.value if isinstance(member, Enum) else member
        if type(plain) is type(value) and plain == value:
            return members[name]
    raise _unfit(where, f"one of {', '.join(members)}", value)


def _tuple(arguments: tuple[Any, ...], value: Any, where: str) -> Any:
    if not isinstance(value, list):
        raise _unfit(where, "an array", value)
    hints = arguments[:1] * len(value) if arguments[-1:] == (...,) else arguments
    if len(hints) != len(value):
        raise _UnfitError(f"{where} has {len(value)} items instead of {len(hints)}")
    return tuple(_read(one, item, f"{where}[{index}]") for index, (one, item) in enumerate(zip(hints, value, strict=True)))


def _at(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _unfit(where: str, expected: str, value: Any) -> _UnfitError:
    return _UnfitError(f"{where} should be {expected}, found {str(value)[:40]!r}")


def _is_number(value: Any) -> bool:
    return type(value) is int or (type(value) is float and math.isfinite(value))


def _is_fraction(value: Any) -> bool:
    try:
        return isinstance(value, str) and str(Fraction(value)) == value
    except (ValueError, ZeroDivisionError):
        return False


_Scalar = tuple[str, Callable[[Any], bool], Callable[[Any], Any]]

_SCALARS: Mapping[Any, _Scalar] = {
    bool: ("true or false", lambda value: type(value) is bool, bool),
    int: ("an integer", lambda value: type(value) is int, int),
    float: ("a finite number", _is_number, lambda value: value),  # an integer stays one, so that it is written as it was
    str: ("a text", lambda value: isinstance(value, str), str),
    Path: ("a path", lambda value: isinstance(value, str), Path),
    Fraction: ("a fraction such as 1/2", _is_fraction, Fraction),
}
"""Type -> what it is called, whether a JSON value fits it, and how it is made of one."""
