"""The training images from which int8 ranges are measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from skinaudit.artifacts.files import digest_file
from skinaudit.artifacts.tensors import read_tensors
from skinaudit.engines.onnxruntime_ import session_options
from skinaudit.errors import InvalidInputError, not_imported

TENSOR = "images"
BATCH = 32


@dataclass(frozen=True, eq=False)
class Calibration:
    """Calibration images: uint8 (M, 3, size, size), and the digest of their file."""

    images: NDArray[np.uint8]
    digest: str


def read_calibration(path: Path, *, size: int) -> Calibration:
    """Read a run's calibration images.

    Raises InvalidInputError if the file is missing, damaged, empty or of another image size.
    """
    if not path.is_file():
        raise InvalidInputError(f"{path}: no calibration images, which int8 needs; train the run again")
    images = read_tensors(path, kind="file of calibration images", again="train the run again")[0].get(TENSOR)
    if (
        images is None
        or images.dtype != np.uint8
        or images.ndim != 4
        or not len(images)
        or images.shape[1:] != (3, size, size)
    ):
        contents = "no such tensor" if images is None else f"{images.dtype} {images.shape}"
        raise InvalidInputError(
            f"{path}: `{TENSOR}` must be uint8 (M, 3, {size}, {size}), found {contents}; train the run again"
        )
    return Calibration(images, digest_file(path))


class BatchReader:
    """Feeds the images to onnxruntime's calibrator as float32 in [0, 1]. Has the methods of its CalibrationDataReader."""

    def __init__(self, images: NDArray[np.uint8], *, name: str) -> None:
        self._images, self._name = images, name
        self.set_range(0, len(self))

    def __len__(self) -> int:
        """Number of batches."""
        return -(-len(self._images) // BATCH)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Choose the batches to feed next."""
        starts = range(start_index * BATCH, end_index * BATCH, BATCH)
        self._batches: Iterator[NDArray[np.uint8]] = (self._images[start : start + BATCH] for start in starts)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """The next batch by input name; None after the last one."""
        batch = next(self._batches, None)
        return None if batch is None else {self._name: batch.astype(np.float32) / np.float32(255)}


def largest_activation(model: ModelProto, calibration: Calibration) -> float:
    """Largest absolute value of any float tensor of the graph on the calibration images."""
    values = (*model.graph.value_info, *model.graph.output)
    floats = {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    computed = [name for node in model.graph.node for name in node.output if name in floats]
    return max(float(peak) for peak in tensor_peaks(model, computed, calibration))


def tensor_peaks(model: ModelProto, names: Sequence[str], calibration: Calibration) -> list[NDArray[np.float32]]:
    """Largest absolute value () of each named tensor on the calibration images."""
    return _peaks(model, names, calibration, axes=None)


def channel_peaks(model: ModelProto, names: Sequence[str], calibration: Calibration) -> list[NDArray[np.float32]]:
    """Largest absolute value (C,) of each channel of each named tensor (N, C, H, W) on the calibration images."""
    return _peaks(model, names, calibration, axes=(0, 2, 3))


def channel_means(
    model: ModelProto, axes: Mapping[str, tuple[int, ...]], calibration: Calibration
) -> dict[str, NDArray[np.float64]]:
    """Mean (C,) of each named tensor over the calibration images and `axes`, which are all axes but the channels'."""
    constants = [numpy_helper.from_array(np.array(own_axes, np.int64), f"{name}_axes") for name, own_axes in axes.items()]
    nodes = [helper.make_node("ReduceMean", [name, f"{name}_axes"], [f"{name}_mean"], keepdims=0) for name in axes]
    sums: list[NDArray[np.float64]] = [np.zeros(())] * len(axes)
    for count, means in _measured(model, nodes, constants, [f"{name}_mean" for name in axes], calibration):
        sums = [before + count * mean.astype(np.float64) for before, mean in zip(sums, means, strict=True)]
    return {name: total / len(calibration.images) for name, total in zip(axes, sums, strict=True)}


def image_peaks(model: ModelProto, names: Sequence[str], calibration: Calibration) -> list[NDArray[np.float32]]:
    """Largest absolute value (M,) of each named tensor (N, ...) for each calibration image."""
    nodes = []
    for name in names:
        nodes.append(helper.make_node("Abs", [name], [f"{name}_abs"]))
        nodes.append(helper.make_node("Flatten", [f"{name}_abs"], [f"{name}_flat"], axis=1))
        nodes.append(helper.make_node("ReduceMax", [f"{name}_flat", "image_axes"], [f"{name}_peak"], keepdims=0))
    constants = [numpy_helper.from_array(np.array([1], np.int64), "image_axes")]
    batches = [peaks for _, peaks in _measured(model, nodes, constants, [f"{name}_peak" for name in names], calibration)]
    return [np.concatenate(peaks) for peaks in zip(*batches, strict=True)]


def _peaks(
    model: ModelProto, names: Sequence[str], calibration: Calibration, *, axes: tuple[int, ...] | None
) -> list[NDArray[np.float32]]:
    constants = [] if axes is None else [numpy_helper.from_array(np.array(axes, np.int64), "peak_axes")]
    over = [constant.name for constant in constants]
    nodes = []
    for name in names:
        nodes.append(helper.make_node("Abs", [name], [f"{name}_abs"]))
        nodes.append(helper.make_node("ReduceMax", [f"{name}_abs", *over], [f"{name}_peak"], keepdims=0))
    peaks: list[NDArray[np.float32]] = []
    for _, batch_peaks in _measured(model, nodes, constants, [f"{name}_peak" for name in names], calibration):
        peaks = [np.maximum(old, new) for old, new in zip(peaks, batch_peaks, strict=True)] if peaks else batch_peaks
    return peaks


def _measured(
    model: ModelProto,
    nodes: Sequence[NodeProto],
    constants: Sequence[TensorProto],
    outputs: Sequence[str],
    calibration: Calibration,
) -> Iterator[tuple[int, list[NDArray[np.float32]]]]:
    """Run a graph with `nodes` added. For each batch of calibration images: its size and the float32 `outputs`."""
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise not_imported(error, "onnxruntime", "cpu", "measuring activations") from error
    if not outputs:
        return
    probe = ModelProto()
    probe.CopyFrom(model)
    probe.graph.initializer.extend(constants)
    probe.graph.node.extend(nodes)
    probe.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs)
    session = ort.InferenceSession(probe.SerializeToString(), session_options(threads=1), providers=["CPUExecutionProvider"])
    reader = BatchReader(calibration.images, name=model.graph.input[0].name)
    while (feed := reader.get_next()) is not None:
        (pixels,) = feed.values()
        yield len(pixels), list(session.run(list(outputs), feed))
