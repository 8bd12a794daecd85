"""Ten wrong contracts on a real engine: what the search of `skinaudit contract` makes of them.

    python bench/contracts.py RUN [--output docs/results/contracts.md]

RUN is a finished run with its fp32.onnx. Nodes before and after its graph make it the engine of another tool, which wants
other pixels and answers in another order. Each such engine gets a wrong contract; the search sees the clean set alone.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from skinaudit.artifacts.adversarial_set import AdversarialSet, open_set
from skinaudit.artifacts.engine_contract import EngineContract
from skinaudit.artifacts.run_folder import RunFolder
from skinaudit.audit.contract_search import CAFFE_MEAN, IMAGENET_MEAN, IMAGENET_STD, Search, search_contract
from skinaudit.audit.evidence.replay import replay
from skinaudit.engines.open import open_session
from skinaudit.engines.session import SessionEngine

Order = tuple[int, ...]


@dataclass(frozen=True)
class Tool:
    """An engine of another tool: the pixels that it wants, and the class of each column. wrong: what its contract says."""

    name: str
    right: EngineContract
    wrong: Callable[[EngineContract], EngineContract]


def tools(size: int, classes: tuple[str, ...]) -> list[Tool]:
    """The ten engines; the first name is the preprocessing that the engine wants."""
    plain = EngineContract(size, classes, input="pixels", output="answer")
    turned = tuple(sorted(classes))
    pm1 = replace(plain, scale=Fraction(2, 255), mean=(1.0,) * 3)
    imagenet = replace(plain, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    to_255 = replace(plain, scale=Fraction(1))
    caffe = replace(to_255, colour="BGR", mean=CAFFE_MEAN[::-1], layout="NHWC")
    zscore = replace(to_255, normalise="per image")
    exchanged = (classes[1], classes[0], *classes[2:])
    return [
        Tool("-1 to 1, told 0 to 1", pm1, lambda _: plain),
        Tool("0 to 1, told -1 to 1", plain, lambda _: pm1),
        Tool("0 to 255, told 0 to 1", to_255, lambda _: plain),
        Tool("0 to 1, told 0 to 255", plain, lambda _: to_255),
        Tool("ImageNet, told 0 to 1", imagenet, lambda _: plain),
        Tool("0 to 1 BGR, told RGB", replace(plain, colour="BGR"), lambda _: plain),
        Tool("Caffe BGR NHWC, told 0 to 1 RGB", caffe, lambda _: replace(plain, layout="NHWC")),
        Tool("z-score per image, told ImageNet", zscore, lambda _: imagenet),
        Tool("alphabetical columns, told those of the sets", replace(plain, classes=turned), lambda _: plain),
        Tool("-1 to 1, first columns exchanged, told neither", replace(pm1, classes=exchanged), lambda _: plain),
    ]


def write_engine(reference: Path, tool: Tool, classes: tuple[str, ...], path: Path) -> None:
    """The graph of `reference`, which takes 0 to 1 RGB NCHW, with nodes that undo the tool's preprocessing and its order."""
    model, contract = onnx.load(reference), tool.right
    graph = model.graph
    scale = np.array(contract.std, np.float32) / float(contract.scale) / 255
    shift = np.array(contract.mean, np.float32) / float(contract.scale) / 255
    if contract.normalise == "per image":  # a model of images with this mean and contrast
        scale, shift = np.full(3, 0.12, np.float32), np.full(3, 0.6, np.float32)
    nodes = [helper.make_node("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2])] if contract.layout == "NHWC" else []
    nodes += [
        helper.make_node("Mul", ["planes" if nodes else "pixels", "spread"], ["spread_out"]),
        helper.make_node("Add", ["spread_out", "shift"], ["shifted"]),
        helper.make_node("Gather", ["shifted", "colours"], ["image"], axis=1),
    ]
    columns = np.array([classes.index(name) for name in contract.classes])
    constants = {
        "spread": scale.reshape(1, 3, 1, 1), "shift": shift.reshape(1, 3, 1, 1).astype(np.float32), "columns": columns,
        "colours": np.array([2, 1, 0] if contract.colour == "BGR" else [0, 1, 2]),
    }  # fmt: skip
    last = helper.make_node("Gather", ["logits", "columns"], ["answer"], axis=1)
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    inner = list(graph.node)
    del graph.node[:], graph.input[:], graph.output[:], model.metadata_props[:]
    graph.node.extend([*nodes, *inner, last])
    sides = contract.shape
    graph.input.append(helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", *sides]))
    graph.output.append(helper.make_tensor_value_info("answer", TensorProto.FLOAT, ["batch", len(classes)]))
    onnx.save(model, path)


def figures(path: Path, contract: EngineContract, clean: AdversarialSet) -> tuple[float, float]:
    """Accuracy on the whole clean set and malignant called malignant, read by `contract`."""
    about = clean.info.contract
    engine = SessionEngine(open_session(path, threads=1), where=path.name, contract=contract, order=about.classes)
    answers = replay(engine, clean).logits.argmax(axis=1)
    ill = np.isin(clean.labels, about.malignant_labels)
    return float((answers == clean.labels).mean()), float(np.isin(answers[ill], about.malignant_labels).mean())


def row(tool: Tool, path: Path, clean: AdversarialSet) -> tuple[str, bool]:
    """A line of the table, and whether the search ended at the right contract."""
    wrong = tool.wrong(tool.right)
    started = time.perf_counter()
    search: Search = search_contract(open_session(path, threads=1), clean, wrong, where=path.name, given=True, thorough=True)
    seconds = time.perf_counter() - started
    before, due = figures(path, wrong, clean), figures(path, tool.right, clean)
    if search.chosen is None:
        cells = [*_shares(before), "-", "-", *_shares(due), f"{seconds:.1f}", search.reason]
        return f"| {tool.name} | {' | '.join(cells)} |", False
    after = figures(path, search.chosen.contract, clean)
    cells = [*_shares(before), *_shares(after), *_shares(due), f"{seconds:.1f}", search.chosen.name]
    return f"| {tool.name} | {' | '.join(cells)} |", abs(after[0] - due[0]) < 1e-9


def _shares(shares: tuple[float, float]) -> list[str]:
    return [f"{100 * share:.1f}" for share in shares]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--output", type=Path, default=None)
    options = parser.parse_args()
    run = RunFolder(options.run)
    clean = open_set(run.set_file("clean"))
    classes = clean.info.contract.classes
    lines = [
        f"{clean.info.dataset}, {len(clean):,} clean images of {clean.info.contract.size} pixels; all shares in %.", "",
        "| the engine wants, its contract says | accuracy | malignant | accuracy found | malignant found | accuracy due | "
        "malignant due | s | found |",
        "|:--|--:|--:|--:|--:|--:|--:|--:|:--|",
    ]  # fmt: skip
    right = 0
    with tempfile.TemporaryDirectory() as folder:
        for number, tool in enumerate(tools(clean.info.contract.size, classes)):
            path = Path(folder) / f"engine{number}.onnx"
            write_engine(run.reference, tool, classes, path)
            line, is_right = row(tool, path, clean)
            right += is_right
            lines.append(line)
            print(line, flush=True)
    lines += ["", f"{right} of {len(lines) - 4} engines are read as they should be."]
    print(lines[-1])
    if options.output is not None:
        options.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
