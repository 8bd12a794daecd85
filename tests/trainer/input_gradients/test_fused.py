"""Chains of convolutions with their ReLUs compute the layers that they stand for, forward and backward."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from skinaudit.tests.drawn_models import drawn
from skinaudit.trainer.attacks.pgd import input_gradient
from skinaudit.trainer.few_sizes import few_sizes
from skinaudit.trainer.input_gradients.fused import Chain, fused, joined
from skinaudit.trainer.input_gradients.links import ConvolutionReLU, MaxPool, PointwiseReLU, WinogradReLU
from skinaudit.trainer.input_gradients.pooled_linear import PooledLinear
from skinaudit.trainer.models import build, folded

IMAGES = torch.rand(20, 3, 32, 32, generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(40) % 3


def parts(model: nn.Module, kind: type[nn.Module]) -> list[nn.Module]:
    return [layer for layer in model.modules() if isinstance(layer, kind)]


def assert_same_function(model: nn.Module, expected: nn.Module, images: Tensor) -> None:
    """Answers and gradients are equal, but for rounding that is small beside the largest value of each image."""
    truth = LABELS[: len(images)]
    pairs = zip(input_gradient(model, images, truth), input_gradient(expected, images, truth), strict=True)
    with torch.no_grad():
        answers = [(model(images), expected(images))]
    for found, right in [*pairs, *answers]:
        assert found.shape == right.shape
        scale = right.abs().flatten(1).amax(1) if right.dim() > 1 else right.abs()
        assert ((found - right).abs().reshape(len(right), -1).amax(1) <= 1e-4 * scale + 1e-12).all()


def frozen_model(arch: str, width: float) -> nn.Module:
    """A folded model with biases, so that no answer is near 0."""
    return folded(drawn(arch, width, biases=True))


@pytest.mark.parametrize(
    ("arch", "width", "convolutions", "products", "pooled"),
    [
        ("mobilenet", 0.25, 27, 13, 0),
        ("vgg16", 0.1, 13, 0, 1),
        ("vgg16_bn", 0.25, 13, 0, 1),
        ("mobilenet_v2", 0.25, 0, 0, 0),
    ],
)
@pytest.mark.parametrize("images", [1, 3, 20])
def test_a_model_stays_the_same_function(
    arch: str, width: float, convolutions: int, products: int, pooled: int, images: int
) -> None:
    frozen = frozen_model(arch, width)
    chained = fused(frozen)
    assert [len(parts(chained, kind)) for kind in (ConvolutionReLU, PointwiseReLU, PooledLinear)] == [
        convolutions, products, pooled,
    ]  # fmt: skip
    assert_same_function(chained, frozen, IMAGES[:images])


def test_torchvisions_vgg_is_a_sequence_too() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        frozen = folded(build("vgg16", width=1.0, size=32).eval())
    chained = fused(frozen)
    assert (len(parts(chained, Chain)), len(parts(chained, PooledLinear))) == (1, 1)
    assert_same_function(chained, frozen, IMAGES[:2])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("channels", "groups"), [(8, 1), (8, 4), (8, 8), (16, 8)])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 1, 1), (3, 2, 1), (1, 1, 0), (1, 1, 1), (1, 2, 0), (5, 2, 2)])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_each_kind_of_convolution(
    bias: bool, channels: int, groups: int, kernel: int, stride: int, padding: int, count: int
) -> None:
    """Between two others, with and without more pixels than channels, in either order of memory."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2), nn.ReLU(),
            nn.Conv2d(8, channels, kernel, stride, padding, groups=groups, bias=bias), nn.ReLU(),
            nn.Conv2d(channels, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        ).requires_grad_(False)  # fmt: skip
    for size in (5, 9):
        for order in (torch.contiguous_format, torch.channels_last):
            images = IMAGES[:count, :, :size, :size].contiguous(memory_format=order)
            assert_same_function(fused(model), model, images)
            assert_same_function(fused(model.to(memory_format=torch.channels_last)), model, images)


def test_weights_are_shared() -> None:
    for arch in ("mobilenet", "vgg16"):
        frozen = frozen_model(arch, 0.1)
        chained = fused(frozen)
        assert_same_function(chained, frozen, IMAGES)
        with torch.no_grad():
            for weight in frozen.parameters():
                weight.mul_(0.5)
        assert_same_function(chained, frozen, IMAGES)


