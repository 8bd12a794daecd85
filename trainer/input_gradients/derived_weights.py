"""What a layer computes from its frozen weights before it can use them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class DerivedWeights:
    """The result of a function of weights, kept until torch counts a change of the weights, or they are other ones.

    Not counted: writing to their `.data`, to memory that numpy shares, and steps of optimisers with `fused=True`. Copies
    keep nothing. compute: function of the weights (any shape) and of further values.
    """

    def __init__(self, compute: Callable[..., Tensor]) -> None:
        self._compute = compute
        self._kept: tuple[tuple[Any, ...], Tensor, Tensor] | None = None

    def of(self, weight: Tensor, *further: int) -> Tensor:
        """The result for these weights, which must not be inference tensors: torch counts no changes of those."""
        place = (weight.data_ptr(), tuple(weight.shape), weight.stride())
        state, kept = (*place, weight._version, *further), self._kept  # another thread may replace it
        if kept is None or kept[0] != state:
            # The weights are kept, too, so that no others can take their address.
            with torch.inference_mode(mode=False), torch.no_grad():
                kept = self._kept = (state, weight.detach(), self._compute(weight, *further))
        return kept[2]

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_kept": None}
