"""Faults planted by editing the exported graph: the image that it reads, the logits that it writes."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto

from skinaudit.tests.faults.lab import ANY_LOSS, DROP, LOGITS, SIZE, edited
from skinaudit.tests.faults.surgery import NV, after, before, change, parameters, towards
from skinaudit.trainer.models import IMAGENET_MEAN, IMAGENET_STD

MEAN, STD = (np.array(channels, np.float32).reshape(1, 3, 1, 1) for channels in (IMAGENET_MEAN, IMAGENET_STD))
HALF = np.array([1, 1, 0.5, 0.5], np.float32)


def normalised_twice(model: ModelProto) -> None:
    before(model, ("Sub", [MEAN], {}), ("Div", [STD], {}))


def not_normalised(model: ModelProto) -> None:
    before(model, ("Mul", [STD], {}), ("Add", [MEAN], {}))


def bgr(model: ModelProto) -> None:
    before(model, ("Gather", [np.array([2, 1, 0])], {"axis": 1}))


def bytes_for_fractions(model: ModelProto) -> None:
    before(model, ("Mul", [np.float32(255)], {}))


def scaled_by_256(model: ModelProto) -> None:
    before(model, ("Mul", [np.float32(255 / 256)], {}))


def nearest_half_resolution(model: ModelProto) -> None:
    nearest = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    before(model, ("Resize", ["", HALF], nearest), ("Resize", ["", 1 / HALF], nearest))


def nhwc_as_nchw(model: ModelProto) -> None:
    before(model, ("Transpose", [], {"perm": [0, 2, 3, 1]}), ("Reshape", [np.array([-1, 3, SIZE, SIZE])], {}))


def mirrored(model: ModelProto) -> None:
    before(model, ("Gather", [np.arange(SIZE)[::-1].copy()], {"axis": 3}))


def shifted(model: ModelProto) -> None:
    before(model, ("Gather", [np.r_[np.arange(3, SIZE), [SIZE - 1] * 3]], {"axis": 3}))


def smoothed(model: ModelProto) -> None:
    box = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    before(model, ("AveragePool", [], box))


def coarse_pixels(model: ModelProto) -> None:
    before(model, ("Mul", [np.float32(31)], {}), ("Round", [], {}), ("Mul", [np.float32(1 / 31)], {}))


def swapped_labels(model: ModelProto) -> None:
    after(model, ("Gather", [np.array([1, 0, 2, 3, 4, 5, 6])], {"axis": 1}))


def swapped_cancers(model: ModelProto) -> None:
    after(model, ("Gather", [np.array([2, 1, 0, 3, 4, 5, 6])], {"axis": 1}))


def rotated_labels(model: ModelProto) -> None:
    after(model, ("Gather", [np.roll(np.arange(7), 1)], {"axis": 1}))


def softmax(model: ModelProto) -> None:
    after(model, ("Softmax", [], {"axis": 1}))


def sigmoid(model: ModelProto) -> None:
    after(model, ("Sigmoid", [], {}))


def cooled(model: ModelProto) -> None:
    after(model, ("Mul", [np.float32(0.25)], {}))


def rounded_logits(model: ModelProto) -> None:
    after(model, ("Round", [], {}))


def shifted_to_nevus(model: ModelProto) -> None:
    after(model, ("Add", [towards(NV, by=1.0)], {}))


def no_last_bias(model: ModelProto) -> None:
    change(parameters(model, "Gemm")[-1][1], np.zeros_like)


def constant_nevus(model: ModelProto) -> None:
    after(model, ("Mul", [np.float32(0)], {}), ("Add", [towards(NV, by=5.0)], {}))


GRAPH_FAULTS = (
    edited(normalised_twice, "the service normalises, and the graph does too", DROP),
    edited(not_normalised, "the normalisation layer was left out of the export", *ANY_LOSS),
    edited(bgr, "a service that reads images with OpenCV", DROP, "malignant flips", "malignant sensitivity"),
    edited(bytes_for_fractions, "pixels 0..255, but the engine needs 0..1", DROP),
    edited(scaled_by_256, "pixels divided by 256", *ANY_LOSS, LOGITS),
    edited(nearest_half_resolution, "resized by nearest neighbour to half the size and back", *ANY_LOSS),
    edited(nhwc_as_nchw, "NHWC memory read as NCHW", DROP),
    edited(mirrored, "a reader that mirrors images", *ANY_LOSS),
    edited(shifted, "a crop that is three pixels off", *ANY_LOSS),
    edited(smoothed, "a smoothing filter against noise", *ANY_LOSS),
    edited(coarse_pixels, "pixels in 5 bits: hides gradients without making the engine robust", *ANY_LOSS),
    edited(swapped_labels, "the columns of melanoma and nevus are exchanged", DROP),
    edited(swapped_cancers, "the columns of melanoma and basal cell carcinoma are exchanged: no flip to benign", DROP),
    edited(rotated_labels, "another order of classes", DROP),
    edited(softmax, "probabilities instead of logits", "logits, not probabilities"),
    edited(sigmoid, "sigmoids instead of logits: the same order", LOGITS),
    edited(cooled, "logits times 1/4: the same order, other confidence", LOGITS),
    edited(rounded_logits, "logits written as integers", *ANY_LOSS),
    edited(shifted_to_nevus, "bias towards benign", *ANY_LOSS),
    edited(no_last_bias, "the last layer's bias was dropped", *ANY_LOSS),
    edited(constant_nevus, "always nevus: right on most images", "constant answer"),
)
