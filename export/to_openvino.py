"""OpenVINO's own files (.xml with .bin): fp32, weights in fp16, and int8 made by NNCF."""

from __future__ import annotations

import contextlib
import io
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from skinaudit.engines.openvino_ import WEIGHTED, found_precisions, predictions, read_model
from skinaudit.errors import not_imported
from skinaudit.export.build import Built, Request
from skinaudit.export.dead_channels import without_dead_channels
from skinaudit.export.int8_grid import LEVELS, weights_on_grid

ENOUGH = 0.975
"""Share of calibration images on which the int8 file must agree with its source. Below it, layers stay in float."""

_STEP = 2
_RANKED_ON = 128


def build_openvino(request: Request) -> Built:
    """Convert the fp32 graph. fp16 stores the weights in fp16; int8 is quantised by NNCF on the calibration images.

    An fp16 file only stores its weights in fp16; the runtime chooses the precision of the arithmetic. Raises
    MissingDependencyError without openvino or, for int8, nncf. Source:
    https://docs.openvino.ai/2025/openvino-workflow/model-optimization.html
    """
    try:
        import openvino as ov
    except ImportError as error:
        raise not_imported(error, "openvino", "openvino", f"{request.where}: writing OpenVINO files") from error
    settings: dict[str, Any] = {"openvino": ov.__version__}
    in_float: Sequence[str] = ()
    if request.precision == "int8":
        quantised = _quantised(request)
        model, in_float = quantised.model, quantised.kept
        settings |= quantised.settings
    else:
        model = _converted(request.graph)
    model.set_rt_info(request.precision, ["framework", "skinaudit.precision"])  # the metadata of the graph itself says fp32
    _number_nodes(model, {node.name for node in request.graph.graph.node})
    ov.save_model(model, request.target, compress_to_fp16=request.precision == "fp16")
    written = read_model(request.target)
    return Built(
        found=found_precisions(written),
        companions=(request.target.with_suffix(".bin"),),
        settings=settings,
        calibrated=request.precision == "int8",
        kept=tuple(in_float),
    )


def _converted(graph: ModelProto) -> Any:
    import openvino as ov

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "graph.onnx"
        source.write_bytes(graph.SerializeToString())
        return ov.convert_model(source)  # folds constants; otherwise depthwise weights are not recognised


def _number_nodes(model: Any, graph_names: set[str]) -> None:
    """Name the nodes that the graph does not name, by their position.

    OpenVINO numbers them across the whole process, so a second file built in a process would differ from the first.
    """
    for place, node in enumerate(model.get_ordered_ops()):
        name = node.get_friendly_name()
        if name not in graph_names and re.fullmatch(r"[A-Za-z]+_\d+", name):
            node.set_friendly_name(f"{node.get_type_name()}_at_{place}")


@dataclass(frozen=True, eq=False)
class _Quantised:
    """The quantised model. kept: names of the layers that stayed in float."""

    model: Any
    kept: Sequence[str]
    settings: Mapping[str, Any]


