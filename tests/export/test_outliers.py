"""Which calibration images are left out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from skinaudit.export.calibration import Calibration, image_peaks
from skinaudit.export.outliers import SHARE, without_outliers


def two_layers() -> ModelProto:
    """The input of the second layer is the grey value of a pixel beyond 200/255, times 1000."""
    constants = {
        "mix": np.full((1, 3, 1, 1), 1000 / 3, np.float32), "bias": np.array([-1000 * 200 / 255], np.float32),
        "next": np.ones((2, 1, 1, 1), np.float32),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["image", "mix", "bias"], ["mixed"], name="mix"),
        helper.make_node("Relu", ["mixed"], ["heard"], name="hear"),
        helper.make_node("Conv", ["heard", "next"], ["logits"], name="next"),
    ]
    graph = helper.make_graph(
        nodes, "two",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 4, 4])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2, 4, 4])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def images(count: int, *, loud: dict[int, int]) -> Calibration:
    """Images of grey 210, and some with one brighter pixel."""
    pixels = np.full((count, 3, 4, 4), 210, np.uint8)
    for number, grey in loud.items():
        pixels[number, :, 0, 0] = grey
    return Calibration(pixels, "sha256:0")


def test_peaks_of_images_are_those_of_each_image() -> None:
    (peaks,) = image_peaks(two_layers(), ["heard"], images(70, loud={3: 220, 69: 255}))
    expected = np.full(70, 10.0)
    expected[[3, 69]] = 20, 55
    assert peaks == pytest.approx(expected * 1000 / 255, rel=1e-4)


def test_the_images_that_reach_farthest_are_left_out_and_the_others_keep_their_order() -> None:
    calibration = images(150, loud={3: 215, 40: 255, 149: 250})
    calibration.images[:, 0, 3, 3] = np.arange(150)
    reduced = without_outliers(two_layers(), calibration)
    assert math.ceil(SHARE * 150) == 2
    assert reduced.images[:, 0, 3, 3].tolist() == [number for number in range(150) if number not in (40, 149)]
    assert reduced.digest == calibration.digest
    assert len(calibration.images) == 150


def test_a_single_image_stays() -> None:
    assert len(without_outliers(two_layers(), images(1, loud={})).images) == 1


def test_what_is_silent_for_every_image_is_no_division_by_zero() -> None:
    pixels: np.ndarray = np.full((5, 3, 4, 4), 100, np.uint8)
    assert len(without_outliers(two_layers(), Calibration(pixels, "sha256:0")).images) == 4
