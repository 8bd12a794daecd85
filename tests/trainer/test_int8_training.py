"""Training for int8: the rounded model against the exported int8 graph, its gradients, what it leaves, and the training."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
from onnx import ModelProto, helper, numpy_helper
from torch import nn

from skinaudit.export.calibration import Calibration
from skinaudit.export.int8 import _with_ranges
from skinaudit.export.int8_grid import weights_on_grid
from skinaudit.export.to_onnx import to_onnx
from skinaudit.tests.trainer import test_loop as loops
from skinaudit.trainer.evaluate import logits_of, to_pixels
from skinaudit.trainer.int8_channels import pairs, usual
from skinaudit.trainer.int8_training import RoundedModel, first_epoch, on_int8_grid
from skinaudit.trainer.models import build

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 3, 32, 32), dtype=np.uint8)
PIXELS = to_pixels(IMAGES, device=torch.device("cpu"))


@pytest.fixture(scope="module")
def model() -> nn.Module:
    """A small MobileNet with batch norm as after some training, and a channel that is dead."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build("mobilenet", width=0.1, size=32)
        for _ in range(20):
            network(torch.rand(16, 3, 32, 32))
    network[1][-1].weight.data *= 8  # type: ignore[index, union-attr, operator]
    return network.eval()


def test_the_kept_model_is_the_same_but_for_rounded_weights(model: nn.Module) -> None:
    rounded = RoundedModel(model, IMAGES)
    on_grid = rounded.on_grid()
    assert {name: value.shape for name, value in on_grid.state_dict().items()} == {
        name: value.shape for name, value in model.state_dict().items()
    }
    before, after = logits_of(model, IMAGES), logits_of(on_grid, IMAGES)
    assert 0 < np.abs(after - before).mean() < 0.05 * np.ptp(before)
    assert rounded.logits(PIXELS, rounds=False).detach().numpy() == pytest.approx(after, abs=1e-4 * float(np.ptp(before)))


def test_the_rounded_model_computes_what_the_exported_int8_graph_does(model: nn.Module) -> None:
    parts = list(model.children())[1]
    short = nn.Sequential(model[0], *parts[0][:5], *list(parts)[1:-1], nn.Linear(12, 7)).eval()  # type: ignore[index, arg-type]
    rounded = RoundedModel(short, IMAGES)
    on_grid = rounded.on_grid()
    graph = to_onnx(on_grid, size=32)
    assert weights_on_grid(graph)
    int8 = _with_ranges(graph, graph, Calibration(IMAGES, "x"), method="minmax", symmetric=True, where="m")
    layers = list(rounded._layers.values())
    ranges = [127 * scale for scale in scales_of(int8)]
    assert [layer.range for layer in layers] == pytest.approx(ranges, rel=0.5)  # there without the farthest image
    for layer, measured in zip(layers, ranges, strict=True):
        layer.range = measured
    plain = ort.SessionOptions()
    plain.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL  # integer kernels round in another order
    session = ort.InferenceSession(int8.SerializeToString(), plain, providers=["CPUExecutionProvider"])
    exported = session.run(None, {"image": PIXELS.numpy()})[0]
    ours, exact = rounded.logits(PIXELS, rounds=True).detach().numpy(), logits_of(on_grid, IMAGES)
    # Equal but where a value lay half way between two steps.
    assert np.median(np.abs(exported - ours)) < 0.01 * np.median(np.abs(exported - exact))


def test_weights_between_the_steps_are_not_on_the_grid() -> None:
    kernel = np.array([[1.27, 0.5], [0.3, -2.54]], np.float32)
    layer = helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)
    for weight, on_grid in ((kernel, True), (kernel + np.array([[0, 0.004], [0, 0]]), False)):
        tensor = numpy_helper.from_array(weight.astype(np.float32), "w")
        assert weights_on_grid(helper.make_model(helper.make_graph([layer], "g", [], [], [tensor]))) is on_grid


