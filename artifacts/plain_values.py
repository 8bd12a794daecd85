"""Outside files as plain values: JSON and TOML that every part of skinaudit can handle, or a one-line error.

Accepted is a regular file of limited size in UTF-8, without repeated keys, with finite numbers of at most 64 bits, limited
nesting and no control characters. skinaudit.artifacts.typed_json converts the values to the types of type hints.
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
"""Largest size in bytes of a JSON file; the report of an audit has tens of kilobytes."""
_TOML_BYTES = 2**20  # people write them by hand, and parsing takes a hundred times as long
MAX_DEPTH = 32
MAX_KEY = 300  # characters; a set's name is a key and a file name
_DIGITS = 30  # longest integer that is parsed: it has more than 64 bits, so further digits would not change the answer
_PLACE = 160
_ENDLESS = re.compile(rf"[0-9_]{{{MAX_TEXT + 2},}}")
"""Digits of an integer that Python would refuse without naming its place. Cut off, they still give no accepted value."""
_DOTTED = re.compile(r"(?<![\w-])[\w-]++(?:[ \t]*+\.[ \t]*+(?:[\w-]++|\"[^\"\n]*+\"|'[^'\n]*+'))+")
"""A dotted key of TOML. Numbers and versions also match, but have few dots."""


def read_json(path: Path, *, kind: str, again: str, text_limit: int = MAX_TEXT) -> dict[str, Any]:
    """Read a JSON object as checked plain values.

    kind: the kind of file for messages, such as `run manifest`. again: what to do about a damaged one. text_limit: largest
    number of characters of a text. Raises InvalidInputError with the path of the field.
    """
    text = read_text(path, kind=kind, again=again)
    return parse_object(text, where=str(path), kind=kind, again=again, text_limit=text_limit)


def parse_object(text: str, *, where: str, kind: str, again: str, text_limit: int = MAX_TEXT) -> dict[str, Any]:
    """A text with a JSON object, as checked plain values; see `read_json`. where: its place, for messages."""
    value = parse_json(text, where=where, kind=kind, again=again, text_limit=text_limit)
    if not isinstance(value, dict):
        raise InvalidInputError(f"{where}: not {with_article(kind)}: should be an object, found {show(value)}; {again}")
    return value


def read_toml(path: Path, *, kind: str, again: str) -> dict[str, Any]:
    """Read a TOML file as checked plain values; like `read_json` for objects."""
    text = read_text(path, kind=kind, again=again, limit=_TOML_BYTES)
    try:
        # the parser's time grows with the square of their number
        if any(key[0].count(".") > MAX_DEPTH for key in _DOTTED.finditer(text)):
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
    """The line of an error. It names the key, which the parser does not."""
    numbered = re.search(r"at line ([0-9]+)", str(error))
    lines = text.rstrip().split("\n")
    return show(lines[min(int(numbered[1]), len(lines)) - 1 if numbered else -1])


def parse_json(text: str, *, where: str, kind: str, again: str, text_limit: int = MAX_TEXT) -> Any:
    """A JSON text as checked plain values. where: its place, for messages; other parameters: see `read_json`."""
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
    """The text of a regular file in UTF-8 of at most `limit` bytes, without byte order mark. Never waits for a pipe."""
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
    """A value that does not fit. The message begins with its place."""


class _Repeating(dict[str, Any]):
    """An object with a repeated key. The parser makes it, and the later check, which knows the place, refuses it."""

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
    """Raise UnfitError for the first plain value that no file may contain, at any depth."""
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
    elif value is not None:  # dates and times of TOML
        raise UnfitError(f"{named(at)} should be a text, a number, true or false, found a {type(value).__name__}")


def _check_text(text: str, name: str, limit: int) -> None:
    if len(text) > limit:
        raise UnfitError(f"{name} should be a text of at most {limit:,} characters, found {len(text):,}")
    if UNPRINTABLE.search(text):
        raise UnfitError(f"{name} should be a text without control characters, found {show(text)}")


def below(at: str, key: str) -> str:
    """The path of a field inside `at`; a key that is not a plain word is quoted, with control characters escaped."""
    word = key if re.fullmatch(r"[\w-]{1,60}", key) else f"[{show(key)}]"
    return f"{at}{word}" if word.startswith("[") else f"{at}.{word}".lstrip(".")


def named(at: str) -> str:
    """A path for messages, cut to the length of a line."""
    return (at if len(at) <= _PLACE else f"{at[:_PLACE]}...") or "the whole file"
