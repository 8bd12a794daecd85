"""Make a first draft of a contract for an engine of another tool, from the information in its file."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import cast, get_args

import numpy as np

from skinaudit.artifacts.engine_contract import CHANNELS, Dtype, EngineContract, Layout
from skinaudit.engines.integers import are_probabilities
from skinaudit.engines.open import open_session
from skinaudit.engines.session import Port, Session
from skinaudit.errors import EngineError

_USUAL_SIZE = 224
_FLOATS = ("float32", "float16", "float64")


def draft_contract(path: Path, *, threads: int | None = None) -> tuple[EngineContract, dict[str, str]]:
    """The contract that the file suggests, and a note for each entry that it does not prove and a person has to check.

    Raises EngineError for a file without one image-like input, NoDeviceError for a plan where no GPU is.
    """
    session = open_session(path, threads=threads)
    images = [port for port in session.inputs if len(port.shape) == 4]
    if len(session.inputs) != 1 or len(images) != 1:
        ports = ", ".join(map(str, session.inputs)) or "none"
        raise EngineError(f"{path}: needs one input of images (four sides), found {ports}; it cannot be audited")
    image, answer = images[0], _answer(session.outputs)
    notes: dict[str, str] = {}
    layout, size = _layout_and_size(image, notes, where=path)
    if "layout" in notes:
        layout = _layout_that_runs(session, image, answer, size)
    dtype = _dtype(image, where=path)
    classes = _classes(session, answer, notes, where=path)
    notes["colour"] = "the file does not say whether its input is RGB or BGR"
    notes["scale"] = "the file does not say whether its input pixels are 0 to 1, 0 to 255, or normalised"
    notes["mean"] = "zero if the file normalises by itself; ImageNet's are [0.485, 0.456, 0.406]"
    notes["std"] = "one if the file normalises by itself; ImageNet's are [0.229, 0.224, 0.225]"
    if len(session.outputs) > 1:
        unread = ", ".join(str(port) for port in session.outputs if port is not answer)
        notes["answer"] = f"the file has other outputs, which are not read: {unread}"
    contract = EngineContract(
        size=size,
        classes=classes,
        layout=layout,
        dtype=dtype,
        scale=Fraction(1, 255) if dtype.startswith("float") else Fraction(1),
        mean=(128.0, 128.0, 128.0) if dtype == "int8" else (0.0, 0.0, 0.0),
        answer="probabilities" if _answers_probabilities(session, image, answer, layout, size) else "logits",
        input=image.name or None,
        output=answer.name or None,
        positive=classes[1] if "positive" in notes else None,
    )
    if contract.positive is not None and "answer" not in notes:
        notes["answer"] = "guessed from the outputs for noise: those of a sigmoid lie between 0 and 1"
    return contract, notes


def _answer(outputs: Sequence[Port]) -> Port:
    """The output that answers: the first with a column a class, else the first that holds no labels, as integers are."""

    def rank(port: Port) -> tuple[bool, bool]:
        labels = port.dtype not in _FLOATS and port.codes is None
        return labels, len(port.shape) < 2 or port.shape[1] in (None, 1)

    return min(outputs, key=rank)


def _layout_and_size(image: Port, notes: dict[str, str], *, where: Path) -> tuple[Layout, int]:
    sides = image.shape[1:]
    first, last = sides[0] == CHANNELS, sides[-1] == CHANNELS
    either = sides[0] is None and sides[-1] is None
    if either:
        notes["layout"] = "the file does not say: PyTorch usually has NCHW, TensorFlow NHWC; --sets DIR finds it"
    if first == last and not either:
        raise EngineError(f"{where}: found {image}: this is neither NCHW nor NHWC; images need three channels")
    layout: Layout = "NCHW" if first or either else "NHWC"
    spatial = {side for side in (sides[1:] if layout == "NCHW" else sides[:-1]) if side is not None}
    if len(spatial) > 1:
        raise EngineError(f"{where}: found {image}: its images are not square, but those of sets are")
    if not spatial:
        notes["size"] = "the file accepts any size; this is only the usual one"
    return layout, spatial.pop() if spatial else _USUAL_SIZE


def _layout_that_runs(session: Session, image: Port, answer: Port, size: int) -> Layout:
    """The layout in which the file answers a grey image, NCHW where both do."""
    grey = np.full((image.shape[0] or 1, CHANNELS, size, size), 100).astype(image.dtype)
    try:
        session.run(grey, input=image.name, output=answer.name)
    except EngineError:
        return "NHWC"
    return "NCHW"


def _dtype(image: Port, *, where: Path) -> Dtype:
    if image.dtype not in get_args(Dtype):
        raise EngineError(f"{where}: found {image}: images enter as one of {', '.join(get_args(Dtype))}")
    return cast(Dtype, image.dtype)


def _classes(session: Session, answer: Port, notes: dict[str, str], *, where: Path) -> tuple[str, ...]:
    columns = [side for side in answer.shape[1:] if side != 1]
    if not columns and len(answer.shape) in (1, 2):
        notes["positive"] = "the file does not say which class its one column is for"
        notes["threshold"] = "the usual value; write that of your product"
        if session.labels is not None and len(session.labels) == 2:
            return session.labels
        notes["classes"] = "one column is for one of two classes: name both, as the sets spell them"
        return ("class_0", "class_1")
    if len(columns) != 1 or columns[0] is None:
        raise EngineError(f"{where}: found {answer}: not one column a class")
    if session.labels is not None and len(session.labels) == columns[0]:
        return session.labels
    notes["classes"] = "the file has no class names: write them in the order of its columns, as the sets spell them"
    return tuple(f"class_{index}" for index in range(columns[0]))


def _answers_probabilities(session: Session, image: Port, answer: Port, layout: Layout, size: int) -> bool:
    """Whether the answers to noise are non-negative and sum to 1: logits never do, image for image. Of one column, whether
    all lie between 0 and 1, as logits seldom do."""
    count = image.shape[0] or 4
    shape = (CHANNELS, size, size) if layout == "NCHW" else (size, size, CHANNELS)
    noise = np.random.default_rng(0).uniform(0, 1, (count, *shape))
    tensor = noise.astype(image.dtype) if image.dtype.startswith("float") else (noise * 100).astype(image.dtype)
    answers = session.run(tensor, input=image.name, output=answer.name).reshape(count, -1)
    if answer.codes is not None:
        answers = answer.codes.decoded(answers)
    if answers.shape[1] == 1:
        return bool(answers.min() >= 0 and answers.max() <= 1)
    return are_probabilities(answers.astype(np.float64), answer.codes)