def scales_of(int8: ModelProto) -> list[float]:
    """Of each quantised activation of a graph but those that only a ReLU reads, which have the scale of its result."""
    constants = {tensor.name: float(numpy_helper.to_array(tensor)) for tensor in int8.graph.initializer if not tensor.dims}
    relus = {node.input[0]: node.output[0] for node in int8.graph.node if node.op_type == "Relu"}
    decoders = {node.input[0]: node.output[0] for node in int8.graph.node if node.op_type == "DequantizeLinear"}
    quantisers = {node.input[0]: node for node in int8.graph.node if node.op_type == "QuantizeLinear"}
    for node in quantisers.values():
        result = relus.get(decoders[node.output[0]])
        assert result is None or constants[node.input[1]] == constants[quantisers[result].input[1]]
    return [constants[node.input[1]] for node in quantisers.values() if decoders[node.output[0]] not in relus]


def test_gradients_reach_every_weight_and_no_statistic_moves(model: nn.Module) -> None:
    trained = copy.deepcopy(model).train()
    rounded = RoundedModel(trained, IMAGES)
    logits = rounded(PIXELS)
    assert torch.equal(logits, rounded.logits(PIXELS, rounds=True))
    logits.logsumexp(1).sum().backward()  # type: ignore[no-untyped-call]
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in trained.parameters())
    for name, value in trained.named_buffers():
        assert torch.equal(value, dict(model.named_buffers())[name]), name


def test_answers_that_rounding_moves_are_descended_with_any_loss(model: nn.Module) -> None:
    trained = copy.deepcopy(model)
    (0 * RoundedModel(trained, IMAGES)(PIXELS)).sum().backward()  # type: ignore[no-untyped-call]
    assert any(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in trained.parameters())


def test_weights_on_the_grid_stay_there() -> None:
    weight = torch.randn(4, 3, 3, 3)
    once = on_int8_grid(weight)
    assert torch.equal(on_int8_grid(once), once)
    assert (once - weight).abs().amax((1, 2, 3)).max() <= weight.abs().max() / 254


def test_an_outlier_among_the_images_sets_no_range() -> None:
    peaks = torch.tensor([*np.linspace(1, 2, 99), 1000.0])
    assert usual([peaks, torch.ones(100)]).tolist() == list(range(99))


def test_channels_are_equalised_where_nothing_but_a_relu_lies_between() -> None:
    first, second, third, fourth = (nn.Conv2d(4, 4, 1, bias=bias) for bias in (False, True, True, False))
    norm, between = nn.BatchNorm2d(4), nn.ReLU()
    chain = nn.Sequential(nn.Sequential(first, norm, between), second, nn.ReLU6(), third, nn.ReLU(), nn.MaxPool2d(2), fourth)
    assert list(pairs(chain, {first: norm})) == [(first, second)]
    assert list(pairs(chain, {})) == []


@pytest.mark.parametrize(("share", "first"), [(0.0, 5), (0.25, 3), (0.2, 4), (1.0, 0)])
def test_the_last_epochs_are_those_of_the_share(share: float, first: int) -> None:
    assert first_epoch(share, epochs=5) == first


def test_only_epochs_for_int8_are_kept_and_a_resumed_training_ends_with_the_same_bits(tmp_path: Path) -> None:
    recipe = replace(loops.QUICK, epochs=3, averaging=0.9)
    whole, parts = loops.network(), loops.network()
    history = loops.run(tmp_path / "whole", recipe, model=whole, int8_share=0.6)
    assert not history[0]["best"]
    assert history[1]["best"]
    kernels = [layer.weight for layer in whole.modules() if isinstance(layer, nn.Conv2d)]
    assert all(torch.equal(on_int8_grid(kernel), kernel) for kernel in kernels)
    loops.interrupted(tmp_path / "parts", recipe, 2, int8_share=0.6)
    loops.run(tmp_path / "parts", recipe, model=parts, int8_share=0.6, resume=True)
    assert torch.equal(loops.weights(whole), loops.weights(parts))
