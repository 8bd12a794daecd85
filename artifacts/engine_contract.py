"""How an engine wants its pixels and what its answers mean: a TOML file for engines that skinaudit did not build."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

from skinaudit.artifacts.contract import MAX_SIZE
from skinaudit.artifacts.plain_values import read_toml
from skinaudit.artifacts.printable import printable, show
from skinaudit.artifacts.typed_json import Known, Range, build
from skinaudit.errors import InvalidInputError

Layout = Literal["NCHW", "NHWC"]
Dtype = Literal["float32", "float16", "uint8", "int8"]
Colour = Literal["RGB", "BGR"]
Answer = Literal["logits", "probabilities"]

CHANNELS = 3
MAX_BATCH = 4096
"""Images a call; beyond it a slip of the pen would ask for memory that no machine has."""


@dataclass(frozen=True)
class EngineContract:
    """What goes into an engine and what comes out.

    A pixel p of 0 to 255 enters as (p * scale - mean) / std, cast to `dtype`. size: side of the square image. scale: a
    rational, so that 1/255 is a division by 255 and not a product with its rounded inverse. mean, std: per channel in the
    order of `colour`, in units of p * scale. classes: meaning of the columns of the answer, in their order. answer: logits,
    or probabilities that sum to 1. input, output: names of the tensors, None where the engine has only one of each. batch:
    images in every call of the service that the engine is for; None where that may be any number.
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
    batch: int | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one image, without the batch."""
        return (CHANNELS, self.size, self.size) if self.layout == "NCHW" else (self.size, self.size, CHANNELS)


_AGAIN = "`skinaudit contract ENGINE` drafts a whole contract"
_MEAN = Annotated[float, Range(-1e6, 1e6)]  # beyond, float32 overflows
_STD = Annotated[float, Range(1e-6, 1e6)]
_INPUT = Known(
    {
        "name": str, "size": Annotated[int, Range(1, MAX_SIZE)], "layout": Layout, "dtype": Dtype, "colour": Colour,
        "batch": Annotated[int, Range(1, MAX_BATCH)], "scale": int | float | str,
        "mean": tuple[_MEAN, _MEAN, _MEAN], "std": tuple[_STD, _STD, _STD],
    },
    required=("size", "layout", "dtype", "colour", "scale", "mean", "std"), others=False,
)  # fmt: skip
_OUTPUT = Known({"name": str, "answer": Answer, "classes": tuple[str, ...]}, required=("answer", "classes"), others=False)
_FILE = Known(
    {"input": Annotated[Mapping[str, Any], _INPUT], "output": Annotated[Mapping[str, Any], _OUTPUT]},
    required=("input", "output"),
    others=False,
)
_SCALE = re.compile(r"[0-9]{1,20}([./][0-9]{1,20})?")


def read_engine_contract(path: Path) -> EngineContract:
    """Read a contract file; raises InvalidInputError naming the file and the entry for whatever is missing or unknown."""
    if not path.exists():
        raise InvalidInputError(f"{path}: no such contract; `skinaudit contract ENGINE` writes a first draft")
    plain = read_toml(path, what="contract", again=_AGAIN)
    tables: Mapping[str, Any] = build(Annotated[Mapping[str, Any], _FILE], plain, where=str(path), again=_AGAIN)
    given, answered = tables["input"], tables["output"]
    classes = answered["classes"]
    if len(classes) < 2 or not all(classes) or len(set(classes)) < len(classes):
        raise InvalidInputError(
            f"{path}: output.classes = {classes!r}: give two or more different names in the order of the answer's columns"
        )
    mean, std = (tuple(float(number) for number in given[entry]) for entry in ("mean", "std"))
    return EngineContract(
        size=given["size"], classes=classes, layout=given["layout"], dtype=given["dtype"], colour=given["colour"],
        scale=_scale(given["scale"], path), mean=mean, std=std, answer=answered["answer"], input=given.get("name"),
        output=answered.get("name"), batch=given.get("batch"),
    )  # fmt: skip


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
        "# batch = 1   # images in every call of the service, if it is always the same number: judged at that alone"
        if contract.batch is None
        else f"batch = {contract.batch}",
        "",
        "[output]",
        *([] if contract.output is None else [f"name = {_text(contract.output)}"]),
        f'answer = "{contract.answer}"   # logits, or probabilities that sum to 1',
        f"classes = [{', '.join(map(_text, contract.classes))}]   # in the order of the columns",
    ]
    made = []
    for row in rows:
        entry = row.partition(" = ")[0]
        made += [f"# CHECK: {printable(notes[entry])}"] if entry in notes else []
        made.append(row)
    return "\n".join(made) + "\n"


def _text(value: str) -> str:
    escaped = printable(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _scale(value: int | float | str, path: Path) -> Fraction:
    readable = not isinstance(value, str) or _SCALE.fullmatch(value)
    try:
        scale = Fraction(str(value)) if readable else None
    except ZeroDivisionError:
        scale = None
    if scale is None or not Fraction(1, 10**6) <= scale <= 10**6:
        raise InvalidInputError(
            f'{path}: input.scale = {show(value)}: give a positive number or a rational, such as "1/255"'
        )
    return scale
