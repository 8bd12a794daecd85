"""Weights in blocks of channels, as ONNX Runtime's optimiser stores them for a CPU, in their plain order again."""

from __future__ import annotations

import numpy as np

from skinaudit.engines.networks.layers import Array, Constant

_BLOCKS = (16, 8)
"""Channels of a block: of CPUs with AVX-512, and with AVX."""


def in_plain_order(
    weight: Constant, bias: Constant | None, *, channels: int, groups: int
) -> tuple[Constant, Constant | None, int]:
    """Weights (O, I / groups, height, width), bias and groups of a convolution whose file has them in blocks.

    channels: of its input. The file fills the last block up with channels that are 0; they are left out. The size of the
    blocks is not in the file: the one is taken that leaves these channels empty. Raises ValueError for another layout.
    """
    shape = weight.value.shape
    block = next(block for block in _BLOCKS if shape[0] % block == 0)
    inner = groups == 1 and shape[1] % block == 0
    value, slack = (_unblocked(part, block, inner=inner) for part in (weight.value, weight.slack))
    shift = np.zeros(shape[0]) if bias is None else bias.value
    used = np.flatnonzero(value.any(axis=(1, 2, 3)) | (shift != 0))
    rows = max(int(used[-1]) + 1 if len(used) else 0, 1)
    if groups > 1:
        rows = groups = channels
    else:
        value, slack = value[:, :channels], slack[:, :channels]
    kept = None if bias is None else Constant(bias.value[:rows], bias.slack[:rows])
    return Constant(value[:rows], slack[:rows]), kept, groups


def _unblocked(stored: Array, block: int, *, inner: bool) -> Array:
    """Outputs in blocks, and with `inner` inputs too: the innermost numbers of memory are those of a block."""
    outputs, inputs, height, width = stored.shape
    flat = stored.reshape(-1)
    if not inner:
        blocks = flat.reshape(outputs // block, inputs, height, width, block)
        return np.ascontiguousarray(blocks.transpose(0, 4, 1, 2, 3)).reshape(stored.shape)
    blocks = flat.reshape(outputs // block, inputs // block, height, width, block, block)
    return np.ascontiguousarray(blocks.transpose(0, 5, 1, 4, 2, 3)).reshape(stored.shape)
