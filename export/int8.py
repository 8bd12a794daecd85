"""Static int8 for ONNX graphs: equalised channels, ranges from the calibration images, Q/DQ around weighted layers."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto

from skinaudit.artifacts.logits import named_classes
from skinaudit.engines.onnx_graph import WEIGHTED
from skinaudit.engines.onnxruntime_ import session_options
from skinaudit.errors import not_imported
from skinaudit.export.bias_correction import correct_biases
from skinaudit.export.calibration import BatchReader, Calibration
from skinaudit.export.equalise import equalise
from skinaudit.export.int8_grid import share_ranges_of_relus, weights_on_grid
from skinaudit.export.outliers import without_outliers

_LOG = logging.getLogger(__name__)
ENOUGH = 0.97
"""Share of calibration images on which an int8 model must agree with its source. Below it, remedies are tried."""

_PERCENTILE = 99.995
_METHODS = ("minmax", "minmax without outliers", f"percentile {_PERCENTILE}")


def quantise(
    model: ModelProto, calibration: Calibration, *, symmetric: bool, where: str
) -> tuple[ModelProto, dict[str, Any]]:
    """The graph in int8, and the settings for its manifest.

    Ranges are the smallest and largest values seen. One unusual image can activate channels that are otherwise silent, and
    stretch these ranges and every step a hundredfold. If the result agrees with the source on a smaller share of the
    calibration images than ENOUGH, these remedies are tried in turn until one is good enough: correct biases; leave out the
    images with the largest values, also for equalisation; clip values beyond the 99.995th percentile; the last two with
    corrected biases. The graph that agrees on most calibration images is kept. Channels are not equalised if the weights are
    already on the int8 grid. Raises MissingDependencyError without onnxruntime.
    """
    expected = predictions(model, calibration)
    agreement: dict[str, float] = {}
    best, settings = model, dict[str, Any]()

    def tried(graph: ModelProto, name: str, **more: Any) -> bool:
        """Keep the graph if it is the best so far; returns whether it is good enough."""
        nonlocal best, settings
        share = float((predictions(graph, calibration) == expected).mean())
        if share > max(agreement.values(), default=-1.0):
            best, settings = graph, {"calibration": name, **more}
        agreement[name] = share
        _LOG.info("int8, %s: %.1f%% of the calibration images keep their prediction", name, 100 * share)
        return share >= ENOUGH

    for method in _METHODS:
        chosen = without_outliers(model, calibration) if method.endswith("outliers") else calibration
        prepared, pairs = (model, 0) if weights_on_grid(model) else equalise(model, chosen)
        graph = _with_ranges(prepared, model, chosen, method=method, symmetric=symmetric, where=where)
        more = {"equalised_pairs": pairs, "calibration_images": len(chosen.images)}
        if tried(graph, method, corrected_biases=0, **more):
            break
        corrected, layers = correct_biases(graph, prepared, chosen)
        if tried(corrected, f"{method}, biases corrected", corrected_biases=layers, **more):
            break
    return best, {
        "format": "QDQ",
        "activations": "s8 symmetric per tensor" if symmetric else "u8 asymmetric per tensor",
        "biases": "float" if symmetric else "s32",
        "weights": "s8 symmetric per channel",
        **settings,
        "calibration_agreement": {name: round(share, 4) for name, share in agreement.items()},
    }


def predictions(model: ModelProto, calibration: Calibration) -> NDArray[np.intp]:
    """The class (M,) that a graph predicts for each calibration image, in onnxruntime on the CPU."""
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise not_imported(error, "onnxruntime", "cpu", "int8 calibration") from error
    session = ort.InferenceSession(model.SerializeToString(), session_options(threads=1), providers=["CPUExecutionProvider"])
    reader = BatchReader(calibration.images, name=model.graph.input[0].name)
    batches = iter(reader.get_next, None)
    return np.concatenate([named_classes(session.run(None, batch)[0]) for batch in batches])


def _with_ranges(
    prepared: ModelProto, source: ModelProto, calibration: Calibration, *, method: str, symmetric: bool, where: str
) -> ModelProto:
    try:
        from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
        from onnxruntime.quantization.quant_utils import add_pre_process_metadata
    except ImportError as error:
        raise not_imported(error, "onnxruntime", "cpu", f"{where}: int8 calibration") from error
    percentile = method.startswith("percentile")
    graph = ModelProto()
    graph.CopyFrom(prepared)
    add_pre_process_metadata(graph)  # shapes are already inferred and batch norm is folded
    # The percentile calibrator prints its progress to stdout, which is for the paths of the engines.
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        path = Path(folder) / "int8.onnx"
        quantize_static(
            graph,
            path,
            BatchReader(calibration.images, name=source.graph.input[0].name),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QInt8 if symmetric else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            calibrate_method=CalibrationMethod.Percentile if percentile else CalibrationMethod.MinMax,
            nodes_to_exclude=_before_weighted(source),
            extra_options={
                "OpTypesToExcludeOutputQuantization": _producers_of_outputs(source),
                **(dict.fromkeys(("ActivationSymmetric", "WeightSymmetric"), True) if symmetric else {}),
                "QuantizeBias": not symmetric,
                # One batch at a time: the percentile calibrator otherwise keeps every activation of every image in memory.
                **({"CalibStridedMinMax": 1, "CalibPercentile": _PERCENTILE} if percentile else {}),
            },
        )
        quantised = onnx.load(str(path))
    if symmetric:
        share_ranges_of_relus(quantised)
    return quantised


def _producers_of_outputs(model: ModelProto) -> list[str]:
    outputs = {value.name for value in model.graph.output}
    return sorted({node.op_type for node in model.graph.node if not outputs.isdisjoint(node.output)})


def _before_weighted(model: ModelProto) -> list[str]:
    """Names of the nodes that do not depend on a weighted layer: the normalisation."""
    after: set[str] = set()
    before = []
    for node in model.graph.node:
        if node.op_type in WEIGHTED or not after.isdisjoint(node.input):
            after.update(node.output)
        else:
            before.append(node.name)
    return before
