"""Input and output of an engine that skinaudit did not build, described in a TOML file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from skinaudit.artifacts.contract import MAX_SIZE
from skinaudit.artifacts.logits import check_positive
from skinaudit.artifacts.plain_values import read_toml
from skinaudit.artifacts.printable import printable, show
from skinaudit.artifacts.task_classes import TaskClass, task_classes
from skinaudit.artifacts.typed_json import Known, Range, build
from skinaudit.errors import InvalidInputError, first_few

Layout = Literal["NCHW", "NHWC"]
Dtype = Literal["float32", "float16", "float64", "uint8", "int8", "uint16", "int16", "int32"]
Colour = Literal["RGB", "BGR", "grey"]
Answer = Literal["logits", "probabilities", "sigmoids"]
Normalise = Literal["constants", "per image"]

CHANNELS = 3
MAX_BATCH = 4096
"""Largest fixed batch. A larger number is probably a typing error, and would need more memory than any machine has."""


@dataclass(frozen=True)
class EngineContract:
    """The input and output of an engine.

    A pixel p from 0 to 255 enters as (p * scale - mean) / std, cast to `dtype`.

    size: side of the square images of the sets. height, width: of the engine's own images, if these have other sides; each
    image of a set is resized to them. colour: `grey` is one channel, the luminance of ITU-R BT.601. scale: a rational, so
    that 1/255 is a division by 255 and not a multiplication by its rounded inverse. mean, std: per channel, in the order of
    `colour`, in units of p * scale; for grey only the first counts. normalise: `per image` standardises each image by its
    own mean and standard deviation, instead of mean and std. crop: share of the height that is cut from the centre of the
    frame and enlarged to the full size; also of the width if there is no crop_width. input, output: names of the tensors,
    None if there is only one of each. batch: fixed batch size of the service, None for any.

    classes: meaning of the output columns, in their order. answer: logits, probabilities that sum to 1 or to 100, or one
    sigmoid per class. positive: for an engine with one output column (a sigmoid or its logit), the class of that column; it
    is predicted above `threshold`. mapping: for each column the classes of the sets that it represents, empty for a column
    that is not used; None if columns and sets have the same classes.
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
    positive: str | None = None
    threshold: float = 0.5
    mapping: Mapping[str, tuple[str, ...]] | None = None
    normalise: Normalise = "constants"
    crop: float = 1.0
    crop_width: float | None = None
    height: int | None = None
    width: int | None = None

    @property
    def tasks(self) -> tuple[TaskClass, ...]:
        """The classes by which the engine is judged, in the order of its columns."""
        return task_classes(self.classes, self.mapping)

    @property
    def columns(self) -> int:
        """Number of columns in the answer."""
        return len(self.classes) if self.positive is None else 1

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one image, without the batch."""
        height, width = self.sides
        return (self.channels, height, width) if self.layout == "NCHW" else (height, width, self.channels)

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of the engine's images."""
        return self.height or self.size, self.width or self.size

    @property
    def kept(self) -> tuple[float, float]:
        """The shares of height and width that are cut from the centre."""
        return self.crop, self.crop if self.crop_width is None else self.crop_width

    @property
    def channels(self) -> int:
        """Number of channels of the engine's images."""
        return 1 if self.colour == "grey" else CHANNELS


_AGAIN = "`skinaudit contract ENGINE` drafts a whole contract"
_MEAN = Annotated[float, Range(-1e6, 1e6)]  # larger values overflow float32
_STD = Annotated[float, Range(1e-6, 1e6)]
_INPUT = Known(
    {
        "name": str, "size": Annotated[int, Range(1, MAX_SIZE)], "layout": Layout, "dtype": Dtype, "colour": Colour,
        "batch": Annotated[int, Range(1, MAX_BATCH)], "scale": int | float | str,
        "mean": tuple[_MEAN, _MEAN, _MEAN], "std": tuple[_STD, _STD, _STD],
        "normalise": Normalise, "crop": Annotated[float, Range(0.1, 1)],
        "crop_width": Annotated[float, Range(0.1, 1)],
        "height": Annotated[int, Range(1, MAX_SIZE)], "width": Annotated[int, Range(1, MAX_SIZE)],
    },
    required=("size", "layout", "dtype", "colour", "scale", "mean", "std"), others=False,
)  # fmt: skip
_OUTPUT = Known(
    {
        "name": str, "answer": Answer, "classes": tuple[str, ...], "positive": str, "threshold": float,
        "mapping": Mapping[str, tuple[str, ...]],
    },
    required=("answer", "classes"),
    others=False,
)  # fmt: skip
_FILE = Known(
    {"input": Annotated[Mapping[str, Any], _INPUT], "output": Annotated[Mapping[str, Any], _OUTPUT]},
    required=("input", "output"),
    others=False,
)
_SCALE = re.compile(r"[0-9]{1,20}([./][0-9]{1,20})?")


