"""Connects 8-bit images and a runtime's tensors. Runtimes themselves know nothing of pixels or classes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.contract import InputContract
from skinaudit.artifacts.engine_contract import CHANNELS, EngineContract, Layout
from skinaudit.artifacts.logits import threshold_logit, two_logits
from skinaudit.engines.engine import BatchRange, EngineDescription, Images
from skinaudit.engines.integers import INTEGERS, Codes, as_shares, log_odds, log_probabilities
from skinaudit.engines.pixels import grey, middle, resized, standardise
from skinaudit.errors import EngineError, first_few

INPUT, OUTPUT = "image", "logits"
"""Names of the input and output of every engine that skinaudit exports."""

_FLOATS = (np.float32, np.float16, np.float64)
_WHOLE = ("uint8", "int8", "uint16", "int16", "int32")
"""Input types that cannot represent values between the steps of the 8-bit grid."""
_MOST_NUMBERS = 2**28
"""Largest tensor of one call, 1 GiB in float32; 1,000 images of 224 x 224 pixels have 150 million numbers."""


@dataclass(frozen=True)
class Port:
    """An input or output of a file. shape: None for a dynamic side. dtype: numpy's name.

    codes: meaning of an integer output; None if the file does not say.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    codes: Codes | None = None

    def __str__(self) -> str:
        sides = ", ".join("batch" if side is None else str(side) for side in self.shape)
        return f"{self.name} {self.dtype} ({sides})"


@dataclass(frozen=True)
class SessionDescription:
    """What a session reports about itself; the fields are those of EngineDescription."""

    runtime: str
    version: str
    provider: str
    device: str
    threads: int
    found: Mapping[str, int]
    executed: Mapping[str, int] | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    batches: tuple[BatchRange, ...] = ()
    unused: int = 0


class Session(Protocol):
    """A file opened by a runtime. `labels`: class names in the file, in the order of its columns.

    A session may also have `buffer(shape) -> float32 array`: memory for input tensors that then need no copy.
    """

    @property
    def description(self) -> SessionDescription: ...
    @property
    def inputs(self) -> Sequence[Port]: ...
    @property
    def outputs(self) -> Sequence[Port]: ...
    @property
    def labels(self) -> tuple[str, ...] | None: ...

    def run(self, tensor: NDArray[Any], *, input: str, output: str) -> NDArray[Any]:
        """Return the tensor `output` for the tensor `input` (the only input); raises EngineError if the runtime fails."""


