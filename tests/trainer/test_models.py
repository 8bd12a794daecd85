"""Published parameter counts, and folding that changes no answer."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

from skinaudit.errors import InvalidInputError
from skinaudit.trainer import models
from skinaudit.trainer.models import IMAGENET_MEAN, IMAGENET_STD, build, folded, parameter_count, refold

SMALL = [("mobilenet", 0.25), ("mobilenet", 0.1), ("mobilenet_v2", 0.25), ("vgg16", 0.1)]


@pytest.mark.parametrize(
    ("arch", "width", "count"),
    [
        # Howard et al. 2017, tables 6 to 8: 4.2, 2.6, 1.3 and 0.5 million; to the unit as Keras' MobileNet counts them.
        ("mobilenet", 1.0, 4_231_976),
        ("mobilenet", 0.75, 2_585_560),
        ("mobilenet", 0.5, 1_331_592),
        ("mobilenet", 0.25, 470_072),
        ("mobilenet_v2", 1.0, 3_504_872),  # torchvision's documentation
        ("vgg16", 1.0, 138_357_544),  # torchvision's documentation; Simonyan & Zisserman 2015: 138 million
    ],
)
def test_published_parameter_counts_with_1000_classes(arch: str, width: float, count: int) -> None:
    with torch.device("meta"):
        model = build(arch, width=width, classes=1000)
    assert parameter_count(model) == count


def trained_like(arch: str, width: float) -> nn.Module:
    """A small model whose batch norms have statistics and weights unlike the initial ones, in evaluation mode."""
    generator = torch.Generator().manual_seed(1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build(arch, width=width, classes=7, size=32).eval()
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for tensor, low, high in (
                (layer.running_mean, -0.3, 0.3), (layer.running_var, 0.5, 2.0),
                (layer.weight, 0.5, 1.5), (layer.bias, -0.3, 0.3),
            ):  # fmt: skip
                assert tensor is not None
                tensor.data.uniform_(low, high, generator=generator)
    return model


@pytest.mark.parametrize(("arch", "width"), SMALL)
def test_folding_changes_neither_answers_nor_input_gradients(arch: str, width: float) -> None:
    model = trained_like(arch, width)
    frozen = folded(model)
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    leaf, frozen_leaf = images.clone().requires_grad_(), images.clone().requires_grad_()
    logits, frozen_logits = model(leaf), frozen(frozen_leaf)
    scale = float(logits.detach().abs().max())
    torch.testing.assert_close(frozen_logits, logits, rtol=0, atol=1e-4 * max(scale, 1e-6))
    (gradient,) = torch.autograd.grad(logits[:, 0].sum(), leaf)
    (frozen_gradient,) = torch.autograd.grad(frozen_logits[:, 0].sum(), frozen_leaf)
    torch.testing.assert_close(frozen_gradient, gradient, rtol=0, atol=1e-4 * float(gradient.abs().max()))
    assert gradient.abs().max() > 0


def test_a_batch_norm_that_is_not_folded_away_follows_its_model_too() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.BatchNorm2d(4))
    frozen = folded(model)
    images = torch.rand(8, 3, 6, 6, generator=torch.Generator().manual_seed(2))
    before = frozen(images)
    model.train()(images)  # moves the running statistics
    refold(frozen, model)
    assert not torch.allclose(frozen(images), before, atol=1e-2)
    torch.testing.assert_close(frozen(images), model.eval()(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("arch", "width"), SMALL)
def test_a_folded_model_is_a_frozen_copy_without_batch_norm(arch: str, width: float) -> None:
    model = trained_like(arch, width).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    frozen = folded(model)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in frozen.modules())
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    assert not any(layer.training for layer in frozen.modules())
    frozen(torch.rand(2, 3, 32, 32))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(layer.training for layer in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("arch", ["mobilenet", "mobilenet_v2", "vgg16"])
@pytest.mark.parametrize("size", [32, 48])
def test_logits_for_every_class_at_any_size(arch: str, size: int) -> None:
    model = build(arch, width=0.1, classes=7, size=size).eval()
    assert model(torch.rand(2, 3, size, size)).shape == (2, 7)


def test_pixels_are_normalised_first() -> None:
    first = build("mobilenet", width=0.25)[0]  # type: ignore[index]
    mean, std = torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), torch.tensor(IMAGENET_STD).view(1, 3, 1, 1)
    assert torch.equal(first(mean.expand(1, 3, 2, 2)), torch.zeros(1, 3, 2, 2))
    torch.testing.assert_close(first((mean + 2 * std).expand(1, 3, 2, 2)), torch.full((1, 3, 2, 2), 2.0))


def test_a_narrow_vgg16_is_torchvisions_made_narrower() -> None:
    with torch.device("meta"):
        ours, full = build("vgg16", width=0.5, classes=7)[1], torchvision.models.vgg16(num_classes=7)  # type: ignore[index]
    shapes = {name: tuple(value.shape) for name, value in ours.state_dict().items()}
    expected = {
        name: tuple(n if n in (3, 7) else n // 2 for n in value.shape[:2]) + tuple(value.shape[2:])
        for name, value in full.state_dict().items()
    }
    assert shapes == expected


def test_the_seed_makes_the_weights() -> None:
    def drawn(seed: int) -> torch.Tensor:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return torch.cat([parameter.flatten() for parameter in build("mobilenet", width=0.1).parameters()])

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"arch": "resnet"}, "arch 'resnet': choose one of mobilenet, "),
        ({"arch": "vgg16", "width": 0.0}, "width 0.0: must be above 0 and at most 4"),
        ({"arch": "vgg16", "width": float("nan")}, "width nan"),
        ({"arch": "mobilenet", "width": 4.5}, "width 4.5"),
        ({"arch": "mobilenet", "size": 31}, "size 31: mobilenet reduces the image 32 times"),
    ],
)
def test_what_cannot_be_built_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        build(**settings)  # type: ignore[arg-type]


def test_a_structure_is_traced_once_for_models_of_one_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trace takes seconds; other layers, shapes, constants or pixels have one of their own, other weights have not."""
    traced: list[int] = []
    monkeypatch.setattr(models, "STRUCTURES", {})
    monkeypatch.setattr(models, "_traced", lambda model, *, size: traced.append(size) or size)

    def model(*, stride: int = 1, channels: int = 4, mean: float = 0.5) -> nn.Module:
        return nn.Sequential(models.Normalise((mean,) * 3, (1.0,) * 3), nn.Conv2d(3, channels, 3, stride=stride))

    for network in (model(), model(), model(stride=2), model(channels=5), model(mean=0.4)):
        models.recorded_structure(network, size=32)
    models.recorded_structure(model(), size=64)
    assert traced == [32, 32, 32, 32, 64]
