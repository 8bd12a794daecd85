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
"""Share of the calibration images on which an int8 model shall answer as its source does; below it a remedy is tried."""

_PERCENTILE = 99.995
_METHODS = ("minmax", "minmax without outliers", f"percentile {_PERCENTILE}")


def quantise(
    model: ModelProto, calibration: Calibration, *, symmetric: bool, where: str
) -> tuple[ModelProto, dict[str, Any]]:
    """The graph in int8 and what its manifest shall record of it.

    Ranges are the smallest and largest values seen. A single image that wakes up channels which are silent otherwise then
    stretches them hundredfold, and with them every step. Where the result agrees with the source on fewer than ENOUGH of the
    calibration images, remedies are tried in turn, until one is good enough: biases are corrected; the images that reach
    farthest are left out, also from equalisation; values beyond the 99.995th percentile are clipped; and these two with
    corrected biases. The best on all calibration images is kept. Channels are not equalised where the weights are on the
    int8 grid already. Raises MissingDependencyError without onnxruntime.
    """
    expected = predictions(model, calibration)
    agreement: dict[str, float] = {}
    best, settings = model, dict[str, Any]()

    def tried(graph: ModelProto, name: str, **more: Any) -> bool:
        """Remember the graph if it is the best so far; whether it is good enough."""
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
    """The class (M,) that a graph answers to each calibration image, in onnxruntime on the CPU."""
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
    add_pre_process_metadata(graph)  # shapes are inferred and batch norm is folded already
    # Its percentiles report their progress on stdout, where the paths of the engines go.
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
                # A batch at a time: percentiles otherwise keep every activation of every image in memory.
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
    """Names of the nodes that no weighted layer feeds: the normalisation."""
    after: set[str] = set()
    before = []
    for node in model.graph.node:
        if node.op_type in WEIGHTED or not after.isdisjoint(node.input):
            after.update(node.output)
        else:
            before.append(node.name)
    return before
