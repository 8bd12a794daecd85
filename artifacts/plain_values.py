"""Outside files as plain values: JSON and TOML that every part of skinaudit can handle, or one line that says why not.

A regular file of bounded size in UTF-8, no key twice, finite numbers of at most 64 bits, bounded nesting, no control
characters. skinaudit.artifacts.typed_json makes values of type hints of them.
"""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

from skinaudit.artifacts.outside import read_regular
from skinaudit.artifacts.printable import MAX_TEXT, UNPRINTABLE, printable, show, with_article
from skinaudit.errors import InvalidInputError

MAX_BYTES = 16 * 2**20
"""Of a JSON file; a report of an audit has tens of kilobytes."""
_TOML_BYTES = 2**20  # a person writes them, and they are parsed a hundred times as slowly
MAX_DEPTH = 32
MAX_KEY = 300  # characters; a set's name is a key and a file name
_DIGITS = 30  # of an integer that is parsed at all: more than 64 bits have, so that the rest changes no answer
_PLACE = 160
_ENDLESS = re.compile(rf"[0-9_]{{{MAX_TEXT + 2},}}")
"""Digits of an integer that Python refuses without its place. Cut, they are still no number or text that is accepted."""
_DOTTED = re.compile(r"(?<![\w-])[\w-]++(?:[ \t]*+\.[ \t]*+(?:[\w-]++|\"[^\"\n]*+\"|'[^'\n]*+'))+")
"""A dotted key of TOML; numbers and versions are some, too, with few dots."""


def read_json(path: Path, *, kind: str, again: str, text_limit: int = MAX_TEXT) -> dict[str, Any]:
    """Read a JSON object as checked plain values.

    kind: the kind of file for messages, such as `run manifest`. again: what to do about a damaged one. text_limit: the most
    characters of a text. Raises InvalidInputError with the path of the field.
    """
    text = read_text(path, kind=kind, again=again)
    return parse_object(text, where=str(path), kind=kind, again=again, text_limit=text_limit)


def parse_object(text: str, *, where: str, kind: str, again: str, text_limit: int = MAX_TEXT) -> dict[str, Any]:
    """The text of a JSON object as checked plain values; otherwise as `read_json`. where: how messages name its place."""
    value = parse_json(text, where=where, kind=kind, again=again, text_limit=text_limit)
    if not isinstance(value, dict):
        raise InvalidInputError(f"{where}: not {with_article(kind)}: should be an object, found {show(value)}; {again}")
    return value


def read_toml(path: Path, *, kind: str, again: str) -> dict[str, Any]:
    """Read a TOML file as checked plain values; the same for tables as `read_json` is for objects."""
    text = read_text(path, kind=kind, again=again, limit=_TOML_BYTES)
    try:
        if any(key[0].count(".") > MAX_DEPTH for key in _DOTTED.finditer(text)):  # the parser's time is their square
            raise UnfitError(f"a key should be nested at most {MAX_DEPTH} deep")
        value = tomllib.loads(_ENDLESS.sub(lambda digits: digits[0][: MAX_TEXT + 1] + "0", text))
        _check(value, "", MAX_TEXT)
    except tomllib.TOMLDecodeError as error:
        reason = f"{error} in {_line_of(error, text)}"
        raise _refusal(ValueError(reason), where=str(path), kind=kind, again=again) from error
    except (UnfitError, ValueError, RecursionError) as error:
        raise _refusal(error, where=str(path), kind=kind, again=again) from error
    return value


def _line_of(error: tomllib.TOMLDecodeError, text: str) -> str:
    """The line that an error is about: it names the key, which the parser does not."""
    numbered = re.search(r"at line ([0-9]+)", str(error))
    lines = text.rstrip().split("\n")
    return show(lines[min(int(numbered[1]), len(lines)) - 1 if numbered else -1])


