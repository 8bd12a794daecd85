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
from skinaudit.trainer.int8_channels import bound, limit, usual
from skinaudit.trainer.int8_training import RoundedModel, first_epoch, on_grid, on_int8_grid
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
    rounded, kept = RoundedModel(model, IMAGES), on_grid(model)
    assert {name: value.shape for name, value in kept.state_dict().items()} == {
        name: value.shape for name, value in model.state_dict().items()
    }
    before, after = logits_of(model, IMAGES), logits_of(kept, IMAGES)
    assert 0 < np.abs(after - before).mean() < 0.05 * np.ptp(before)
    assert rounded.logits(PIXELS, rounds=False).detach().numpy() == pytest.approx(after, abs=1e-4 * float(np.ptp(before)))


def test_the_rounded_model_computes_what_the_exported_int8_graph_does(model: nn.Module) -> None:
    model = copy.deepcopy(model)
    parts = list(model.children())[1]
    short = nn.Sequential(model[0], *parts[0][:5], *list(parts)[1:-1], nn.Linear(12, 7)).eval()  # type: ignore[index, arg-type]
    bound(short, IMAGES)
    rounded, kept = RoundedModel(short, IMAGES), on_grid(short)
    graph = to_onnx(kept, size=32)
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
    ours, exact = rounded.logits(PIXELS, rounds=True).detach().numpy(), logits_of(kept, IMAGES)
    # Equal but where a value lay half way between two steps.
    assert np.median(np.abs(exported - ours)) < 0.01 * np.median(np.abs(exported - exact))


def test_weights_between_the_steps_are_not_on_the_grid() -> None:
    kernel = np.array([[1.27, 0.5], [0.3, -2.54]], np.float32)
    layer = helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)
    for weight, expected in ((kernel, True), (kernel + np.array([[0, 0.004], [0, 0]]), False)):
        tensor = numpy_helper.from_array(weight.astype(np.float32), "w")
        assert weights_on_grid(helper.make_model(helper.make_graph([layer], "g", [], [], [tensor]))) is expected


def scales_of(int8: ModelProto) -> list[float]:
    """Of each quantised activation of a graph but those that only a ReLU reads, which have the scale of its result."""
    constants = {tensor.name: float(numpy_helper.to_array(tensor)) for tensor in int8.graph.initializer if not tensor.dims}
    relus = {node.input[0]: node.output[0] for node in int8.graph.node if node.op_type == "Clip"}
    assert relus
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


def test_a_bound_changes_nothing_below_it_and_gives_every_channel_the_same_range(model: nn.Module) -> None:
    bounded = copy.deepcopy(model)
    bound(bounded, IMAGES)
    unlimited = copy.deepcopy(bounded)
    for module in unlimited.modules():
        for name, layer in module.named_children():
            if isinstance(layer, nn.ReLU6):
                setattr(module, name, nn.ReLU())
    before = logits_of(model, IMAGES)
    assert logits_of(unlimited, IMAGES) == pytest.approx(before, abs=1e-4 * float(np.ptp(before)))
    assert np.abs(logits_of(bounded, IMAGES) - before).max() > 0
    first = unlimited[1][0][0](unlimited[0](PIXELS)).amax((2, 3))  # type: ignore[index, operator]
    assert first.quantile(0.9, dim=0).detach().numpy() == pytest.approx(np.full(first.shape[1], 6.0), abs=1e-4)


def test_weights_that_read_a_silent_channel_are_cleared() -> None:
    first, second = nn.Conv2d(3, 2, 1), nn.Conv2d(2, 4, 1)
    with torch.no_grad():
        first.weight.abs_()
        first.bias.copy_(torch.tensor([0.1, -9.0]))  # type: ignore[union-attr]
    bound(nn.Sequential(first, nn.ReLU(), second), IMAGES)
    assert second.weight.abs().amax((0, 2, 3)).gt(0).tolist() == [True, False]


def test_only_relus_between_two_weighted_layers_of_a_sequence_are_bounded() -> None:
    first, second, third, fourth, last = (nn.Conv2d(4, 4, 1) for _ in range(5))
    relus = [nn.ReLU() for _ in range(6)]
    inner = nn.Sequential(first, nn.BatchNorm2d(4), relus[0])
    grouped = nn.Conv2d(4, 4, 1, groups=2)
    head = (nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(), nn.Linear(16, 2))
    chain = nn.Sequential(
        inner, nn.MaxPool2d(2), second, relus[1], nn.Sigmoid(), third, nn.MaxPool2d(2), relus[2],
        fourth, relus[3], grouped, nn.BatchNorm2d(4), relus[4], last, relus[5], *head,
    )  # fmt: skip
    limit(chain)
    left = set(chain.modules())
    assert [relu in left for relu in relus] == [False, True, True, True, False, False]
    assert sum(isinstance(layer, nn.ReLU6) for layer in chain.modules()) == 3


def test_a_linear_layer_behind_flattened_channels_is_scaled_back() -> None:
    chain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 5))
    bounded = copy.deepcopy(chain)
    bound(bounded, IMAGES[:1])  # of one image no value is cut off
    before = logits_of(chain, IMAGES[:1])
    assert logits_of(bounded, IMAGES[:1]) == pytest.approx(before, abs=1e-4 * float(np.ptp(before)))


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
    for ended in (whole, parts):
        assert {type(layer) for layer in ended.modules()} & {nn.ReLU, nn.ReLU6} == {nn.ReLU6}
