"""NNCF as its documentation runs it: plain, and with its search for layers that stay in float.

https://docs.openvino.ai/2025/openvino-workflow/model-optimization-guide/quantizing-models-post-training.html
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinaudit.bench.quantiser_parts.ours import openvino
from skinaudit.bench.quantiser_parts.quantiser import Order, Quantiser
from skinaudit.engines.open import open_engine
from skinaudit.engines.openvino_ import predictions

MAX_DROP = 0.01
"""The share of calibration images that NNCF's accuracy control may let change their answer."""

_Item = tuple[NDArray[np.float32], int]
"""An image float32 (1, 3, H, W) and the class that the source answers to it."""


def _plain(order: Order) -> Path:
    import nncf

    items = _items(order)
    with _quiet():
        model = nncf.quantize(_converted(order), nncf.Dataset(items, _pixels), subset_size=len(items))
    return _saved(order, model)


def _controlled(order: Order) -> Path:
    """Accuracy is agreement with the source: the calibration images carry no labels, and agreement is what is compared."""
    import nncf

    items = _items(order)
    data = nncf.Dataset(items, _pixels)
    with _quiet():
        model = nncf.quantize_with_accuracy_control(
            _converted(order), data, data, validation_fn=_agreement, max_drop=MAX_DROP, subset_size=len(items)
        )
    return _saved(order, model)


def _agreement(compiled: Any, items: Iterable[_Item]) -> tuple[float, None]:
    """The share of images answered as by the source; None lets NNCF rank the layers by the logits, as its examples do."""
    return float(np.mean([compiled(pixels)[0].argmax() == expected for pixels, expected in items])), None


def _pixels(item: _Item) -> NDArray[np.float32]:
    return item[0]


def _items(order: Order) -> list[_Item]:
    images = order.calibration.images
    answers = predictions(_converted(order), images)
    scaled = (images[index : index + 1].astype(np.float32) / np.float32(255) for index in range(len(images)))
    return [(pixels, int(answer)) for pixels, answer in zip(scaled, answers, strict=True)]


def _converted(order: Order) -> Any:
    import openvino as ov

    path = order.folder / "fp32.onnx"
    path.write_bytes(order.graph.SerializeToString())
    return ov.convert_model(path)


def _saved(order: Order, model: Any) -> Path:
    import openvino as ov

    path = order.folder / "int8.xml"
    ov.save_model(model, path, compress_to_fp16=False)
    return path


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    import nncf

    nncf.set_log_level(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()):  # its progress bars
        yield


QUANTISERS = (
    Quantiser("NNCF", "OpenVINO", _plain, open_engine, openvino),
    Quantiser("NNCF, accuracy control", "OpenVINO", _controlled, open_engine, openvino),
)