def test_a_gradient_that_others_hold_is_not_written_to() -> None:
    """Behind an average pooling it is one value, expanded."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).requires_grad_(False)
    assert_same_function(fused(model), model, IMAGES)
    for pool in (nn.Identity(), nn.MaxPool2d(2)):
        bare = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), pool).requires_grad_(False)
        leaf = IMAGES.clone().requires_grad_()
        answer = fused(bare)(leaf)
        given = torch.ones_like(answer)
        answer.backward(given)
        assert torch.equal(given, torch.ones_like(given))


POOLS = [
    nn.MaxPool2d(2), nn.MaxPool2d(3, 2), nn.MaxPool2d(3, 2, 1), nn.MaxPool2d((2, 3), (1, 2)), nn.MaxPool2d(2, dilation=2),
    nn.MaxPool2d(2, ceil_mode=True), nn.MaxPool2d([3, 3], [1, 1], [1, 1]),
]  # fmt: skip


@pytest.mark.parametrize("pool", POOLS, ids=str)
@pytest.mark.parametrize("count", [1, 20])
def test_max_poolings_between_convolutions_are_links(pool: nn.MaxPool2d, count: int) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.ReLU(), pool, nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), pool, pool,
            nn.Conv2d(8, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        ).requires_grad_(False)  # fmt: skip
    chained = fused(model)
    assert (len(parts(chained, Chain)), len(parts(chained, MaxPool))) == (1, 3)
    assert_same_function(chained, model, IMAGES[:count, :, :31])


@pytest.mark.parametrize("layer", [nn.LeakyReLU(inplace=True), nn.ReLU(inplace=True), nn.Dropout(inplace=True)])
@pytest.mark.parametrize("pools", [1, 2])
def test_the_layer_behind_a_pooling_may_work_in_place(layer: nn.Module, pools: int) -> None:
    last = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)]
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), *[nn.MaxPool2d(2)] * pools, layer, *last)
    model.eval().requires_grad_(False)
    assert_same_function(fused(model), model, IMAGES)


class Squared(nn.Identity):
    def forward(self, images: Tensor) -> Tensor:
        return images * images


def test_only_a_plain_identity_is_left_out() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), Squared(), nn.ReLU(), nn.Identity(), nn.Conv2d(8, 3, 30), nn.Flatten())
    model.requires_grad_(False)
    assert_same_function(fused(model), model, IMAGES)
    model[3].register_forward_hook(lambda layer, given, answer: answer * 3)
    assert_same_function(fused(model), model, IMAGES)


def test_a_pooling_without_a_relu_before_it_stays_what_it_is() -> None:
    """Its largest value may be below 0."""
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.MaxPool2d(2), nn.Conv2d(8, 4, 3), nn.ReLU(), nn.Flatten()).requires_grad_(
        False
    )
    chained = fused(model)
    assert not parts(chained, MaxPool)
    assert_same_function(chained, model, IMAGES)


@pytest.mark.parametrize(("channels", "outputs"), [(64, 128), (128, 64), (128, 128)])
@pytest.mark.parametrize(("count", "size"), [(2, 16), (40, 8), (40, 7), (40, 4), (3, 4), (40, 2)])
@pytest.mark.parametrize("bias", [True, False])
def test_convolutions_with_many_channels(channels: int, outputs: int, count: int, size: int, bias: bool) -> None:
    """By Winograd's algorithm or by oneDNN."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = nn.Conv2d(channels, outputs, 3, padding=1, bias=bias).requires_grad_(False)
        images, gradient = torch.randn(count, channels, size, size), torch.randn(count, outputs, size, size)
    (chain,) = fused(nn.Sequential(layer, nn.ReLU()))  # type: ignore[misc]
    (link,), expected = parts(chain, WinogradReLU), ConvolutionReLU(layer)
    for _ in range(2):
        torch.testing.assert_close(link(images), expected(images), rtol=0, atol=3e-5)
        found, right = link.backward(gradient, images), expected.backward(gradient, images)  # type: ignore[operator]
        torch.testing.assert_close(found, right, rtol=0, atol=3e-5)
        layer.weight.copy_(layer.weight.flip(0) / 2)
    with torch.inference_mode():
        inferred = WinogradReLU(copy.deepcopy(layer))
        torch.testing.assert_close(inferred(images), expected(images), rtol=0, atol=3e-5)


