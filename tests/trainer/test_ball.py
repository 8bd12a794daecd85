"""Start, step, project and rounding stay in the ball and in the box, and lose as little as the grid allows."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from skinaudit.artifacts.perturbation import within
from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.errors import InvalidInputError
from skinaudit.trainer import ball

threat_models = st.builds(
    ThreatModel, st.sampled_from(["linf", "l2"]), st.integers(8, 2000).map(lambda steps: Fraction(steps, 8))
)
seeds = st.integers(0, 2**31)
ULP = 2e-6


def pixels(seed: int, *, count: int = 3, size: int = 4) -> Tensor:
    """uint8 images with many values at both ends of the box."""
    random = np.random.default_rng(seed)
    return torch.from_numpy(random.integers(-60, 316, (count, 3, size, size)).clip(0, 255).astype(np.uint8))


def distance(points: Tensor, centres: Tensor, norm: str) -> Tensor:
    return (points - centres).flatten(1).norm(dim=1, p=float("inf") if norm == "linf" else 2)


def assert_inside(point: Tensor, images: Tensor, threat_model: ThreatModel) -> None:
    assert point.min() >= 0
    assert point.max() <= 1
    assert (distance(point, images, threat_model.norm) <= threat_model.eps * (1 + ULP) + ULP).all()


@given(threat_model=threat_models, seed=seeds, far=st.floats(0, 3))
def test_project_lands_inside_and_moves_nothing_twice(threat_model: ThreatModel, seed: int, far: float) -> None:
    images = pixels(seed).float() / 255
    generator = torch.Generator().manual_seed(seed)
    moved = images + far * torch.randn(images.shape, generator=generator)
    once = ball.project(moved, images, threat_model=threat_model)
    assert_inside(once, images, threat_model)
    torch.testing.assert_close(ball.project(once, images, threat_model=threat_model), once, rtol=0, atol=ULP)


@given(threat_model=threat_models, seed=seeds)
def test_project_leaves_a_point_inside_where_it_is(threat_model: ThreatModel, seed: int) -> None:
    images = pixels(seed).float() / 255
    inside = ball.start(images, threat_model=threat_model, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(ball.project(inside, images, threat_model=threat_model), inside, rtol=0, atol=ULP)


@given(threat_model=threat_models, seed=seeds)
def test_no_point_gains_more_than_the_linear_gain(threat_model: ThreatModel, seed: int) -> None:
    images = pixels(seed).double() / 255
    generator = torch.Generator().manual_seed(seed)
    moved, random_point = (ball.start(images, threat_model=threat_model, generator=generator) for _ in range(2))
    gradient = torch.randn(images.shape, generator=generator, dtype=torch.float64)
    best = ball.step(moved, gradient, threat_model=threat_model, size=2.0 * threat_model.eps)
    best = ball.project(best, images, threat_model=threat_model)
    gain = ball.linear_gain(moved, images, gradient, threat_model=threat_model)
    for point in (random_point, best):
        assert ((gradient * (point - moved)).flatten(1).sum(1) <= gain + 1e-6).all()
    if threat_model.norm == "linf":  # such a step reaches the corner
        torch.testing.assert_close((gradient * (best - moved)).flatten(1).sum(1), gain)


@given(threat_model=threat_models, seed=seeds)
def test_a_random_start_is_inside_and_repeats_with_its_seed(threat_model: ThreatModel, seed: int) -> None:
    images = pixels(seed).float() / 255
    first, again = (
        ball.start(images, threat_model=threat_model, generator=torch.Generator().manual_seed(seed)) for _ in range(2)
    )
    assert_inside(first, images, threat_model)
    assert torch.equal(first, again)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_random_starts_fill_the_ball_uniformly(norm: str) -> None:
    """The volume within half the radius is 2^-d: in three dimensions an eighth of 4,000 starts, give or take 5 sigma."""
    images = torch.full((4000, 3, 1, 1), 0.5)
    threat_model = ThreatModel(norm, Fraction(51))  # type: ignore[arg-type]
    started = ball.start(images, threat_model=threat_model, generator=torch.Generator().manual_seed(0))
    share = (distance(started, images, norm) <= threat_model.eps / 2).float().mean()
    assert abs(share - 1 / 8) < 5 * (1 / 8 * 7 / 8 / 4000) ** 0.5
    assert distance(started, images, norm).max() > 0.98 * threat_model.eps


@given(threat_model=threat_models, seed=seeds)
def test_a_step_is_the_best_of_its_size_for_a_linear_loss(threat_model: ThreatModel, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    images, gradient = torch.rand(2, 3, 4, 4, generator=generator), torch.randn(2, 3, 4, 4, generator=generator)
    moved = ball.step(images, gradient, threat_model=threat_model, size=0.25) - images
    dual = 1 if threat_model.norm == "linf" else 2
    torch.testing.assert_close((moved * gradient).flatten(1).sum(1), 0.25 * gradient.flatten(1).norm(dim=1, p=dual))
    torch.testing.assert_close(distance(moved, torch.zeros(()), threat_model.norm), torch.full((2,), 0.25))


def test_no_gradient_no_l2_step_and_no_nan() -> None:
    images = torch.rand(2, 3, 4, 4)
    moved = ball.step(images, torch.zeros_like(images), threat_model=ThreatModel("l2", Fraction(8)), size=0.1)
    assert torch.equal(moved, images)


@given(threat_model=threat_models, seed=seeds, towards=st.sampled_from(["inside", "edge", "beyond"]))
def test_rounding_stays_inside_exactly_in_integers(threat_model: ThreatModel, seed: int, towards: str) -> None:
    """Also from a point that float rounding, or a careless attack, has put beyond the edge."""
    original = pixels(seed)
    images = original.float() / 255
    generator = torch.Generator().manual_seed(seed)
    point = images + 2 * threat_model.eps * torch.randn(images.shape, generator=generator)
    if towards != "beyond":
        point = ball.project(point, images, threat_model=threat_model)
    if towards == "inside":
        point = images + 0.7 * (point - images)
    rounded = ball.to_grid(point, original, threat_model=threat_model)
    assert rounded.dtype == torch.uint8
    assert within(rounded.numpy(), original.numpy(), threat_model).all()


@given(seed=seeds, eps=st.integers(1, 32))
def test_linf_rounding_goes_to_the_nearest_step(seed: int, eps: int) -> None:
    original = pixels(seed)
    threat_model = ThreatModel("linf", Fraction(eps))
    images = original.float() / 255
    point = ball.start(images, threat_model=threat_model, generator=torch.Generator().manual_seed(seed))
    rounded = ball.to_grid(point, original, threat_model=threat_model)
    assert ((rounded.double() - point.double() * 255).abs() <= 0.5 + 255 * ULP).all()


@pytest.mark.parametrize("eps", [64, 128, 255, 510])
@pytest.mark.parametrize("shape", ["normal", "sign"])
def test_l2_rounding_loses_little(eps: int, shape: str) -> None:
    """On the edge of the ball round 32 x 32 images: at most 2% of the length, and no value moves by a whole step."""
    original = torch.full((8, 3, 32, 32), 128, dtype=torch.uint8)
    images = original.float() / 255
    threat_model = ThreatModel("l2", Fraction(eps))
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(eps))
    noise = noise.sign() * (0.5 + noise.abs()) if shape == "sign" else noise
    point = ball.project(images + 10 * noise, images, threat_model=threat_model)
    rounded = ball.to_grid(point, original, threat_model=threat_model)
    assert within(rounded.numpy(), original.numpy(), threat_model).all()
    assert ((rounded.double() - point.double() * 255).abs() < 1).all()
    exact = (point.double() * 255 - original).flatten(1)
    on_grid = (rounded.double() - original).flatten(1)
    along = (exact * on_grid).sum(1) / exact.norm(dim=1) ** 2
    assert (along > (0.98 if eps >= 128 else 0.75)).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_ball_without_another_point_of_the_grid_is_refused(norm: str) -> None:
    original = pixels(0)
    with pytest.raises(
        InvalidInputError, match=f"eps {norm} 0.9/255: below 1/255 the 8-bit grid contains only the clean image"
    ):
        ball.to_grid(original.float() / 255, original, threat_model=ThreatModel(norm, Fraction(9, 10)))  # type: ignore[arg-type]


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_clean_image_stays_the_clean_image(norm: str) -> None:
    every_value = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16).contiguous()
    rounded = ball.to_grid(every_value.float() / 255, every_value, threat_model=ThreatModel(norm, Fraction(8)))  # type: ignore[arg-type]
    assert torch.equal(rounded, every_value)


def test_a_small_l2_perturbation_keeps_its_length_on_the_grid() -> None:
    """Nearest rounding would leave the clean image: every value moves by less than half a step."""
    images = torch.full((1, 3, 8, 8), 100, dtype=torch.uint8)
    offset = torch.linspace(-0.45, 0.45, 192).view(1, 3, 8, 8)
    threat_model = ThreatModel("l2", Fraction(8))
    perturbed = (images + offset) / 255
    grid = ball.to_grid(perturbed, images, threat_model=threat_model)
    moved = (grid.double() - images.double()).flatten()
    assert moved.square().sum() == int(offset.square().sum())
    sizes = offset.flatten().abs()
    assert sizes[moved != 0].min() >= sizes[moved == 0].max() - 1e-6  # the values nearest to their next step
    assert (moved * offset.flatten() >= 0).all()
    assert ball.kept_share(perturbed, images, images).tolist() == [0.0]
    assert 0.4 < float(ball.kept_share(perturbed, grid, images)) < 0.5
