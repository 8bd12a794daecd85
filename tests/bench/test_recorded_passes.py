"""Repeated passes of a model: on a CPU with a recorder that behaves as torch's does, on a GPU with torch's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from skinaudit.bench.gpu_parts import recorded_passes
from skinaudit.bench.gpu_parts.recorded_passes import RecordedPasses, can_be_recorded
from skinaudit.engines import defences
from skinaudit.trainer.defended import Defended
from skinaudit.trainer.models import build, folded

CALLS = 10


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return folded(build("mobilenet", width=0.1, size=32).eval())


class Recorder:
    """Stands in for torch's: answers and gradients of all calls with one recording lie in the same memory.

    A backward pass overwrites the activations, so a second one without a forward pass gives NaN.
    """

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, function: Callable[[Tensor], Tensor], samples: tuple[Tensor]) -> Callable[[Tensor], Tensor]:
        (sample,) = samples
        self.shapes.append(tuple(sample.shape))
        answers, gradients = function(sample.detach()).clone(), torch.zeros_like(sample)
        activations = {"there": False}

        class Replay(torch.autograd.Function):
            @staticmethod
            def forward(context: Any, images: Tensor) -> Tensor:
                sample.data.copy_(images)
                answers.copy_(function(sample.detach()))
                activations["there"] = True
                return answers.detach()

            @staticmethod
            def backward(context: Any, *gradient: Tensor) -> Tensor:
                with torch.enable_grad():
                    leaf = sample.detach().clone().requires_grad_()
                    gradients.copy_(torch.autograd.grad(function(leaf), leaf, gradient[0])[0])
                if not activations["there"]:
                    gradients.fill_(torch.nan)
                activations["there"] = False
                return gradients.detach()

        return Replay.apply  # type: ignore[no-any-return]


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    stand_in = Recorder()
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", stand_in)
    monkeypatch.setattr(recorded_passes, "_on_gpu", lambda images: True)
    return stand_in


def drawn(seed: int, count: int = 3) -> Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def gradient_of(model: Callable[[Tensor], Tensor], images: Tensor) -> tuple[Tensor, Tensor]:
    leaf = images.clone().requires_grad_()
    answers = model(leaf)
    return answers, torch.autograd.grad(answers.square().sum(), leaf)[0]


def test_answers_and_gradients_of_all_calls_stay_those_of_the_model(model: nn.Module, recorder: Recorder) -> None:
    passes = RecordedPasses(model)
    kept = [gradient_of(passes, drawn(seed)) for seed in range(CALLS)]
    assert recorder.shapes == [(3, 3, 32, 32)]
    for seed, (answers, gradient) in enumerate(kept):
        expected, slope = gradient_of(model, drawn(seed))
        assert torch.allclose(answers, expected, atol=1e-6)
        assert torch.allclose(gradient, slope, atol=1e-6)


def test_calls_without_gradients_have_recordings_of_their_own(model: nn.Module, recorder: Recorder) -> None:
    passes = RecordedPasses(model)
    with torch.no_grad():
        kept = [passes(drawn(seed)) for seed in range(CALLS)]
    gradient_of(passes, drawn(0))
    assert len(recorder.shapes) == 1
    for seed, answers in enumerate(kept):
        assert torch.allclose(answers, model(drawn(seed)), atol=1e-6)


def test_a_gradient_that_comes_too_late_is_an_error(model: nn.Module, recorder: Recorder) -> None:
    passes = RecordedPasses(model)
    for seed in range(CALLS):
        gradient_of(passes, drawn(seed))
    leaf = drawn(0).requires_grad_()
    answers = passes(leaf)
    gradient_of(passes, drawn(1))
    with pytest.raises(RuntimeError, match="overwritten"):
        torch.autograd.grad(answers.sum(), leaf)


def test_several_gradients_of_the_same_answers_are_those_of_the_model(model: nn.Module, recorder: Recorder) -> None:
    """DeepFool takes one for each class."""
    passes = RecordedPasses(model)
    for seed in range(CALLS):
        leaves = [drawn(seed).requires_grad_() for _ in range(2)]
        for number in range(3):
            if number == 0:
                answers = [function(leaf) for function, leaf in zip((model, passes), leaves, strict=True)]
            expected, gradient = (
                torch.autograd.grad(answer[:, number].sum(), leaf, retain_graph=True)[0]
                for answer, leaf in zip(answers, leaves, strict=True)
            )
            assert torch.allclose(gradient, expected, atol=1e-6)
    assert recorder.shapes


def test_few_recordings_are_kept_and_none_after_the_release(model: nn.Module, recorder: Recorder) -> None:
    passes = RecordedPasses(model)
    for count in (5, 4, 3, 2, 1):
        for seed in range(CALLS):
            answers, _ = gradient_of(passes, drawn(seed, count=count))
            assert torch.allclose(answers, model(drawn(seed, count=count)), atol=1e-6)
    assert [shape[0] for shape in recorder.shapes] == [5, 4, 3, 2, 1]
    assert [shape[0] for shape in passes._recorded] == [3, 2, 1]
    passes.release()
    assert not passes._recorded


def test_large_batches_are_computed_as_they_are(
    model: nn.Module, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorded_passes, "_MOST_VALUES", 3 * 32 * 32 * 2)
    passes = RecordedPasses(model)
    for seed in range(CALLS):
        gradient_of(passes, drawn(seed))
    assert not recorder.shapes
    for seed in range(CALLS):
        gradient_of(passes, drawn(seed, count=2))
    assert recorder.shapes == [(2, 3, 32, 32)]


class Drawing(nn.Module):
    """Draws a number at each call."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean((2, 3)) + torch.rand(())


