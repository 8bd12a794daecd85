"""Models and images that attacks are tried on: a linear one, whose optimum is known, and a small network."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from skinaudit.trainer.models import folded

Tiny = tuple[nn.Module, Tensor, Tensor]
"""A model, images and labels."""


class Linear(nn.Module):
    """logits = W x for two classes."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.dense = nn.Linear(3 * size * size, 2, bias=False)
        nn.init.normal_(self.dense.weight, 0, 0.3, generator=torch.Generator().manual_seed(size))

    def forward(self, images: Tensor) -> Tensor:
        answer: Tensor = self.dense(images.flatten(1))
        return answer

    def direction(self, labels: Tensor, size: int) -> Tensor:
        """Steepest ascent of the loss: away from the true class, towards the other."""
        own, wrong = self.dense.weight.detach()[labels], self.dense.weight.detach()[1 - labels]
        return (wrong - own).view(-1, 3, size, size)


def case(batch: int, size: int, *, low: float = 0.0, high: float = 1.0) -> tuple[Linear, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(batch * 100 + size)
    images = low + (high - low) * torch.rand(batch, 3, size, size, generator=generator)
    return Linear(size), images, torch.randint(2, (batch,), generator=generator)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def network() -> nn.Module:
    torch.manual_seed(0)
    return folded(nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 6, 3, stride=2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 4),
    ))  # fmt: skip


def tiny_case() -> tuple[nn.Module, Tensor, Tensor]:
    """A small network with random weights, 24 images, and its own answers as labels, so that all start out correct."""
    with torch.random.fork_rng():
        model = network()
    images = torch.rand(24, 3, 12, 12, generator=seeded(5))
    with torch.no_grad():  # so that all four classes are answered, by logits that are several apart
        model[-1].weight *= 200
        model[-1].bias -= model(images).mean(0)
    return model, images, model(images).argmax(1)


def loss_and_broken(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    logits = model(images)
    return functional.cross_entropy(logits, labels, reduction="none"), logits.argmax(1) != labels