class SessionEngine:
    """A session that answers 8-bit images as its contract says. Not thread-safe, because the buffer is shared."""

    def __init__(
        self,
        session: Session,
        *,
        where: str,
        contract: EngineContract | None = None,
        order: Sequence[str] | None = None,
        own: InputContract | None = None,
    ) -> None:
        """Connect a session with a contract.

        contract: None for an engine exported by skinaudit: its ports describe it and, if it has one column, `own`, the
        contract of its run. order: class names in the order of the columns of `logits`; by default the contract's. Raises
        EngineError if ports, contract and order do not fit together.
        """
        self._session, self._where = session, where
        self._contract = own_contract(session, own=own, where=where) if contract is None else contract
        image, self._answer = _ports(session, self._contract, where=where)
        self._input, self._fixed = image.name, _served(image.shape[0], self._contract.batch, where=where)
        check_call((self._fixed or 1, *self._contract.shape), where=where)
        self._columns = _columns(session, self._contract, order, where=where)
        about = session.description
        if self._fixed is not None:
            about = replace(about, batches=(BatchRange(self._fixed, self._fixed, self._fixed),))
        self.description = EngineDescription(
            **{name: getattr(about, name) for name in about.__dataclass_fields__},
            size=self._contract.size,
            classes=len(self._contract.tasks),
        )
        """What it is."""
        self._buffer = np.empty((0, *self._contract.shape), np.float32)
        self._make_buffer = getattr(session, "buffer", _own_buffer)
        sides = (-1, 1, 1) if self._contract.layout == "NCHW" else (-1,)
        mean, std = (
            np.array(channel_values[: self._contract.channels], np.float32).reshape(sides)
            for channel_values in (self._contract.mean, self._contract.std)
        )
        self._mean = mean if mean.any() else None
        self._std = std if (std != 1).any() else None
        self._plain = self._mean is None and self._std is None and self._contract.normalise == "constants"

    def logits(self, images: Images) -> NDArray[np.float32]:
        """Answer for RGB (B, 3, size, size), B > 0: float32 (B, classes), finite.

        If the engine answers with probabilities, the result is their logarithms. An answer of one column becomes two
        columns. They are 0, and the logit of the positive class minus the logit of the threshold.

        Under the default contract a pixel p enters as float32 p / 255, the value that torch computes. An engine with a fixed
        batch is called as often as needed, and its last call is padded with the last image. Raises EngineError for images of
        another shape or dtype, for answers that are not finite or do not fit the contract, and if the runtime fails.
        """
        size = self._contract.size
        wrong_type = images.dtype != np.uint8 and (images.dtype != np.float32 or self._contract.dtype in _WHOLE)
        if wrong_type or images.ndim != 4 or not len(images) or images.shape[1:] != (CHANNELS, size, size):
            raise EngineError(
                f"{self._where}: needs uint8 images (B, 3, {size}, {size}), but got {images.dtype} {images.shape}"
            )
        if self._fixed is None:
            answers = self._run(images)
        else:
            answers = np.concatenate(
                [self._run_fixed(images[at : at + self._fixed]) for at in range(0, len(images), self._fixed)]
            )
        logits = self._checked_answers(answers)
        if self._columns is None:
            return logits
        return np.stack([logits[:, columns].max(axis=1) for columns in self._columns], axis=1)

    def _run_fixed(self, images: Images) -> NDArray[np.float32]:
        assert self._fixed is not None
        lacking = self._fixed - len(images)
        filled = np.concatenate([images, np.repeat(images[-1:], lacking, axis=0)]) if lacking else images
        return self._run(filled)[: len(images)]

    def _run(self, images: Images) -> NDArray[np.float32]:
        tensor = self._session.run(self._tensor(images), input=self._input, output=self._answer.name)
        if self._answer.codes is not None:
            tensor = self._answer.codes.decoded(tensor)
        return check_logits(tensor, rows=len(images), classes=self._contract.columns, where=self._where)

    def _tensor(self, images: Images) -> NDArray[Any]:
        """The engine's input: the pixels in its colour order, layout, scale and dtype."""
        contract = self._contract
        if min(contract.kept) < 1:
            images = middle(images, *contract.kept)
        if contract.sides != (contract.size, contract.size):
            images = resized(images, *contract.sides)
        if contract.colour == "grey":
            images = grey(images)
        if contract.colour == "BGR":
            images = images[:, ::-1]
        if contract.layout == "NHWC":
            images = images.transpose(0, 2, 3, 1)
        if contract.dtype == "uint8" and contract.scale == 1 and images.dtype == np.uint8 and self._plain:
            return np.ascontiguousarray(images)
        if len(images) > len(self._buffer):
            self._buffer = self._make_buffer(images.shape)
        pixels = self._buffer[: len(images)]
        np.copyto(pixels, images)  # twice as fast as a division that also converts
        if contract.scale.numerator != 1:
            np.multiply(pixels, np.float32(contract.scale.numerator), out=pixels)
        if contract.scale.denominator != 1:
            np.divide(pixels, np.float32(contract.scale.denominator), out=pixels)
        if contract.normalise == "per image":
            standardise(pixels)
        if self._mean is not None:
            np.subtract(pixels, self._mean, out=pixels)
        if self._std is not None:
            np.divide(pixels, self._std, out=pixels)
        if contract.dtype == "float32":
            return pixels
        if contract.dtype not in _WHOLE:
            return pixels.astype(contract.dtype)
        bounds = np.iinfo(contract.dtype)
        return np.clip(np.rint(pixels.astype(np.float64)), bounds.min, bounds.max).astype(contract.dtype)

    def _checked_answers(self, answers: NDArray[np.float32]) -> NDArray[np.float32]:
        codes = self._answer.codes
        if self._contract.positive is not None:
            return self._two_columns(answers[:, 0], self._contract.positive)
        if self._contract.answer == "sigmoids":
            self._check_sigmoids(answers)
            return log_odds(answers, codes).astype(np.float32)
        shares = as_shares(answers, codes)
        if self._contract.answer == "probabilities":
            if shares is None:
                raise EngineError(
                    f'{self._where}: the contract says probabilities, but outputs do not sum to 1; write answer = "logits"'
                    ', or "sigmoids" for one sigmoid per class'
                )
            return log_probabilities(shares, codes)
        if shares is not None and len(answers) > 1:
            raise EngineError(
                f"{self._where}: outputs probabilities (they sum to 1) instead of logits; remove the softmax, or"
                ' audit it with a contract that has answer = "probabilities"'
            )
        return answers

    def _two_columns(self, column: NDArray[np.float32], positive: str) -> NDArray[np.float32]:
        contract = self._contract
        if contract.answer != "logits":
            self._check_sigmoids(column)
            margin = log_odds(column, self._answer.codes) - threshold_logit(contract.threshold)
            above = column > np.float32(contract.threshold)  # compared in float32, as a product would do it
        else:
            margin = column.astype(np.float64) - threshold_logit(contract.threshold)
            above = margin > 0
        return two_logits(margin, above, positive=contract.classes.index(positive))

    def _check_sigmoids(self, answers: NDArray[np.float32]) -> None:
        if answers.min() < 0 or answers.max() > 1:
            raise EngineError(
                f"{self._where}: the contract says {self._contract.answer}, but some outputs are not between 0 and 1; write "
                'answer = "logits"'
            )


