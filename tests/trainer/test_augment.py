"""What may happen to a training image: chances, ranges, and the same bits for the same generator."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from skinaudit.trainer.augment import AUGMENTS, affine, flips

SIZE = 64


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def spots(count: int) -> Tensor:
    """A Gaussian spot off the middle, (count, 3, 64, 64), whose place and width show what a warp did to it."""
    rows, columns = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    spot = torch.exp(-((rows - 31.5) ** 2 + (columns - 37.5) ** 2) / (2 * 3.0**2))
    return spot.float().expand(count, 3, SIZE, SIZE).contiguous()


def moments(images: Tensor) -> tuple[Tensor, Tensor]:
    """Centre of mass (N, 2), from the image's middle, and root of the mean squared distance from it (N,), in pixels."""
    place = torch.arange(SIZE) - 31.5
    near = place[:, None] ** 2 + place**2 < 30**2  # beyond, the mirrored border may show the spot again
    mass = images[:, 0] * near
    total = mass.sum((1, 2))
    centre = torch.stack([(mass.sum(2) * place).sum(1) / total, (mass.sum(1) * place).sum(1) / total], dim=1)
    square = ((mass.sum(2) * place**2).sum(1) + (mass.sum(1) * place**2).sum(1)) / total - centre.square().sum(1)
    return centre, square.sqrt()


def test_flips_and_turns_are_the_eight_symmetries_of_the_square() -> None:
    image = torch.arange(3 * 4 * 4, dtype=torch.float32).view(1, 3, 4, 4)
    symmetries = [turned for flipped in (image, image.flip(3)) for turned in (flipped.rot90(k, (2, 3)) for k in range(4))]
    results = flips(image.repeat(400, 1, 1, 1), generator=torch.Generator().manual_seed(0))
    counts = [int((results == symmetry).flatten(1).all(1).sum()) for symmetry in symmetries]
    assert sum(counts) == 400
    assert min(counts) > 20


def test_without_augmentation_images_stay_what_they_are() -> None:
    images = spots(3)
    assert AUGMENTS["none"](images, generator=generator()) is images


def test_half_of_the_images_are_warped_and_the_others_keep_their_pixels() -> None:
    images = torch.rand(400, 3, 8, 8, generator=generator(1))
    unwarped = (affine(images, generator=generator()) == flips(images, generator=generator())).flatten(1).all(1)
    assert 160 < int(unwarped.sum()) < 240


def test_a_warp_turns_by_any_angle_and_zooms_and_shifts_within_its_ranges() -> None:
    images = spots(2000)
    generated = affine(images, generator=generator())
    warped = (generated != flips(images, generator=generator())).flatten(1).any(1)
    centre, width = moments(generated[warped])
    zoom = width / moments(images[:1])[1]
    assert 0.79 < zoom.min() < 0.83
    assert 1.20 < zoom.max() < 1.27
    assert abs(zoom.log().mean()) < 0.02
    angle = torch.atan2(centre[:, 0], centre[:, 1])
    assert torch.histc(angle, 8, -math.pi, math.pi).min() > len(angle) / 16
    # The spot is 6 pixels from the middle; zoom and a shift of up to 6.4 pixels either way move it from there.
    distance = centre.norm(dim=1)
    assert distance.max() < 1.25 * (6 + 6.4 * math.sqrt(2)) + 0.1
    assert (distance - 6).abs().max() > 6


@pytest.mark.parametrize("name", AUGMENTS)
def test_pixels_stay_pixels_and_nothing_is_written_to_the_images_given(name: str) -> None:
    images = torch.rand(32, 3, 16, 16, generator=generator(1))
    before = images.clone()
    answer = AUGMENTS[name](images, generator=generator())
    assert answer.shape == images.shape
    assert answer.dtype == torch.float32
    assert answer.min() >= 0
    assert answer.max() <= 1
    assert torch.equal(images, before)


@pytest.mark.parametrize("name", ["flips", "affine"])
def test_the_generator_alone_decides(name: str) -> None:
    images = torch.rand(32, 3, 16, 16, generator=generator(1))
    first, again, other_seed = (AUGMENTS[name](images, generator=generator(seed)) for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other_seed)
