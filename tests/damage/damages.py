"""Every way to damage every field of a file of plain values, as the text of the damaged file."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Place = tuple[str | int, ...]
Dump = Callable[[Any], str]
DEEP = 100_000
NEVER_VALID = (
    "NaN", "infinity", "10^400", "2^64", "nested deeply", "given twice", "control characters", "lone surrogate", "long text",
)  # fmt: skip
"""Damages after which no file is read, whatever the field is for."""
WORDS: Mapping[type, Any] = {
    bool: "yes",
    int: "word",
    float: "word",
    str: 7,
    list: {"a": 1},
    dict: [1],
    type(None): [1],
}
"""Type of a field -> a value of another type."""


class Raw(str):
    """Text that goes into the file as it is, where JSON and TOML have no value."""


class Pairs(list[tuple[str, Any]]):
    """An object in which a key may be given twice."""


def places(value: Any, place: Place = ()) -> Iterator[Place]:
    """Every field of a plain value, and the first item of each array."""
    inner: Any = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for key, item in inner:
        yield (*place, key)
        yield from places(item, (*place, key))


def title(place: Place) -> str:
    """`sets.pgd.digest`."""
    return ".".join(map(str, place))


def damaged(value: Any, place: Place) -> Iterator[tuple[str, Any]]:
    """What was done to the field, and the whole value with that damage."""
    old = at(value, place)
    key = place[-1]

    def put(new: Any) -> Any:
        return changed(value, place, lambda inner: inner.__setitem__(key, new))

    yield "other type", put(WORDS[type(old)])
    if old is not None:
        yield "null", put(Raw("null"))
    yield "NaN", put(Raw("nan"))
    yield "infinity", put(Raw("1e999"))
    yield "10^400", put(Raw("1" + "0" * 400))
    yield "2^64", put(2**64)
    yield "nested", put([[[[old]]]])
    yield "nested deeply", put(Raw("[" * DEEP + "]" * DEEP))
    if isinstance(key, str):
        yield "removed", changed(value, place, lambda inner: inner.pop(key))
        yield "renamed", changed(value, place, lambda inner: inner.__setitem__(f"{key}x", inner.pop(key)))
        yield "given twice", twice(value, place)
    if isinstance(old, str):
        yield "control characters", put(f"{old}\x1b[31m")
        yield "lone surrogate", put(f"{old}\ud800")
        yield "another text", put(f"{old}x")
        if old:
            yield "no text", put("")
        yield "long text", put("x" * 2**21)
    elif isinstance(old, bool):
        yield "flipped", put(not old)
    elif isinstance(old, (int, float)):
        yield "negative", put(-1 - abs(old))
        yield "large", put(2**62 if isinstance(old, int) else 1e300)
        yield "a little more", put(old + 1 if isinstance(old, int) else old * 1.1 + 0.1)
    elif isinstance(old, (list, dict)) and old:
        yield "emptied", put(type(old)())
        if isinstance(old, list) and old[::-1] != old:
            yield "reversed", put(old[::-1])
    if isinstance(old, dict):
        yield "unknown key", put({**old, "whim": 1})


def at(value: Any, place: Place) -> Any:
    """The field at a place."""
    for step in place:
        value = value[step]
    return value


def changed(value: Any, place: Place, change: Callable[[Any], object]) -> Any:
    """A copy with `change` applied to what holds the field; what lies beside the way there is shared with the original."""
    copied = holder = copy.copy(value)
    for step in place[:-1]:
        holder[step] = copy.copy(holder[step])
        holder = holder[step]
    change(holder)
    return copied


def twice(value: Any, place: Place) -> Any:
    """A copy in which the last key of the place is given twice."""
    holder = at(value, place[:-1])
    pairs = Pairs([*holder.items(), (str(place[-1]), holder[place[-1]])])
    return pairs if len(place) == 1 else changed(value, place[:-1], lambda inner: inner.__setitem__(place[-2], pairs))


def to_json(value: Any) -> str:
    """JSON in which Raw and Pairs stand for what no JSON library writes."""
    if isinstance(value, Raw):
        return "NaN" if value == "nan" else str(value)
    if isinstance(value, Pairs | dict):
        items = value if isinstance(value, Pairs) else value.items()
        return "{" + ", ".join(f"{json.dumps(key)}: {to_json(item)}" for key, item in items) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(to_json, value)) + "]"
    return json.dumps(value)


def to_toml(value: Any, path: str = "") -> str:
    """The same as TOML; what TOML cannot say, such as null, is left for its parser to refuse."""
    items = value if isinstance(value, Pairs) else value.items()
    plain = [(key, item) for key, item in items if not isinstance(item, Pairs | dict)]
    tables = [(key, item) for key, item in items if isinstance(item, Pairs | dict)]
    text = "".join(f"{_key(key)} = {str(item) if isinstance(item, Raw) else to_json(item)}\n" for key, item in plain)
    for key, item in tables:
        below = f"{path}.{_key(key)}" if path else _key(key)
        text += f"[{below}]\n{to_toml(item, below)}"
    return text


def _key(key: str) -> str:
    return key if re.fullmatch(r"[\w-]+", key) else json.dumps(key)