def test_the_same_answer_can_be_differentiated_again() -> None:
    """DeepFool asks for the gradient of each class behind one forward pass."""
    model = frozen_model("vgg16", 0.1)
    leaf = IMAGES.clone().requires_grad_()
    answers = fused(model)(leaf)
    first = [torch.autograd.grad(answers[:, column].sum(), leaf, retain_graph=True)[0] for column in range(3)]
    again = [torch.autograd.grad(answers[:, column].sum(), leaf, retain_graph=True)[0] for column in range(3)]
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    assert not torch.equal(first[0], first[1])


def test_answers_without_gradients_are_the_same_bits() -> None:
    chained = fused(frozen_model("mobilenet", 0.25))
    with torch.no_grad():
        silent = chained(IMAGES)
    assert torch.equal(silent, chained(IMAGES.clone().requires_grad_()).detach())
    assert torch.equal(silent, chained(IMAGES))


def test_other_layers_stay_what_they_are() -> None:
    text_padding = nn.Conv2d(3, 4, 3, padding="same")
    circular = nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular")
    for layers in ([text_padding, nn.ReLU()], [circular, nn.ReLU()], [nn.Conv2d(3, 4, 1), nn.ReLU6()], [nn.ReLU()]):
        assert [*fused(nn.Sequential(*layers))] == layers
        assert joined(nn.Sequential(*layers)) == layers


def test_without_onednn_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())
    assert fused(model) is model


def test_a_model_without_such_layers_is_itself() -> None:
    model = nn.Sequential(nn.Sequential(nn.Flatten(), nn.Linear(48, 4)), nn.Sigmoid())
    assert fused(model) is model
    once = fused(folded(build("mobilenet", width=0.1, size=32)))
    assert fused(once) is once


@pytest.mark.parametrize("arch", ["mobilenet", "vgg16", "vgg16_bn"])
@pytest.mark.parametrize("training", [False, True])
def test_modes_of_layers_stay_what_they_are(arch: str, training: bool) -> None:
    """An attack on a GPU wraps the model once more. That must not switch its dropout on."""
    frozen = frozen_model(arch, 0.1).train(training)
    chained = few_sizes(fused(frozen), torch.device("cuda"))
    assert chained.training == training
    assert {layer.training for layer in frozen.modules()} == {training}


@pytest.mark.parametrize("arch", ["mobilenet", "vgg16", "vgg16_bn"])
def test_models_elsewhere_than_on_a_cpu_stay_what_they_are(arch: str) -> None:
    elsewhere = frozen_model(arch, 0.1).to("meta")
    assert fused(elsewhere) is elsewhere
    double = frozen_model(arch, 0.1).double()
    assert fused(double) is double


class Slicing(nn.Module):
    """A module of another package that does not apply its layers one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.ReLU())

    def forward(self, images: Tensor) -> Tensor:
        answer: Tensor = self.body[:2](images).amax((2, 3))
        return answer


def test_modules_of_other_packages_stay_what_they_are() -> None:
    model = Slicing().requires_grad_(False)
    model.__class__.__module__ = "elsewhere"
    assert fused(model) is model
    assert_same_function(fused(nn.Sequential(model)), model, IMAGES)


def halved(layer: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (given[0] * 0.5,)


@pytest.mark.parametrize("place", [0, 1, 2, 3, 4, 5])
def test_layers_with_hooks_keep_them(place: int) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(15), nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(72, 3)
        ).requires_grad_(False)  # fmt: skip
    plain = fused(model)(IMAGES)
    model[place].register_forward_pre_hook(halved)
    assert not torch.allclose(fused(model)(IMAGES), plain)
    assert_same_function(fused(model), model, IMAGES)


def test_a_layer_with_its_own_forward_keeps_it() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten()).requires_grad_(False)
    model[0].forward = lambda images: images.mean(1, keepdim=True)
    assert_same_function(fused(model), model, IMAGES)


def test_other_flattenings_and_single_images_work_as_before() -> None:
    for flatten, inputs in ((nn.Flatten(2), 49), (nn.Flatten(1, 2), 7)):
        model = nn.Sequential(nn.AdaptiveAvgPool2d(7), flatten, nn.Linear(inputs, 5)).requires_grad_(False)
        assert torch.equal(fused(model)(IMAGES[:, :, :2, :2]), model(IMAGES[:, :, :2, :2]))
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1)).requires_grad_(False)
    assert torch.equal(fused(model)(IMAGES[0]), model(IMAGES[0]))


def test_second_derivatives_are_refused() -> None:
    leaf = IMAGES.clone().requires_grad_()
    answer = fused(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).requires_grad_(False))(leaf)
    (gradient,) = torch.autograd.grad(answer.square().sum(), leaf, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()
