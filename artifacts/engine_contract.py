"""How an engine wants its pixels and what its answers mean: a TOML file for engines that skinaudit did not build."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, get_args

from skinaudit.errors import InvalidInputError, first_few

Layout = Literal["NCHW", "NHWC"]
Dtype = Literal["float32", "float16", "uint8", "int8"]
Colour = Literal["RGB", "BGR"]
Answer = Literal["logits", "probabilities"]

CHANNELS = 3


@dataclass(frozen=True)
class EngineContract:
    """What goes into an engine and what comes out.

    A pixel p of 0 to 255 enters as (p * scale - mean) / std, cast to `dtype`. size: side of the square image. scale: a
    rational, so that 1/255 is a division by 255 and not a product with its rounded inverse. mean, std: per channel in the
    order of `colour`, in units of p * scale. classes: meaning of the columns of the answer, in their order. answer: logits,
    or probabilities that sum to 1. input, output: names of the tensors, None where the engine has only one of each.
    """

    size: int
    classes: tuple[str, ...]
    layout: Layout = "NCHW"
    dtype: Dtype = "float32"
    colour: Colour = "RGB"
    scale: Fraction = Fraction(1, 255)
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    answer: Answer = "logits"
    input: str | None = None
    output: str | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one image, without the batch."""
        return (CHANNELS, self.size, self.size) if self.layout == "NCHW" else (self.size, self.size, CHANNELS)


_INPUT = ("name", "size", "layout", "dtype", "colour", "scale", "mean", "std")
_OUTPUT = ("name", "answer", "classes")


def read_engine_contract(path: Path) -> EngineContract:
    """Read a contract file; raises InvalidInputError naming the file and the entry for whatever is missing or unknown."""
    try:
        value = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InvalidInputError(f"{path}: no such contract; `skinaudit contract ENGINE` writes a first draft") from error
    except (OSError, ValueError) as error:
        raise InvalidInputError(
            f"{path}: not a readable TOML file ({error}); `skinaudit contract ENGINE` drafts one"
        ) from error
    given, answered = _table(value, "input", _INPUT, path), _table(value, "output", _OUTPUT, path)
    unknown = sorted(set(value) - {"input", "output"})
    if unknown:
        raise InvalidInputError(f"{path}: unknown table [{unknown[0]}]; a contract has [input] and [output]")
    return EngineContract(
        size=_size(given, path),
        classes=_classes(answered, path),
        layout=_choice(given, "layout", get_args(Layout), path),
        dtype=_choice(given, "dtype", get_args(Dtype), path),
        colour=_choice(given, "colour", get_args(Colour), path),
        scale=_scale(given, path),
        mean=_channels(given, "mean", path),
        std=_channels(given, "std", path),
        answer=_choice(answered, "answer", get_args(Answer), path),
        input=_name(given, path),
        output=_name(answered, path),
    )


def write_toml(contract: EngineContract, *, notes: Mapping[str, str]) -> str:
    """The contract as commented TOML. notes: by entry name (`size`, `classes`, ...), what a reader should check there."""
    rows = [
        "# How the engine wants its pixels and what its answers mean.",
        "# A pixel p (0 to 255) enters as (p * scale - mean) / std.",
        "# skinaudit audit ENGINE --contract THIS_FILE --sets DIR",
        "[input]",
        *([] if contract.input is None else [f"name = {_text(contract.input)}"]),
        f"size = {contract.size}",
        f'layout = "{contract.layout}"   # NCHW or NHWC',
        f'dtype = "{contract.dtype}"   # float32, float16, uint8 or int8',
        f'colour = "{contract.colour}"   # RGB, or BGR as OpenCV reads',
        f'scale = "{contract.scale}"',
        f"mean = {list(contract.mean)}",
        f"std = {list(contract.std)}",
        "",
        "[output]",
        *([] if contract.output is None else [f"name = {_text(contract.output)}"]),
        f'answer = "{contract.answer}"   # logits, or probabilities that sum to 1',
        f"classes = [{', '.join(map(_text, contract.classes))}]   # in the order of the columns",
    ]
    made = []
    for row in rows:
        entry = row.partition(" = ")[0]
        made += [f"# CHECK: {notes[entry]}"] if entry in notes else []
        made.append(row)
    return "\n".join(made) + "\n"


def _text(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _table(value: Mapping[str, Any], name: str, entries: tuple[str, ...], path: Path) -> Mapping[str, Any]:
    table = value.get(name)
    if not isinstance(table, dict):
        raise InvalidInputError(f"{path}: has no [{name}] table; `skinaudit contract ENGINE` drafts a whole contract")
    unknown = sorted(set(table) - set(entries))
    if unknown:
        raise InvalidInputError(f"{path}: [{name}] has no entry {first_few(unknown)}; it may hold {', '.join(entries)}")
    return table


def _needed(table: Mapping[str, Any], entry: str, path: Path) -> Any:
    if entry not in table:
        raise InvalidInputError(f"{path}: {entry} is missing; a contract leaves nothing to guess")
    return table[entry]


def _size(table: Mapping[str, Any], path: Path) -> int:
    size = _needed(table, "size", path)
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise InvalidInputError(f"{path}: size = {size!r}: give the side of the square image in pixels, such as 224")
    return size


def _classes(table: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    classes = _needed(table, "classes", path)
    if not isinstance(classes, list) or len(classes) < 2 or not all(isinstance(one, str) and one for one in classes):
        raise InvalidInputError(f"{path}: classes = {classes!r}: give the names in the order of the answer's columns")
    if len(set(classes)) != len(classes):
        raise InvalidInputError(f"{path}: classes names one twice: {', '.join(classes)}")
    return tuple(classes)


def _choice(table: Mapping[str, Any], entry: str, choices: tuple[str, ...], path: Path) -> Any:
    value = _needed(table, entry, path)
    if value not in choices:
        raise InvalidInputError(f"{path}: {entry} = {value!r}: choose {', '.join(choices[:-1])} or {choices[-1]}")
    return value


def _scale(table: Mapping[str, Any], path: Path) -> Fraction:
    value = _needed(table, "scale", path)
    try:
        scale = Fraction(value) if isinstance(value, int | str) and not isinstance(value, bool) else Fraction(str(value))
    except (ValueError, ZeroDivisionError) as error:
        raise InvalidInputError(f'{path}: scale = {value!r}: give a number or a rational, such as "1/255"') from error
    if scale <= 0:
        raise InvalidInputError(f"{path}: scale = {value!r}: must be positive")
    return scale


def _channels(table: Mapping[str, Any], entry: str, path: Path) -> tuple[float, ...]:
    value = _needed(table, entry, path)
    numbers = isinstance(value, list) and len(value) == CHANNELS and all(isinstance(one, int | float) for one in value)
    if not numbers or not all(math.isfinite(one) for one in value) or (entry == "std" and min(value) <= 0):
        wanted = "three positive numbers" if entry == "std" else "three numbers"
        raise InvalidInputError(f"{path}: {entry} = {value!r}: give {wanted}, one a channel")
    return tuple(float(one) for one in value)


def _name(table: Mapping[str, Any], path: Path) -> str | None:
    name = table.get("name")
    if name is not None and not isinstance(name, str):
        raise InvalidInputError(f"{path}: name = {name!r}: give the tensor's name, or leave it out where there is only one")
    return name
