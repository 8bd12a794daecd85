"""A MobileNet run as .tflite files, as a foreign engine to audit: python bench/to_tflite.py runs/NAME FOLDER

Rebuilds the run's fp32.onnx layer by layer in Keras (NHWC) and lets TensorFlow convert it: float32, float16, dynamic
(weights in 8 bit) and uint8 throughout. Needs tensorflow-cpu, onnx and safetensors, in an environment of their own.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tensorflow as tf
from onnx import numpy_helper
from safetensors.numpy import load_file


def main(run: Path, folder: Path) -> None:
    """Write four files into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    model = rebuilt(onnx.load(run / "engines" / "fp32.onnx"))
    images = load_file(run / "calibration.safetensors")["images"].transpose(0, 2, 3, 1).astype(np.float32) / 255
    lite, default = tf.lite, [tf.lite.Optimize.DEFAULT]

    def representative() -> Iterator[list[np.ndarray]]:
        for image in images:
            yield [image[None]]

    def write(name: str, supported: dict[str, Any], **settings: Any) -> None:
        converter = lite.TFLiteConverter.from_keras_model(model)
        for owner, entries in ((converter, settings), (converter.target_spec, supported)):
            for entry, value in entries.items():
                setattr(owner, entry, value)
        (folder / f"{name}.tflite").write_bytes(converter.convert())

    write("float32", {})
    write("float16", {"supported_types": [tf.float16]}, optimizations=default)
    write("dynamic", {}, optimizations=default)
    write(
        "uint8",
        {"supported_ops": [lite.OpsSet.TFLITE_BUILTINS_INT8]},
        optimizations=default,
        representative_dataset=representative,
        inference_input_type=tf.uint8,
        inference_output_type=tf.uint8,
    )


def rebuilt(model: onnx.ModelProto) -> tf.keras.Model:
    """The same function of NHWC images; raises SystemExit for an operator that no MobileNet has."""
    graph, layers = model.graph, tf.keras.layers
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    image = layers.Input((*(side.dim_value for side in graph.input[0].type.tensor_type.shape.dim[2:]), 3), name="image")
    values = {graph.input[0].name: image}
    for node in graph.node:
        settings = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
        value = values[node.input[0]]
        if node.op_type == "Conv":
            top, left, bottom, right = settings.get("pads", (0, 0, 0, 0))
            weights, bias = (constants[name] for name in node.input[1:3])
            depthwise = settings.get("group", 1) > 1
            kind = layers.DepthwiseConv2D if depthwise else layers.Conv2D
            channels = () if depthwise else (len(weights),)
            layer = kind(*channels, weights.shape[2:], strides=settings.get("strides", (1, 1)))
            if top or left or bottom or right:
                value = layers.ZeroPadding2D(((top, bottom), (left, right)))(value)
            value = layer(value)
            layer.set_weights([weights.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0)), bias])
        elif node.op_type == "Gemm":
            weights, bias = (constants[name] for name in node.input[1:3])
            layer = layers.Dense(len(bias))
            value = layer(value)
            layer.set_weights([weights.T if settings.get("transB") else weights, bias])
        elif node.op_type == "Relu":
            value = layers.ReLU()(value)
        elif node.op_type == "Sub":
            value = layers.Rescaling(1.0, offset=[-float(mean) for mean in constants[node.input[1]].flat])(value)
        elif node.op_type == "Div":
            value = layers.Rescaling([1 / float(deviation) for deviation in constants[node.input[1]].flat])(value)
        elif node.op_type in ("ReduceMean", "GlobalAveragePool"):
            value = layers.GlobalAveragePooling2D()(value)
        elif node.op_type not in ("Flatten", "Reshape", "Squeeze"):
            raise SystemExit(f"{node.name}: no Keras layer here for {node.op_type}")
        values[node.output[0]] = value
    return tf.keras.Model(image, values[graph.output[0].name])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