def _quantised(request: Request) -> _Quantised:
    """All layers in int8, or as many as possible (more than half) that agree with the source on ENOUGH of the images.

    If the weights are on the int8 grid, they stay there, biases need no correction, and ranges are the smallest and largest
    values, as in training (NNCF alone takes the mean of each image's, which cuts off bright images). Otherwise biases are
    corrected. The layers whose quantisation alone changes the answers most stay in float. NNCF's own search for them
    (`quantize_with_accuracy_control`) ranks the layers too coarsely here: it kept 23 of 28 in float where 6 are enough.
    """
    try:
        import logging

        import nncf
    except ImportError as error:
        raise not_imported(error, "nncf", "openvino", f"{request.where}: int8 for OpenVINO") from error
    nncf.set_log_level(logging.ERROR)
    graph, dead = without_dead_channels(request.graph)
    images = request.calibration.images
    source = _converted(graph)
    on_grid = weights_on_grid(request.graph)
    plain = {"advanced_parameters": nncf.AdvancedQuantizationParameters(disable_bias_correction=True)}
    expected = predictions(source, images)
    layers = [node.get_friendly_name() for node in source.get_ordered_ops() if node.get_type_name() in WEIGHTED]

    def quantise(floats: Sequence[str], subset: NDArray[np.uint8], **settings: Any) -> Any:
        batches = [subset[at : at + 1].astype(np.float32) / np.float32(255) for at in range(len(subset))]
        scope = nncf.IgnoredScope(names=list(floats))
        # its progress would go to stdout, which is for the paths of the engines
        with contextlib.redirect_stdout(io.StringIO()):
            return nncf.quantize(
                _converted(graph), nncf.Dataset(batches), subset_size=len(batches), ignored_scope=scope, **settings
            )

    def quantise_well(floats: Sequence[str]) -> Any:
        if not on_grid:
            return quantise(floats, images, fast_bias_correction=False)
        extremes = nncf.AdvancedQuantizationParameters(
            disable_bias_correction=True,
            activations_range_estimator_params=nncf.quantization.range_estimator.RangeEstimatorParametersSet.MINMAX,
        )
        quantised = quantise(floats, images, advanced_parameters=extremes)
        _keep_weights(quantised, source)
        _keep_bounds(quantised)
        return quantised

    def agreement(model: Any) -> float:
        return float((predictions(model, images) == expected).mean())

    model = quantise_well(())
    agreements = {0: agreement(model)}
    best = model
    in_float: Sequence[str] = ()
    ranked: Sequence[str] = ()
    most = (len(layers) - 1) // 2
    for count in range(_STEP, most + 1, _STEP):
        if max(agreements.values()) >= ENOUGH:
            break
        if not ranked:
            ranked_images = images[:_RANKED_ON]
            alone = {
                name: agreement(quantise([layer for layer in layers if layer != name], ranked_images, **plain))
                for name in layers
            }
            ranked = sorted(layers, key=lambda name: alone[name])
        model = quantise_well(ranked[:count])
        agreements[count] = agreement(model)
        if agreements[count] > max(share for floats, share in agreements.items() if floats < count):
            best, in_float = model, ranked[:count]
    return _Quantised(
        best,
        in_float,
        {
            "quantised_by": "NNCF, its defaults for convolutional networks, "
            + ("with the weights of the graph" if on_grid else "with the full bias correction"),
            "corrected_biases": 0 if on_grid else len(layers),
            "dead_channels": dead,
            "layers_in_float": sorted(in_float, key=_number),
            "calibration_agreement": {str(count): round(share, 4) for count, share in agreements.items()},
            "calibration_images": len(images),
        },
    )


def _keep_weights(quantised: Any, source: Any) -> None:
    """Write the weights of the source, which are on the int8 grid, into the quantised layers, in place.

    NNCF gives each channel a step of at least a hundredth of the largest step of the layer. Depthwise channels of a trained
    model differ ten thousandfold, so most of them would be rounded to a few levels. The first layer is rounded again if
    OpenVINO moved different standard deviations of the pixels into it.
    """
    from openvino import opset13 as operations

    weights = {node.get_friendly_name(): node.input_value(1).get_node() for node in source.get_ordered_ops()
               if node.get_type_name() in WEIGHTED}  # fmt: skip
    for node in quantised.get_ordered_ops():
        product = node.input_value(1).get_node() if node.get_type_name() in WEIGHTED else None
        if product is None or product.get_type_name() != "Multiply":  # the codes, as floats, times the steps
            continue
        weight, shape = weights[node.get_friendly_name()].get_data(), product.input_value(1).get_shape()
        within = tuple(axis for axis, count in enumerate(shape) if count == 1)
        largest = np.abs(weight).max(axis=within, keepdims=True)
        steps = np.where(largest > 0, largest / LEVELS, 1).astype(np.float32)
        codes = np.rint(weight / steps).astype(np.int8)
        product.input_value(0).get_node().input(0).replace_source_output(operations.constant(codes).output(0))
        product.input(1).replace_source_output(operations.constant(steps).output(0))


def _keep_bounds(quantised: Any) -> None:
    """Give the output of each ReLU with an upper bound the range up to the bound, in place.

    A layer that does not reach its bound on the calibration images would be cut off earlier than in the source.
    """
    from openvino import opset13 as operations

    for node in quantised.get_ordered_ops():
        before = node.input_value(0).get_node() if node.get_type_name() == "FakeQuantize" else None
        if before is None or before.get_type_name() != "Clamp" or before.get_attributes()["min"] != 0:
            continue
        for place, value in ((1, 0.0), (2, before.get_attributes()["max"]), (3, 0.0), (4, before.get_attributes()["max"])):
            limit = np.full(node.input_value(place).get_shape(), value, np.float32)
            node.input(place).replace_source_output(operations.constant(limit).output(0))


def _number(name: str) -> int:
    match = re.search(r"\d+", name)
    return int(match.group()) if match else 0
