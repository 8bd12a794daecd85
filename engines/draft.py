"""Make a first draft of a contract for an engine of another tool, from the information in its file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.engine_contract import CHANNELS, Answer, Dtype, EngineContract, Layout
from skinaudit.engines.integers import as_shares
from skinaudit.engines.open import open_session
from skinaudit.engines.session import Port, Session, check_call
from skinaudit.errors import EngineError

_USUAL_SIZE = 224
_IMAGE_SIDES = 4
_NOISE = 4  # number of images if the file leaves it open
_FLOATS = ("float32", "float16", "float64")


def draft_contract(path: Path, *, threads: int | None = None) -> tuple[EngineContract, dict[str, str]]:
    """Draft a contract from the file, with a note for each entry that the file does not prove.

    A person has to check these entries.

    Raises EngineError for a file without exactly one image-like input, NoDeviceError for a plan on a machine without a GPU.
    """
    session = open_session(path, threads=threads)
    image, answer = _image(session.inputs, where=path), _answer(session.outputs, where=path)
    notes: dict[str, str] = {}
    frame = _frame(image, notes, where=path)
    check_call((image.shape[0] or _NOISE, *frame.shape), where=str(path))
    dtype = _dtype(image, where=path)
    if "layout" in notes:
        frame = _that_runs(session, image, answer, frame)
    to_noise = _answers_to_noise(session, image, answer, frame)
    classes = _classes(session, answer, to_noise, notes, where=path)
    grey = frame.channels == 1
    if not grey:
        notes["colour"] = "the file does not say whether its input is RGB or BGR"
    notes["scale"] = "the file does not say whether its input pixels are 0 to 1, 0 to 255, or normalised"
    notes["mean"] = "zero if the file normalises by itself; ImageNet's are [0.485, 0.456, 0.406]"
    notes["std"] = "one if the file normalises by itself; ImageNet's are [0.229, 0.224, 0.225]"
    if len(session.outputs) > 1:
        unread = ", ".join(str(port) for port in session.outputs if port is not answer)
        notes["answer"] = f"the file has other outputs, which are not read: {unread}"
    contract = EngineContract(
        size=frame.side,
        height=None if frame.square else frame.height,
        width=None if frame.square else frame.width,
        classes=classes,
        layout=frame.layout,
        dtype=dtype,
        colour="grey" if grey else "RGB",
        scale=Fraction(1, 255) if dtype.startswith("float") else Fraction(1),
        mean=(128.0, 128.0, 128.0) if dtype == "int8" else (0.0, 0.0, 0.0),
        answer=_kind_of_answer(answer, to_noise, notes),
        input=image.name or None,
        output=answer.name or None,
        positive=classes[1] if "positive" in notes else None,
    )
    if contract.positive is not None and "answer" not in notes:
        notes["answer"] = "guessed from the outputs for noise: those of a sigmoid lie between 0 and 1"
    return contract, notes


@dataclass(frozen=True)
class _Frame:
    """The format of the image: channels, and sides in pixels."""

    layout: Layout
    channels: int
    height: int
    width: int

    @property
    def square(self) -> bool:
        return self.height == self.width

    @property
    def side(self) -> int:
        """Side of the square images of a matching set, in pixels."""
        return max(self.height, self.width)

    @property
    def shape(self) -> tuple[int, int, int]:
        if self.layout == "NCHW":
            return self.channels, self.height, self.width
        return self.height, self.width, self.channels


def _image(inputs: Sequence[Port], *, where: Path) -> Port:
    """The one input; raises EngineError, which says how to audit such a file, if there are several inputs or no image."""
    ports = ", ".join(map(str, inputs)) or "none"
    if len(inputs) > 1:
        raise EngineError(
            f"{where}: has {len(inputs)} inputs ({ports}); an audit changes the image alone: store usual values of the "
            "others in the file, as constants (of ONNX: turn each such input into an initializer), and draft it again"
        )
    if not inputs or len(inputs[0].shape) != _IMAGE_SIDES:
        raise EngineError(
            f"{where}: needs one input of images (batch, channels, height, width) or (batch, height, width, channels), "
            f"found {ports}; if this is an image as a row of numbers, put a Reshape in front of it, and draft it again"
        )
    return inputs[0]


def _answer(outputs: Sequence[Port], *, where: Path) -> Port:
    """The output with the scores: the first one with a column per class, else the first one that is not integer labels."""

    def rank(port: Port) -> tuple[bool, bool]:
        return _holds_labels(port), len(port.shape) < 2 or port.shape[1] in (None, 1)

    best = min(outputs, key=rank, default=None)
    if best is None or _holds_labels(best):
        raise EngineError(
            f"{where}: outputs {', '.join(map(str, outputs)) or 'nothing'}, which holds labels and no scores; an audit "
            "needs a score for each class: export the file with its logits or probabilities as an output"
        )
    return best


def _holds_labels(port: Port) -> bool:
    return port.dtype not in _FLOATS and port.codes is None


def _frame(image: Port, notes: dict[str, str], *, where: Path) -> _Frame:
    sides = image.shape[1:]
    first, last = (side in (1, CHANNELS) for side in (sides[0], sides[-1]))
    either = sides[0] is None and sides[-1] is None
    if either:
        notes["layout"] = "the file does not say: PyTorch usually has NCHW, TensorFlow NHWC; --sets DIR finds it"
    if first == last and not either:
        raise EngineError(
            f"{where}: found {image}: this is neither NCHW nor NHWC; images need three channels, or one of grey; put a "
            "conversion from RGB in front of it, and draft the contract again"
        )
    layout: Layout = "NCHW" if first or either else "NHWC"
    channels = (sides[0] if first else sides[-1]) or CHANNELS
    height, width = sides[1:] if layout == "NCHW" else sides[:-1]
    if height is None or width is None:
        notes["size"] = "the file accepts any size; this is only the usual one"
        height = width = height or width or _USUAL_SIZE
    if height != width:
        notes["size"] = "of the images of the sets, each of which is resized to height and width"
    return _Frame(layout, channels, height, width)


def _that_runs(session: Session, image: Port, answer: Port, frame: _Frame) -> _Frame:
    """The layout (NCHW or NHWC) that the file accepts for a grey image; NCHW if it accepts both."""
    pixels = np.full((image.shape[0] or 1, *frame.shape), 100).astype(image.dtype)
    try:
        session.run(pixels, input=image.name, output=answer.name)
    except EngineError:
        return replace(frame, layout="NHWC")
    return frame


def _dtype(image: Port, *, where: Path) -> Dtype:
    if image.dtype not in get_args(Dtype):
        raise EngineError(f"{where}: found {image}: images enter as one of {', '.join(get_args(Dtype))}")
    return cast(Dtype, image.dtype)


def _classes(
    session: Session, answer: Port, to_noise: NDArray[Any], notes: dict[str, str], *, where: Path
) -> tuple[str, ...]:
    columns = [side for side in to_noise.shape[1:] if side != 1]
    if not columns:
        notes["positive"] = "the file does not say which class its one column is for"
        notes["threshold"] = "the usual value; write that of your product"
        if session.labels is not None and len(session.labels) == 2:
            return session.labels
        notes["classes"] = "one column is for one of two classes: name both, as the sets spell them"
        return ("class_0", "class_1")
    if len(columns) != 1:
        raise EngineError(
            f"{where}: found {answer}, of shape {to_noise.shape}: not one column per class; export the file with the scores "
            "of its classes as the output"
        )
    if session.labels is not None and len(session.labels) == columns[0]:
        return session.labels
    notes["classes"] = "the file has no class names: write them in the order of its columns, as the sets spell them"
    return tuple(f"class_{index}" for index in range(columns[0]))


def _answers_to_noise(session: Session, image: Port, answer: Port, frame: _Frame) -> NDArray[Any]:
    """The file's answers to a few images of noise, as real numbers: (images, ...)."""
    shape = (image.shape[0] or _NOISE, *frame.shape)
    noise = np.random.default_rng(0).uniform(0, 1, shape)
    tensor = noise.astype(image.dtype) if image.dtype.startswith("float") else (noise * 100).astype(image.dtype)
    answers = session.run(tensor, input=image.name, output=answer.name)
    return answers if answer.codes is None else answer.codes.decoded(answers)


def _kind_of_answer(answer: Port, to_noise: NDArray[Any], notes: dict[str, str]) -> Answer:
    """Decide from the answers to noise whether they are logits or probabilities.

    Non-negative rows that sum to 1 are probabilities, because logits do not do this for every image. Values that all lie
    between 0 and 1 are taken for sigmoids, because logits seldom do this.
    """
    answers = to_noise.reshape(len(to_noise), -1).astype(np.float32)
    one_column = answers.shape[1] == 1
    if not one_column and as_shares(answers, answer.codes) is not None:
        return "probabilities"
    if answers.min() < 0 or answers.max() > 1:
        return "logits"
    if one_column:
        return "probabilities"
    notes.setdefault("answer", "guessed from the outputs for noise: those of sigmoids lie between 0 and 1")
    return "sigmoids"
