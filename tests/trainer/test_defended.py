"""Gradients through a defence, and the attack that follows them."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.engines import defences
from skinaudit.trainer.defended import Defended
from skinaudit.trainer.generate import AttackPlan
from skinaudit.trainer.trial import Subjects, crafted

SIZE = 16


class Linear(nn.Module):
    """Two classes by the sign of a weighted sum of the pixels; the weights alternate, so smoothing takes the signal away."""

    def __init__(self) -> None:
        super().__init__()
        signs = torch.ones(3, SIZE, SIZE)
        signs[:, ::2] = -1
        self.weight = nn.Parameter(signs / signs.numel(), requires_grad=False)

    def forward(self, images: Tensor) -> Tensor:
        lead = (images * self.weight).flatten(1).sum(1) - 0.01
        return torch.stack([-lead, lead], 1)


def pixels(count: int = 4) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(100, 156, (count, 3, SIZE, SIZE), dtype=np.uint8)


@pytest.mark.parametrize("name", defences.names())
def test_the_answer_is_that_of_the_transformed_image_and_the_gradient_is_not_lost(name: str) -> None:
    defence = defences.parse(name, examples=pixels())
    images = (torch.from_numpy(pixels(2)).float() / 255).requires_grad_()
    answer = Defended(Linear(), defence, seed=7)(images)
    rng = np.random.default_rng(7)
    transformed = np.stack([defence(image, rng) for image in pixels(2)])
    expected = Linear()(torch.from_numpy(transformed).float() / 255)
    assert torch.allclose(answer, expected, atol=3e-3)  # a linear one is not rounded to 8 bit
    (gradient,) = torch.autograd.grad(answer[:, 1].sum(), images)
    assert (gradient.flatten(1).abs().sum(1) > 0).all()
    if defence.factors(SIZE, rng) is None:
        assert torch.allclose(gradient, Linear().weight.expand_as(gradient))


def test_the_gradient_of_a_linear_defence_is_its_own() -> None:
    defence, images = defences.parse("crop-rescale:share=0.8"), torch.rand(1, 3, SIZE, SIZE, dtype=torch.float64)
    rows, columns = (torch.from_numpy(part).double() for part in defence.factors(SIZE, np.random.default_rng(3)))  # type: ignore[union-attr]
    leaf = images.float().requires_grad_()
    (gradient,) = torch.autograd.grad(Defended(Linear(), defence, seed=3)(leaf)[:, 1].sum(), leaf)
    assert torch.allclose(gradient[0].double(), rows.T @ Linear().weight.double() @ columns, atol=1e-6)


def test_several_draws_are_averaged_for_random_defences_alone() -> None:
    assert Defended(Linear(), defences.parse("crop-rescale"), draws=5).draws == 5
    assert Defended(Linear(), defences.parse("jpeg"), draws=5).draws == 1


def test_an_attack_through_the_defence_breaks_what_one_without_it_leaves() -> None:
    """A crop shifts the alternating signs: a perturbation for the model alone misses."""
    defence = defences.parse("crop-rescale:share=0.5")
    subjects = Subjects(Linear(), pixels(), np.zeros(4, np.int64), synthetic=True)
    plan = AttackPlan("pgd", ThreatModel("linf", Fraction(8)), {"steps": 10})
    mean_logits = {}
    for kind, applied in (("naive", None), ("adaptive", defence)):
        images = crafted(subjects, plan, defence=applied, draws=8, seed=0)
        assert np.abs(images.astype(int) - subjects.images).max() <= 8
        transformed = np.stack([defence.fixed(image, draw=draw) for image in images for draw in range(20)])
        mean_logits[kind] = Linear()(torch.from_numpy(transformed).float() / 255)[:, 1].view(4, 20).mean(1)
    assert (mean_logits["adaptive"] > mean_logits["naive"]).all()
