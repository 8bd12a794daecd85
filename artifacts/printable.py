"""Clean all text that comes from outside: names of files, sets, attacks and classes, and messages of libraries.

Everything that is shown on a terminal, a page or a report passes through here. So no name can move the cursor, reverse
the reading order, hide the text after it, or look like a separate line. This module imports only the standard library,
because the last lines of a program need it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

MAX_TEXT = 4096  # characters; the longest path on Linux
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, line separators, marks that change the reading order, surrogates. Files with them are refused."""
_UNSEEN = re.compile(
    f"{UNPRINTABLE.pattern[:-1]}\u00ad\u061c\u180e\u200b\u200e\u200f\u2060-\u2065\u206a-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff"
    "\U000e0000-\U000e007f]"
)
"""These, and other characters without width or that change the reading order; a few languages use some of them.
"""
_BLANKS = re.compile("[ \u00a0\u115f\u1160\u1680\u2000-\u200a\u202f\u205f\u2800\u3000\u3164\uffa0]{4,}")
"""So many spaces that a narrow screen could start a new line after them."""
_BREAKS = re.compile("[\t\n\r]+")
_SHOWN = 40

_T = TypeVar("_T")


def printable(text: str) -> str:
    """The text in one line, at most MAX_TEXT characters.

    Line breaks and tabs become a space, characters that are invisible or control the screen become a question mark, and runs
    of spaces are shortened.
    """
    return _visible(text[:MAX_TEXT])


def printable_lines(text: str) -> str:
    """The same for each line of a text with several lines."""
    return "\n".join(map(_visible, text.split("\n")))


def printable_table(text: str) -> str:
    """The same for a table of cleaned cells: runs of spaces stay, because they align the columns."""
    return "\n".join(_UNSEEN.sub("?", line) for line in text.split("\n"))


def printable_value(value: _T) -> _T:
    """A value with all texts and paths inside cleaned, through dataclasses, mappings, lists and tuples.

    A value that needs no cleaning is returned unchanged.
    """
    return _cleaned(value)  # type: ignore[no-any-return]


def show(value: Any) -> str:
    """A value for a message: on one line, short, with control characters escaped."""
    if isinstance(value, str):
        return repr(value if len(value) <= _SHOWN else f"{value[:_SHOWN]}...")
    if isinstance(value, dict):
        return f"an object of {len(value)} {'entry' if len(value) == 1 else 'entries'}"
    if isinstance(value, list):
        return f"an array of {len(value)} {'item' if len(value) == 1 else 'items'}"
    return json.dumps(value)[:_SHOWN]


def _visible(text: str) -> str:
    if text.isascii() and text.isprintable() and "    " not in text:  # true for most texts, in a hundredth of the time
        return text
    return _BLANKS.sub("   ", _UNSEEN.sub("?", _BREAKS.sub(" ", text)))


def _cleaned(value: Any) -> Any:
    if type(value) is str:
        return value if (clean := _visible(value)) == value else clean
    if isinstance(value, Path):
        text = str(value)
        return value if (clean := _visible(text)) == text else Path(clean)
    if isinstance(value, tuple | list):
        items = [_cleaned(item) for item in value]
        return value if all(map(_is, items, value)) else type(value)(items)
    if isinstance(value, Mapping):
        entries = {_cleaned(key): _cleaned(item) for key, item in value.items()}
        same = len(entries) == len(value) and all(key in value and entries[key] is value[key] for key in entries)
        return value if same else entries
    if is_dataclass(value) and not isinstance(value, type):
        changed = {
            item.name: clean
            for item in fields(value)
            if item.init and (clean := _cleaned(old := getattr(value, item.name))) is not old
        }
        return replace(value, **changed) if changed else value
    return value


def _is(first: object, second: object) -> bool:
    return first is second


def with_article(noun: str) -> str:
    """One of our own nouns after `a`, or after `an` if it begins with a vowel; for messages."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