def _own_buffer(shape: tuple[int, ...]) -> NDArray[np.float32]:
    return np.empty(shape, np.float32)


def check_logits(answer: Any, *, rows: int, classes: int, where: str) -> NDArray[np.float32]:
    """Return `answer` as float32 (rows, classes) without trailing sides of 1; raises EngineError unless it is finite.

    A single column may also have the shape (rows,).
    """
    shape = getattr(answer, "shape", None)
    if classes == 1 and shape == (rows,):
        answer = np.reshape(answer, (rows, 1))
    if isinstance(answer, np.ndarray) and answer.ndim > 2 and set(answer.shape[2:]) == {1}:
        answer = answer.reshape(answer.shape[:2])
    if not isinstance(answer, np.ndarray) or answer.dtype not in _FLOATS or answer.shape != (rows, classes):
        kind = getattr(answer, "dtype", type(answer).__name__)
        raise EngineError(f"{where}: returned {kind} {shape} instead of float32 ({rows}, {classes}); export it again")
    logits = answer.astype(np.float32, copy=False)
    finite = np.isfinite(logits).all(axis=1)
    if not finite.all():
        raise EngineError(
            f"{where}: NaN or infinite logits for {rows - int(finite.sum())} of {rows} images: the weights are damaged or"
            " overflow in this precision; export it as fp32"
        )
    return logits


def own_contract(session: Session, *, own: InputContract | None = None, where: str) -> EngineContract:
    """Contract of an engine that skinaudit exported; its size and number of classes are read from the session's ports.

    own: contract of its run, which says what a single column means. Raises EngineError unless it maps `image` float32
    (batch, 3, size, size) to `logits` float32 (batch, classes).
    """
    inputs, outputs = session.inputs, session.outputs
    if [port.name for port in inputs] != [INPUT] or [port.name for port in outputs] != [OUTPUT]:
        names = f"({first_few([port.name for port in inputs])}) -> ({first_few([port.name for port in outputs])})"
        raise EngineError(f"{where}: has {names}, expected {INPUT} -> {OUTPUT}; engines of other tools need --contract FILE")
    image, logits = inputs[0], outputs[0]
    if (image.dtype, logits.dtype) != ("float32", "float32"):
        raise EngineError(f"{where}: {INPUT} is {image.dtype} and {OUTPUT} {logits.dtype}, expected float32 for both")
    if len(image.shape) != 4 or image.shape[1] != CHANNELS or image.shape[2] is None or image.shape[2] != image.shape[3]:
        raise EngineError(f"{where}: found {image}, expected (batch, 3, size, size)")
    if len(logits.shape) != 2 or logits.shape[1] is None:
        raise EngineError(f"{where}: found {logits}, expected (batch, classes)")
    if image.shape[0] is not None or logits.shape[0] is not None:
        raise EngineError(f"{where}: the batch is fixed at {image.shape[0]}; export it with a dynamic batch")
    one_column = own is not None and own.positive is not None
    if one_column != (logits.shape[1] == 1):
        due = "one column" if one_column else "one column per class"
        raise EngineError(f"{where}: found {logits}, but its run has {due}; export it again")
    named = own.classes if own is not None and one_column else tuple(map(str, range(logits.shape[1])))
    contract = EngineContract(image.shape[2], named, input=INPUT, output=OUTPUT)
    return replace(contract, positive=own.positive, threshold=own.threshold) if own is not None and one_column else contract


