"""A tiny trained-looking model, and the peers where they are installed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from skinaudit.bench import libraries
from skinaudit.errors import MissingDependencyError


@pytest.fixture(scope="session")
def peer_versions() -> dict[str, str]:
    try:
        return libraries.enable()
    except MissingDependencyError as error:
        pytest.skip(str(error))


@pytest.fixture
def linear() -> nn.Module:
    """Logits linear in the pixels: PGD's optimum under linf is known in closed form."""
    generator = torch.Generator().manual_seed(0)
    layer = nn.Linear(3 * 8 * 8, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(2, 3 * 8 * 8, generator=generator))
    return nn.Sequential(nn.Flatten(), layer).eval()


@pytest.fixture
def images() -> Tensor:
    """float32 (6, 3, 8, 8), some pixels at the edges of the box."""
    pixels = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    return pixels.mul(1.4).sub(0.2).clamp(0, 1)