def read_engine_contract(path: Path) -> EngineContract:
    """Read a contract file; raises InvalidInputError, which names the file and the entry that is missing or unknown."""
    if not path.exists():
        raise InvalidInputError(f"{path}: no such contract; `skinaudit contract ENGINE` writes a first draft")
    plain = read_toml(path, kind="contract", again=_AGAIN)
    tables: Mapping[str, Any] = build(Annotated[Mapping[str, Any], _FILE], plain, where=str(path), again=_AGAIN)
    given, answered = tables["input"], tables["output"]
    classes = answered["classes"]
    if len(classes) < 2 or not all(classes) or len(set(classes)) < len(classes):
        raise InvalidInputError(
            f"{path}: output.classes = ({first_few([repr(name) for name in classes])}): give two or more different names, in"
            " the order of the output columns"
        )
    positive, threshold = answered.get("positive"), answered.get("threshold", 0.5)
    _check_answer(answered, where=path)
    mean, std = (tuple(float(number) for number in given[entry]) for entry in ("mean", "std"))
    return EngineContract(
        size=given["size"], classes=classes, layout=given["layout"], dtype=given["dtype"], colour=given["colour"],
        scale=_scale(given["scale"], path), mean=mean, std=std, answer=answered["answer"], input=given.get("name"),
        output=answered.get("name"), batch=given.get("batch"), positive=positive, threshold=threshold,
        mapping=answered.get("mapping"), normalise=given.get("normalise", "constants"), crop=float(given.get("crop", 1)),
        crop_width=given.get("crop_width"), height=given.get("height"), width=given.get("width"),
    )  # fmt: skip


def _check_answer(answered: Mapping[str, Any], *, where: Path) -> None:
    """Raise InvalidInputError if the entries for one column, or the mapping, do not fit the classes."""
    if "positive" not in answered and "threshold" in answered:
        raise InvalidInputError(f"{where}: output.threshold needs an output of one column; name its class as positive")
    if "positive" in answered:
        try:
            check_positive(answered["classes"], answered["positive"], answered.get("threshold", 0.5))
        except InvalidInputError as error:
            raise InvalidInputError(f"{where}: output: {error}") from error
    try:
        task_classes(answered["classes"], answered.get("mapping"))
    except InvalidInputError as error:
        raise InvalidInputError(f"{where}: output.mapping {error}") from error


def write_toml(contract: EngineContract, *, notes: Mapping[str, str]) -> str:
    """The contract as commented TOML. notes: by entry name (`size`, `classes`, ...), what a reader should check."""
    cropped = min(contract.kept) < 1 or "crop" in notes
    rows = [
        "# How the engine takes its pixels, and what its outputs mean.",
        "# A pixel p (0 to 255) enters as (p * scale - mean) / std.",
        "# skinaudit audit ENGINE --contract THIS_FILE --data IMAGES, or --sets DIR",
        "[input]",
        *([] if contract.input is None else [f"name = {_text(contract.input)}"]),
        f"size = {contract.size}",
        *(f"{name} = {side}" for name, side in (("height", contract.height), ("width", contract.width)) if side is not None),
        f'layout = "{contract.layout}"   # NCHW or NHWC',
        f'dtype = "{contract.dtype}"   # {", ".join(get_args(Dtype))}',
        f'colour = "{contract.colour}"   # RGB, BGR as in OpenCV, or grey',
        f'scale = "{contract.scale}"',
        f"mean = {list(contract.mean)}",
        f"std = {list(contract.std)}",
        *(
            ['normalise = "per image"   # with the mean and standard deviation of each image']
            if contract.normalise == "per image"
            else []
        ),
        *([f"crop = {contract.crop:g}   # of the side, from the middle"] if cropped else []),
        *([] if contract.crop_width is None else [f"crop_width = {contract.crop_width:g}   # of the width alone"]),
        "# batch = 1   # batch size of the service, if it never changes; the audit then uses only this size"
        if contract.batch is None
        else f"batch = {contract.batch}",
        "",
        "[output]",
        *([] if contract.output is None else [f"name = {_text(contract.output)}"]),
        f'answer = "{contract.answer}"   # logits, probabilities (of a softmax, or of one sigmoid), or sigmoids',
        f"classes = [{', '.join(map(_text, contract.classes))}]   # in the order of the columns",
        *_one_column_rows(contract),
        *_mapping_rows(contract),
    ]
    lines = []
    for row in rows:
        entry = row.partition(" = ")[0]
        lines += [f"# CHECK: {printable(notes[entry])}"] if entry in notes else []
        lines.append(row)
    return "\n".join(lines) + "\n"


def _one_column_rows(contract: EngineContract) -> list[str]:
    if contract.positive is None:
        return []
    return [
        f"positive = {_text(contract.positive)}   # the class whose score is in the one column",
        f"threshold = {contract.threshold:g}   # the class is predicted above this probability",
    ]


def _mapping_rows(contract: EngineContract) -> list[str]:
    if contract.mapping is None:
        return [
            "# [output.mapping]   # if the sets have other classes: column = [classes of the sets], [] if it is not used"
        ]
    rows = (f"{_text(name)} = [{', '.join(map(_text, members))}]" for name, members in contract.mapping.items())
    return ["", "[output.mapping]   # column = [classes of the sets], [] if it is not used", *rows]


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