def parse_json(text: str, *, where: str, kind: str, again: str, text_limit: int = MAX_TEXT) -> Any:
    """One JSON text as checked plain values. where: how messages name its place; the rest as for `read_json`."""
    if not text.strip():
        raise InvalidInputError(f"{where}: not {with_article(kind)}: is empty; {again}")
    try:
        if len(text) > MAX_BYTES:
            raise UnfitError(f"should have at most {MAX_BYTES:,} characters")
        value = json.loads(text, object_pairs_hook=_object, parse_int=_integer)
        _check(value, "", text_limit)
    except (UnfitError, ValueError, RecursionError) as error:
        raise _refusal(error, where=where, kind=kind, again=again) from error
    return value


def read_text(path: Path, *, kind: str, again: str, limit: int = MAX_BYTES) -> str:
    """The text of a regular file of at most `limit` bytes in UTF-8, without a byte order mark. Never waits for a pipe."""
    content = read_regular(path, kind=kind, limit=limit, again=again)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInputError(
            f"{path}: not {with_article(kind)}: should be text in UTF-8, found other bytes at {error.start:,}; {again}"
        ) from error
    if text.startswith("\ufeff"):
        reason = "begins with a byte order mark; save it as UTF-8 without one"
        raise InvalidInputError(f"{path}: not {with_article(kind)}: {reason}")
    return text


class UnfitError(Exception):
    """A value that does not fit; the message begins with where it lies."""


class _Repeating(dict[str, Any]):
    """An object of which a key was given twice; made by the parser, refused by the check that follows, which knows where."""

    repeated = ""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) == len(pairs):
        return value
    repeating = _Repeating(value)
    repeating.repeated = Counter(key for key, _ in pairs).most_common(1)[0][0]
    return repeating


def _integer(text: str) -> int:
    return int(text[:_DIGITS])


def _refusal(error: Exception, *, where: str, kind: str, again: str) -> InvalidInputError:
    if isinstance(error, UnfitError):
        return InvalidInputError(f"{where}: {error}; {again}")
    reason = "nested too deeply" if isinstance(error, RecursionError) else printable(str(error))[:_PLACE]
    return InvalidInputError(f"{where}: not a readable {kind} ({reason}); {again}")


def _check(value: Any, at: str, text_limit: int, depth: int = 0) -> None:
    """Raise UnfitError for the first plain value that no file may hold, wherever it lies."""
    if depth > MAX_DEPTH:
        raise UnfitError(f"{named(at)} should be nested at most {MAX_DEPTH} deep")
    if isinstance(value, _Repeating):
        raise UnfitError(f"{named(below(at, value.repeated))} should be given once, but is there twice")
    if isinstance(value, dict):
        for key, item in value.items():
            _check_text(key, f"a key of {named(at)}", MAX_KEY)
            _check(item, below(at, key), text_limit, depth + 1)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check(item, f"{at}[{index}]", text_limit, depth + 1)
    elif isinstance(value, str):
        _check_text(value, named(at), text_limit)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise UnfitError(f"{named(at)} should be a finite number, found {value}")
    elif isinstance(value, int):
        if not -(2**63) <= value < 2**64:
            raise UnfitError(f"{named(at)} should be a number of at most 64 bits, found {show(value)}")
    elif value is not None:  # TOML has dates and times
        raise UnfitError(f"{named(at)} should be a text, a number, true or false, found a {type(value).__name__}")


def _check_text(text: str, name: str, limit: int) -> None:
    if len(text) > limit:
        raise UnfitError(f"{name} should be a text of at most {limit:,} characters, found {len(text):,}")
    if UNPRINTABLE.search(text):
        raise UnfitError(f"{name} should be a text without control characters, found {show(text)}")


def below(at: str, key: str) -> str:
    """The path of a field inside `at`; a key that is no plain word is quoted, its control characters escaped."""
    word = key if re.fullmatch(r"[\w-]{1,60}", key) else f"[{show(key)}]"
    return f"{at}{word}" if word.startswith("[") else f"{at}.{word}".lstrip(".")


def named(at: str) -> str:
    """A path in a message, never longer than a line takes."""
    return (at if len(at) <= _PLACE else f"{at[:_PLACE]}...") or "the whole file"
