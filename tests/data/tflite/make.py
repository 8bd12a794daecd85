"""Train and convert the .tflite files of this folder; see README.md. Needs tensorflow-cpu and ai-edge-litert."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from skinaudit.artifacts.contract import CLASSES
from skinaudit.trainer.data.synthetic import generate

SIZE, SEED, KEPT = 32, 11, 12
FOLDER = Path(__file__).parent
ORDER = tuple(sorted(CLASSES))  # as Keras orders folders of images


def main() -> None:
    """Write float32.tflite, uint8.tflite and answers.npz."""
    tf.keras.utils.set_random_seed(SEED)
    data = generate(images=3000, size=SIZE, seed=SEED)
    pixels = data.images.transpose(0, 2, 3, 1)
    scaled = pixels.astype(np.float32) / np.float32(127.5) - 1
    columns = np.array([ORDER.index(name) for name in CLASSES])[data.labels]
    model = classifier()
    model.compile(tf.keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(scaled, columns, epochs=25, batch_size=32, verbose=2)
    answers = {"images": data.images[:KEPT]}
    for name, content in (("float32", as_float(model)), ("uint8", as_uint8(model, scaled[:300]))):
        (FOLDER / f"{name}.tflite").write_bytes(content)
        fed = pixels[:KEPT] if name == "uint8" else scaled[:KEPT]
        answers[name] = interpreted(content, fed)
    np.savez_compressed(FOLDER / "answers.npz", **answers)


def classifier() -> tf.keras.Model:
    """NHWC images of -1 to 1 -> probabilities: one ordinary, two depthwise and two pointwise convolutions."""
    layers = tf.keras.layers

    def convolution(layer: tf.keras.layers.Layer) -> list[tf.keras.layers.Layer]:
        return [layer, layers.BatchNormalization(), layers.ReLU(6.0)]

    return tf.keras.Sequential(
        [
            layers.Input((SIZE, SIZE, 3), name="pixels"),
            *convolution(layers.Conv2D(12, 3, strides=2, padding="same", use_bias=False)),
            *convolution(layers.DepthwiseConv2D(3, padding="same", use_bias=False)),
            *convolution(layers.Conv2D(24, 1, use_bias=False)),
            *convolution(layers.DepthwiseConv2D(3, strides=2, padding="same", use_bias=False)),
            *convolution(layers.Conv2D(48, 1, use_bias=False)),
            layers.GlobalAveragePooling2D(),
            layers.Dense(len(ORDER), activation="softmax"),
        ]
    )


def as_float(model: tf.keras.Model) -> bytes:
    return bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())


def as_uint8(model: tf.keras.Model, scaled: np.ndarray) -> bytes:
    """Integers throughout, as microcontrollers and accelerators want it."""

    def representative() -> Iterator[list[np.ndarray]]:
        for image in scaled:
            yield [image[None]]

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = representative
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.uint8
    return bytes(converter.convert())


def interpreted(content: bytes, images: np.ndarray) -> np.ndarray:
    """What TensorFlow Lite's own runtime answers, as the file's own type."""
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    (input_port,), (output,) = interpreter.get_input_details(), interpreter.get_output_details()
    rows = []
    for image in images:
        interpreter.set_tensor(input_port["index"], image[None])
        interpreter.invoke()
        rows.append(interpreter.get_tensor(output["index"])[0].copy())
    return np.stack(rows)


if __name__ == "__main__":
    main()
