"""Precisions of training: what is rounded, what stays in fp32, and what is compiled."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

import skinaudit.cli
from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.errors import InvalidInputError, MissingDependencyError
from skinaudit.trainer import recorded_steps
from skinaudit.trainer.attacks import pgd
from skinaudit.trainer.computing import Computing, check_computing, in_precision, round_weights, training_function
from skinaudit.trainer.feed import Feed, Tally
from skinaudit.trainer.inner_attack import AttackedCopy
from skinaudit.trainer.models import build, folded
from skinaudit.trainer.optimisation import follow, moving_average
from skinaudit.trainer.recorded_steps import RecordedSteps

CPU = torch.device("cpu")
IMAGES = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(6)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build("mobilenet", width=0.1, size=32).eval()


def test_bf16_rounds_the_layers_and_neither_the_weights_nor_the_logits(model: nn.Module) -> None:
    dtypes: dict[str, torch.dtype] = {}
    handles = [
        layer.register_forward_hook(lambda layer, _, output: dtypes.update({type(layer).__name__: output.dtype}))
        for layer in model.modules()
    ]
    rounded = in_precision(model, "bf16")(IMAGES)
    for handle in handles:
        handle.remove()
    assert dtypes["Conv2d"] == dtypes["Linear"] == torch.bfloat16
    assert dtypes["Normalise"] == rounded.dtype == torch.float32
    assert all(weight.dtype == torch.float32 for weight in model.parameters())
    exact = model(IMAGES)
    distance = float((rounded - exact).abs().max().detach() / exact.abs().max().detach())
    assert 1e-4 < distance < 5e-2
    assert in_precision(model, "fp32") is model


def test_the_attacked_copy_holds_rounded_weights_that_follow_the_model(model: nn.Module) -> None:
    attacked = AttackedCopy(model, batch_norm="eval", computing=Computing("bf16"))
    expected = in_precision(folded(model), "bf16")
    assert torch.equal(attacked.now()(IMAGES), expected(IMAGES))
    assert {weight.dtype for weight in attacked.now().parameters()} == {torch.bfloat16}
    with torch.no_grad():
        model[1][-1].weight.mul_(2)
    try:
        assert torch.equal(attacked.now()(IMAGES), in_precision(folded(model), "bf16")(IMAGES))
    finally:
        with torch.no_grad():
            model[1][-1].weight.div_(2)
    gradient, _, _ = pgd.input_gradient(attacked.now(), IMAGES, LABELS)
    assert gradient.dtype == torch.float32
    assert float(gradient.abs().max()) > 0


def test_batch_norm_is_not_rounded() -> None:
    layers = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Linear(2, 2))
    round_weights(layers)
    assert [next(layer.parameters()).dtype for layer in layers] == [torch.bfloat16, torch.float32, torch.bfloat16]


def test_a_precision_that_the_device_lacks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInputError, match="--precision tf32: needs an NVIDIA GPU"):
        check_computing(Computing("tf32"), CPU)
    with pytest.raises(InvalidInputError, match="--cuda-graphs: needs an NVIDIA GPU"):
        check_computing(Computing(cuda_graphs=True), CPU)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Old GPU")
    with pytest.raises(InvalidInputError, match="--precision bf16: Old GPU has none; choose tf32 or fp32"):
        check_computing(Computing("bf16"), torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    outcome = CliRunner().invoke(skinaudit.cli.commands, ["train", "--precision", "tf32", "--out", str(tmp_path / "run")])
    assert isinstance(outcome.exception, InvalidInputError) or outcome.exit_code == 2
    assert not (tmp_path / "run").exists()


def test_without_a_compiler_it_is_said_beforehand(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise RuntimeError("no C++ compiler")

    monkeypatch.setattr("torch._inductor.cpp_builder.get_cpp_compiler", none)
    with pytest.raises(MissingDependencyError, match="leave --compile out"):
        check_computing(Computing(compiled=True), CPU)


def test_only_whole_batches_are_compiled_and_a_failing_compiler_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[int] = []

    def compiler(function: nn.Module, *, dynamic: bool) -> object:
        assert dynamic is False
        return lambda images: compiled.append(len(images)) or function(images)

    monkeypatch.setattr(torch, "compile", compiler)
    function = training_function(nn.Flatten(), Computing(compiled=True), batch=6)
    assert function(IMAGES).shape == (6, 3072)
    assert function(IMAGES[:2]).shape == (2, 3072)
    assert compiled == [6]

    def failing(function: nn.Module, *, dynamic: bool) -> object:
        def call(_: Tensor) -> Tensor:
            raise torch._dynamo.exc.BackendCompilerFailed(lambda: None, RuntimeError("no\nvector units"), None)

        return call

    monkeypatch.setattr(torch, "compile", failing)
    with pytest.raises(MissingDependencyError, match=r"torch.compile failed .* leave --compile out") as raised:
        training_function(nn.Flatten(), Computing(compiled=True), batch=6)(IMAGES)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("resident", [False, True])
def test_batches_hold_each_image_once_with_its_label(resident: bool) -> None:
    images = np.random.default_rng(0).integers(0, 256, (7, 3, 4, 4), dtype=np.uint8)
    feed = Feed(images, np.arange(7), CPU)
    if resident:  # as on a GPU
        feed._resident = torch.from_numpy(images)
    order = np.array([6, 2, 4, 0, 5])
    parts = list(feed.batches(order, size=3))
    assert [part for part, _, _ in parts] == [slice(0, 3), slice(3, 5)]
    assert [labels.tolist() for _, _, labels in parts] == [[2, 4, 6], [0, 5]]
    for _, pixels, labels in parts:
        assert torch.equal(pixels, torch.from_numpy(images[labels.numpy()]).float() / 255)
    assert not list(feed.batches(order[:0], size=3))


def test_a_tally_finds_a_loss_that_is_no_number_late_but_before_the_epoch_ends() -> None:
    tally = Tally(CPU, every=3)
    logits, labels = torch.eye(4), torch.tensor([0, 1, 2, 0])
    losses = [1.0, float("nan"), 2.0]
    answers = []
    for loss in losses:
        tally.add(torch.tensor(loss), logits, labels)
        answers.append(tally.diverged())
    assert answers[:2] == [None, None]
    assert answers[2] is not None
    fresh = Tally(CPU, every=100)
    for loss in (1.0, 2.0):
        fresh.add(torch.tensor(loss), logits, labels)
    assert fresh.diverged(last=True) is None
    assert fresh.means() == (1.5, 0.75)
    fresh.add(torch.tensor(torch.inf), logits, labels)
    assert fresh.diverged() is None
    assert fresh.diverged(last=True) == torch.inf


def test_the_average_moves_as_the_paper_says() -> None:
    layer = nn.BatchNorm1d(1)
    average = moving_average(layer)
    expected = 0.0
    for number, value in enumerate((1.0, 5.0, -3.0, 2.0)):
        with torch.no_grad():
            layer.weight.fill_(value)
        layer.num_batches_tracked.fill_(number)
        follow(average, layer, decay=0.3)
        share = min(0.3, (1 + number) / (10 + number)) if number else 0.0
        expected = share * expected + (1 - share) * value
    assert float(average.module.weight.detach()) == pytest.approx(expected)
    assert int(average.module.num_batches_tracked) == 3
    assert int(average.n_averaged) == 4


def test_recorded_steps_are_those_of_pgd(model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    """The graph itself needs a GPU; here it is replayed by running the same steps."""
    frozen, steps = folded(model), RecordedSteps(lambda: frozen, steps=3)

    def replay() -> None:
        steps._adversarial = steps._climb(threat_model)

    monkeypatch.setattr(steps, "_record", lambda _: setattr(steps, "_graph", SimpleNamespace(replay=replay)))
    for eps in (2, 8):  # the radius of a recording may grow
        threat_model = ThreatModel("linf", Fraction(eps))
        perturbed = steps.attack(
            IMAGES, LABELS, threat_model=threat_model, generator=torch.Generator().manual_seed(3)
        )  # fmt: skip
        expected = pgd.attack(
            frozen, IMAGES, LABELS, threat_model=threat_model, generator=torch.Generator().manual_seed(3), steps=3,
            keep="last",
        )  # fmt: skip
        torch.testing.assert_close(perturbed, expected, rtol=0, atol=1e-6)
    assert not steps.fits(IMAGES, threat_model)  # not on a CPU
    assert recorded_steps._WARM_UP > 0
