"""The precision of a plan's layers, as the library's engine inspector reports it.

TensorRT 10 writes `Format/Datatype` for each tensor. With a dynamic batch it writes "N/A due to dynamic shapes" there, and
the type is in `Weights`. TensorRT 11 and TensorRT-RTX write `Datatype` and `Format`. A plan may hide layers in a foreign
node, about which nothing is reported.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from skinaudit.engines.engine import UNREPORTED

_WEIGHTED = ("conv", "convolution", "deconv", "deconvolution", "gemm", "matmul", "mat mul", "matrix multiply",
             "matrixmultiply", "fullyconnected", "fully connected")  # fmt: skip
"""Words in the type of a layer with weights, compared as whole words. A `DataConversion` only copies."""
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z][a-z]+|[a-z]+")
_HIDDEN = ("foreignnode", "myelin")
_WORDS = {
    "bf16": ("bfloat16", "bf16"),
    "fp16": ("float16", "fp16", "half"),
    "fp32": ("float32", "fp32", "float"),
    "int8": ("int8",),
    "fp8": ("fp8", "float8", "fp8e4m3", "float8e4m3", "float8e4m3fn"),
}
_PRECISIONS = {word: precision for precision, words in _WORDS.items() for word in words}


def executed_precisions(trt: Any, engine: Any) -> Mapping[str, int] | None:
    """Count weighted layers, as fused, by precision. UNREPORTED counts the layers hidden in foreign nodes.

    The inspector may leave weighted layers unnamed, so the caller must know how many there are.

    None if nothing is reported: no inspector, only names of layers, or only foreign nodes.
    """
    try:
        text = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
        layers = json.loads(text)["Layers"]
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError):
        return None
    if not isinstance(layers, list):
        return None
    counts = Counter(_precision(layer) for layer in layers if isinstance(layer, Mapping) and _is_counted(layer))
    return dict(counts) if set(counts) - {UNREPORTED} else None


def _is_counted(layer: Mapping[str, Any]) -> bool:
    kinds = (_words(layer.get("LayerType")), _words(layer.get("ParameterType")))
    return _is_hidden(layer) or any(f" {word} " in kind for kind in kinds for word in _WEIGHTED)


def _words(kind: object) -> str:
    """` cask gemm convolution ` for `CaskGemmConvolution`."""
    return f" {' '.join(_WORD.findall(str(kind))).lower()} "


def _is_hidden(layer: Mapping[str, Any]) -> bool:
    text = " ".join(str(layer.get(key)) for key in ("LayerType", "ParameterType", "Name")).lower()
    return any(word in text for word in _HIDDEN)


def _precision(layer: Mapping[str, Any]) -> str:
    """Precision of the first input, else of the weights."""
    if _is_hidden(layer):
        return UNREPORTED
    inputs, weights = layer.get("Inputs"), layer.get("Weights")
    first = inputs[0] if isinstance(inputs, list) and inputs and isinstance(inputs[0], Mapping) else {}
    kinds = [
        first.get("Datatype"),
        first.get("Format/Datatype"),
        weights.get("Type") if isinstance(weights, Mapping) else None,
    ]
    return next((precision for precision in map(_precision_in, kinds) if precision is not None), UNREPORTED)


def _precision_in(text: object) -> str | None:
    """The precision named in a text such as `Channel major FP16 format`."""
    words = re.findall(r"[a-z]+[0-9a-z]*", text.lower()) if isinstance(text, str) else []
    return next((_PRECISIONS[word] for word in words if word in _PRECISIONS), None)
