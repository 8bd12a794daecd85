"""Weights that ONNX Runtime's CPU optimiser stored in blocks of channels, put back into their plain order."""

from __future__ import annotations

import numpy as np

from skinaudit.engines.networks.layers import Array, Constant

_BLOCKS = (16, 8)
"""Channels per block on CPUs with AVX-512, and with AVX."""


def in_plain_order(
    weight: Constant, bias: Constant | None, *, channels: int, groups: int
) -> tuple[Constant, Constant | None, int]:
    """Weights (O, I / groups, height, width), bias and groups in plain order, for a convolution stored in blocks.

    channels: number of input channels. The file pads the last block with channels that are 0; these are dropped. The file
    does not contain the block size, so the one for which the padding is 0 is used. Raises ValueError for another layout.
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
    """Undo blocks of output channels and, with `inner`, of input channels; a block's numbers are innermost in memory."""
    outputs, inputs, height, width = stored.shape
    flat = stored.reshape(-1)
    if not inner:
        blocks = flat.reshape(outputs // block, inputs, height, width, block)
        return np.ascontiguousarray(blocks.transpose(0, 4, 1, 2, 3)).reshape(stored.shape)
    blocks = flat.reshape(outputs // block, inputs // block, height, width, block, block)
    return np.ascontiguousarray(blocks.transpose(0, 5, 1, 4, 2, 3)).reshape(stored.shape)
