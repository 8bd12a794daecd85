"""Makes engines of two runs as other tools ship them, with contracts that fit and contracts that do not.

    python bench/foreign_engines.py runs/melanoma-standard runs/seven-standard foreign/

The first run answers in one column, the second has the seven classes of HAM10000; both are exported as fp32.onnx.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

from skinaudit.artifacts.contract import CLASSES, MALIGNANT
from skinaudit.artifacts.files import write_bytes
from skinaudit.artifacts.manifest import read_run
from skinaudit.artifacts.run_folder import RunFolder

_HEAD = """[input]
size = {size}
layout = "NCHW"
dtype = "float32"
colour = "RGB"
scale = "1/255"
mean = [0, 0, 0]
std = [1, 1, 1]
[output]
answer = "probabilities"
"""
_BENIGN = [name for name in CLASSES if name not in MALIGNANT]


@click.command()
@click.argument("one_column", type=click.Path(exists=True, path_type=Path))
@click.argument("seven", type=click.Path(exists=True, path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
def main(one_column: Path, seven: Path, target: Path) -> None:
    """Write engines and contracts into TARGET."""
    target.mkdir(parents=True, exist_ok=True)
    ill = [[float(name in MALIGNANT)] for name in CLASSES]
    column, classes = (onnx.load(str(RunFolder(run).reference)) for run in (one_column, seven))
    column.graph.node.append(helper.make_node("Sigmoid", ["logits"], ["probability"]))
    onnx.save(_answering(column, "probability", 1), str(target / "sigmoid.onnx"))
    for name, rows in (
        ("coarse", [[1 - share[0], *share] for share in ill]),
        ("coarse-sigmoid", ill),
        ("background", [[0.0, *row] for row in np.eye(len(CLASSES)).tolist()]),
    ):
        onnx.save(_summed(classes, rows), str(target / f"{name}.onnx"))
    head = _HEAD.format(size=read_run(seven).contract.size)
    for name, text in _contracts().items():
        write_bytes(target / f"{name}.toml", f"{head}{text}".encode())


def _contracts() -> dict[str, str]:
    """By file what it says of the answer: those that fit first."""
    two_classes, groups = 'classes = ["benign", "malignant"]\n', _mapping(benign=_BENIGN, malignant=MALIGNANT)
    melanoma = 'classes = ["rest", "melanoma"]\npositive = "{}"\nthreshold = {}\n'
    background = _mapping(background=(), **{name: (name,) for name in CLASSES})
    return {
        "sigmoid": melanoma.format("melanoma", 0.5),
        "sigmoid-02": melanoma.format("melanoma", 0.2),
        "coarse": two_classes + groups,
        "coarse-sigmoid": f'{two_classes}positive = "malignant"\n{groups}',
        "background": f"classes = {json.dumps(['background', *CLASSES])}\n{background}",
        "sigmoid-swapped": melanoma.format("rest", 0.5),
        "coarse-swapped": 'classes = ["malignant", "benign"]\n' + groups,
        "coarse-partial": two_classes + _mapping(benign=_BENIGN[:-1], malignant=MALIGNANT),
        "coarse-mixed": two_classes + _mapping(benign=[*_BENIGN, MALIGNANT[-1]], malignant=MALIGNANT[:-1]),
    }


def _mapping(**members: Sequence[str]) -> str:
    return "[output.mapping]\n" + "".join(f"{name} = {json.dumps(list(of))}\n" for name, of in members.items())


def _summed(source: ModelProto, rows: Sequence[Sequence[float]]) -> ModelProto:
    """The graph with sums of its probabilities for answers: rows of its classes, columns of the new ones."""
    model = ModelProto()
    model.CopyFrom(source)
    model.graph.node.append(helper.make_node("Softmax", ["logits"], ["shares"], axis=1))
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(rows, np.float32), "grouping"))
    model.graph.node.append(helper.make_node("MatMul", ["shares", "grouping"], ["scores"]))
    return _answering(model, "scores", len(rows[0]))


def _answering(model: ModelProto, name: str, columns: int) -> ModelProto:
    """The graph with another output, and without the notes of its run."""
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", columns]))
    del model.metadata_props[:]
    return model


if __name__ == "__main__":
    main()
