"""OpenVINO's own files (.xml with .bin): fp32, weights in fp16, and int8 through NNCF."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from skinaudit.engines.ov import found_precisions, read_model
from skinaudit.errors import missing
from skinaudit.export.build import Built, Request


def build_openvino(request: Request) -> Built:
    """Convert the fp32 graph; fp16 stores the weights as such, int8 is quantised by NNCF on the calibration images.

    Under fp16 the file holds fp16 weights, and the runtime decides in what it computes. Raises MissingDependencyError
    without openvino or, for int8, nncf. Source: https://docs.openvino.ai/2025/openvino-workflow/model-optimization.html
    """
    try:
        import openvino as ov
    except ImportError as error:
        raise missing("openvino", "openvino", f"{request.where}: writing OpenVINO files") from error
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "graph.onnx"
        source.write_bytes(request.graph.SerializeToString())
        model = ov.convert_model(source)  # folds constants, without which depthwise weights are not seen as such
    settings: dict[str, Any] = {"openvino": ov.__version__}
    if request.precision == "int8":
        model = _quantised(model, request)
        settings["quantised_by"] = "NNCF, its own defaults for convolutional networks"
        settings["calibration_images"] = len(request.calibration.images)
    ov.save_model(model, request.target, compress_to_fp16=request.precision == "fp16")
    written = read_model(request.target)
    return Built(
        found=found_precisions(written),
        companions=(request.target.with_suffix(".bin"),),
        settings=settings,
        calibrated=request.precision == "int8",
    )


def _quantised(model: Any, request: Request) -> Any:
    try:
        import logging

        import nncf
    except ImportError as error:
        raise missing("nncf", "openvino", f"{request.where}: int8 for OpenVINO") from error
    nncf.set_log_level(logging.ERROR)
    images = request.calibration.images
    batches = [images[at : at + 1].astype(np.float32) / np.float32(255) for at in range(len(images))]
    return nncf.quantize(model, nncf.Dataset(batches), subset_size=len(batches))
