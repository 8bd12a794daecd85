"""A model behind a defence with gradients, for adaptive attacks: BPDA and expectation over transformation.

BPDA: the backward pass treats the transformation as the identity (Athalye et al. 2018, https://arxiv.org/abs/1802.00420). A
linear transformation uses its own gradient instead. EOT: the answer is the mean over several random draws, and so is the
gradient (Athalye et al. 2018, https://arxiv.org/abs/1707.07397).
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


class Transformation(Protocol):
    """A defence, see skinaudit.engines.defences. Images are uint8 (3, H, H)."""

    @property
    def random(self) -> bool:
        """Whether it uses random numbers."""

    def __call__(self, image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """The transformed image."""

    def factors(self, size: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
        """For a linear defence A and B, with A x B^T for each channel x; None for others."""


class Defended(nn.Module):
    """Mean logits of a model over `draws` transformed copies of each image; each call draws new random numbers."""

    def __init__(self, model: nn.Module, defence: Transformation, *, draws: int = 1, seed: int = 0) -> None:
        super().__init__()
        self.model, self.draws = model, draws if defence.random else 1
        self._defence, self._rng = defence, np.random.default_rng(seed)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) for float32 (N, 3, H, H) in [0, 1]."""
        total: Tensor = self.model(self._through(images))
        for _ in range(self.draws - 1):
            total = total + self.model(self._through(images))
        return total / self.draws

    def _through(self, images: Tensor) -> Tensor:
        drawn = self._defence.factors(images.shape[-1], self._rng)
        if drawn is not None:
            pairs = [drawn, *(self._defence.factors(images.shape[-1], self._rng) for _ in range(len(images) - 1))]
            rows, columns = (torch.from_numpy(np.stack([pair[side] for pair in pairs if pair])) for side in (0, 1))
            return rows.to(images.device)[:, None] @ images @ columns.to(images.device)[:, None].transpose(2, 3)
        pixels = (images.detach() * 255).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
        transformed = np.stack([self._defence(image, self._rng) for image in pixels])
        # The value is the transformed image; the gradient is the identity's.
        return images + (torch.from_numpy(transformed).to(images.device).float() / 255 - images.detach())