def test_models_with_layers_of_their_own_or_weights_to_train_are_not_recorded(model: nn.Module, recorder: Recorder) -> None:
    assert can_be_recorded(model)
    defence = defences.parse("jpeg")
    trained = build("mobilenet", width=0.1, size=32).eval()
    hooked, dropping = (folded(build("mobilenet", width=0.1, size=32).eval()) for _ in range(2))
    hooked.register_forward_hook(lambda module, inputs, answers: answers + 1)
    dropping.add_module("dropping", nn.Dropout2d().train())
    for other in (Drawing(), nn.Sequential(model, Drawing()), Defended(model, defence), trained, hooked, dropping):
        assert not can_be_recorded(other)
    passes = RecordedPasses(Drawing())
    assert len({float(passes(drawn(0)).sum()) for _ in range(CALLS)}) == CALLS
    assert not recorder.shapes


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("architecture", ["mobilenet", "mobilenet_v2", "vgg16", "vgg16_bn"])
def test_graphs_of_a_gpu_give_the_answers_and_gradients_of_the_model(architecture: str) -> None:
    torch.manual_seed(0)
    network = folded(build(architecture, width=0.25, size=32).eval()).cuda()
    assert can_be_recorded(network)
    passes = RecordedPasses(network)
    kept = [gradient_of(passes, drawn(seed).cuda()) for seed in range(CALLS)]
    assert len(passes._recorded) == 1
    for seed, (answers, gradient) in enumerate(kept):
        expected, slope = gradient_of(network, drawn(seed).cuda())
        assert torch.allclose(answers, expected, rtol=1e-3, atol=1e-5)
        assert torch.allclose(gradient, slope, rtol=1e-3, atol=1e-5)
    leaves = [drawn(0).cuda().requires_grad_() for _ in range(2)]
    both = [function(leaf) for function, leaf in zip((network, passes), leaves, strict=True)]
    for number in range(3):
        expected, gradient = (
            torch.autograd.grad(answer[:, number].sum(), leaf, retain_graph=True)[0]
            for answer, leaf in zip(both, leaves, strict=True)
        )
        assert torch.allclose(gradient, expected, rtol=1e-3, atol=1e-5)