def _ports(session: Session, contract: EngineContract, *, where: str) -> tuple[Port, Port]:
    """The ports of the image and of the answer; raises EngineError if they differ from the contract."""
    image = _port(session.inputs, contract.input, "input", where=where)
    answer = _port(session.outputs, contract.output, "output", where=where)
    if len(session.inputs) != 1:
        raise EngineError(
            f"{where}: has {len(session.inputs)} inputs ({_listed(session.inputs)}); only one input, the image, is supported"
        )
    if len(image.shape) != 4:
        raise EngineError(f"{where}: found {image}, the contract says {contract.layout} images of {contract.size} pixels")
    sides = image.shape[1:]
    if any(side is not None and side != expected for side, expected in zip(sides, contract.shape, strict=True)):
        other_layout: Layout = "NHWC" if contract.layout == "NCHW" else "NCHW"
        turned = sides == replace(contract, layout=other_layout).shape
        hint = f'write layout = "{other_layout}"' if turned else "correct size and layout"
        raise EngineError(f"{where}: found {image}, the contract says {contract.layout} {contract.shape}; {hint}")
    if image.dtype != contract.dtype:
        raise EngineError(f"{where}: found {image}, the contract says {contract.dtype}; correct dtype (and scale with it)")
    columns = [side for side in answer.shape[1:] if side != 1]
    single = contract.columns == 1
    if columns not in ([None], [], [contract.columns]) or (not columns and not single and len(answer.shape) > 1):
        raise EngineError(f"{where}: found {answer}, {_due(contract, columns)}")
    if answer.dtype in INTEGERS and answer.codes is None:
        raise EngineError(
            f"{where}: the output is {answer.dtype}, and the file does not say what its integers mean; convert it with a "
            "float32 output"
        )
    return image, answer


def _due(contract: EngineContract, columns: Sequence[int | None]) -> str:
    """The columns that the contract expects, and how to correct it if the answer has others."""
    if contract.positive is not None:
        return f"the contract names {contract.positive} as the positive class of one column; leave positive out"
    count = len(contract.classes)
    if not columns and count == 2:
        return 'the contract names 2 classes; write with positive = "..." for which of them the one column is'
    return f"the contract names {count} classes; name all of them"


def check_call(shape: Sequence[int], *, where: str) -> None:
    """Raise EngineError if one call needs more numbers than any image classifier: this process allocates them."""
    numbers = math.prod(shape)
    if numbers > _MOST_NUMBERS:
        sides = " x ".join(f"{side:,}" for side in shape)
        raise EngineError(
            f"{where}: one call takes {sides} numbers, and at most {_MOST_NUMBERS:,} are made; export it for fewer or "
            "smaller images"
        )


def _served(fixed: int | None, declared: int | None, *, where: str) -> int | None:
    """Images per call, fixed by the file or declared in the contract; None for any number."""
    if fixed is not None and declared is not None and fixed != declared:
        raise EngineError(f"{where}: accepts only batch size {fixed}, but the contract says {declared}; correct batch")
    return declared if fixed is None else fixed


def _port(ports: Sequence[Port], name: str | None, role: str, *, where: str) -> Port:
    if name is None and len(ports) == 1:
        return ports[0]
    for port in ports:
        if port.name == name:
            return port
    problem = f"{len(ports)} {role}s, and the contract names none" if name is None else f"no {role} {name or repr(name)}"
    raise EngineError(
        f"{where}: has {problem}; it has {_listed(ports)}: write the right name into {role}.name of the contract"
    )


def _listed(ports: Sequence[Port]) -> str:
    return first_few([str(port) for port in ports])


def _columns(
    session: Session, contract: EngineContract, order: Sequence[str] | None, *, where: str
) -> list[list[int]] | None:
    """For each class of `order`, its positions in the engine's answer; None if the orders already agree."""
    if (
        session.labels is not None
        and sorted(session.labels) == sorted(contract.classes)
        and session.labels != contract.classes
    ):
        raise EngineError(
            f"{where}: according to the file, its columns are {', '.join(session.labels)}, the contract says "
            f"{', '.join(contract.classes)}; correct the order of classes"
        )
    tasks = {task.name: list(task.columns) for task in contract.tasks}
    names = tuple(tasks) if order is None else tuple(order)
    if names == contract.classes and len(tasks) == len(names):
        return None
    if sorted(names) != sorted(tasks):
        lacking = sorted(set(names) - set(tasks)) or sorted(set(tasks) - set(names))
        raise EngineError(
            f"{where}: the contract names {', '.join(tasks)}, the sets {', '.join(names)}: they differ in "
            f"{first_few(lacking)}; write the sets' names, in the order of the engine's columns, or say with "
            "[output.mapping] which of them each column stands for"
        )
    return [tasks[name] for name in names]
