"""The training images that int8 ranges are measured on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper
from safetensors import SafetensorError
from safetensors.numpy import load_file

from skinaudit.artifacts.files import digest_file
from skinaudit.engines.onnxruntime_ import session_options
from skinaudit.errors import InvalidInputError, missing

TENSOR = "images"
BATCH = 32


@dataclass(frozen=True, eq=False)
class Calibration:
    """Calibration images: uint8 (M, 3, size, size), and the digest of the file that they came from."""

    images: NDArray[np.uint8]
    digest: str


def read_calibration(path: Path, *, size: int) -> Calibration:
    """Read a run's calibration images.

    Raises InvalidInputError where the file is missing, damaged, empty or of another image size.
    """
    if not path.is_file():
        raise InvalidInputError(f"{path}: no calibration images, which int8 needs; train the run again")
    try:
        images = load_file(path).get(TENSOR)
    except (SafetensorError, OSError) as error:
        raise InvalidInputError(f"{path}: truncated or not a safetensors file ({error}); train the run again") from error
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
    """Feeds the images to onnxruntime's calibrator as float32 in [0, 1]; answers to its CalibrationDataReader by shape."""

    def __init__(self, images: NDArray[np.uint8], *, name: str) -> None:
        self._images, self._name = images, name
        self.set_range(0, len(self))

    def __len__(self) -> int:
        """The number of batches."""
        return -(-len(self._images) // BATCH)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Feed these batches next."""
        starts = range(start_index * BATCH, end_index * BATCH, BATCH)
        self._batches: Iterator[NDArray[np.uint8]] = (self._images[start : start + BATCH] for start in starts)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """The next batch by input name, None after the last."""
        batch = next(self._batches, None)
        return None if batch is None else {self._name: batch.astype(np.float32) / np.float32(255)}


def largest_activation(model: ModelProto, calibration: Calibration) -> float:
    """The largest absolute value that any float tensor of the graph takes on the calibration images."""
    values = (*model.graph.value_info, *model.graph.output)
    floats = {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    computed = [name for node in model.graph.node for name in node.output if name in floats]
    return max(float(peak) for peak in tensor_peaks(model, computed, calibration))


def tensor_peaks(model: ModelProto, names: Sequence[str], calibration: Calibration) -> list[NDArray[np.float32]]:
    """Per name of a tensor, its largest absolute value () on the calibration images."""
    return _peaks(model, names, calibration, axes=None)


def channel_peaks(model: ModelProto, names: Sequence[str], calibration: Calibration) -> list[NDArray[np.float32]]:
    """Per name of a tensor (N, C, H, W), the largest absolute value (C,) of each channel on the calibration images."""
    return _peaks(model, names, calibration, axes=(0, 2, 3))


def _peaks(
    model: ModelProto, names: Sequence[str], calibration: Calibration, *, axes: tuple[int, ...] | None
) -> list[NDArray[np.float32]]:
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise missing("onnxruntime", "cpu", "measuring activations") from error
    probe = ModelProto()
    probe.CopyFrom(model)
    if axes is not None:
        probe.graph.initializer.append(numpy_helper.from_array(np.array(axes, np.int64), "peak_axes"))
    for name in names:
        probe.graph.node.append(helper.make_node("Abs", [name], [f"{name}_abs"]))
        over = [] if axes is None else ["peak_axes"]
        probe.graph.node.append(helper.make_node("ReduceMax", [f"{name}_abs", *over], [f"{name}_peak"], keepdims=0))
        probe.graph.output.append(helper.make_tensor_value_info(f"{name}_peak", TensorProto.FLOAT, None))
    session = ort.InferenceSession(probe.SerializeToString(), session_options(threads=1), providers=["CPUExecutionProvider"])
    reader = BatchReader(calibration.images, name=model.graph.input[0].name)
    outputs = [f"{name}_peak" for name in names]
    peaks: list[NDArray[np.float32]] = []
    while names and (feed := reader.get_next()) is not None:
        batch_peaks = session.run(outputs, feed)
        peaks = [np.maximum(old, new) for old, new in zip(peaks, batch_peaks, strict=True)] if peaks else list(batch_peaks)
    return peaks
