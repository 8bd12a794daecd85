"""Switches off torch's TF32 and other shortcuts of fp32 arithmetic for figures that must be exact fp32.

Ampere and newer GPUs compute fp32 convolutions in TF32 by default. Its mantissa has 10 bits instead of 23, so logits change
by up to 3e-3 of their range, and an export allows 1e-4. Source: https://docs.pytorch.org/docs/stable/notes/cuda.html
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def true_fp32() -> Iterator[None]:
    """Compute in fp32, on CPUs and GPUs, until the end of the block; also a decorator, `@true_fp32()`. Needs torch.

    The settings belong to the process, so its other threads also compute in fp32 meanwhile. They are restored at the end.
    """
    import torch

    backends: Any = torch.backends
    places: tuple[Any, ...] = (
        *(backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn),
        *(backends.mkldnn.matmul, backends.mkldnn.conv, backends.mkldnn.rnn),
    )
    # torch refuses to read the older settings if they contradict the newer ones, and its compiler reads both, so both are
    # set.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch 2.9 recommends the newer settings at every use of the older ones
        matmul = _readable(torch.get_float32_matmul_precision)
        convolution = _readable(lambda: backends.cudnn.allow_tf32)
        before = [place.fp32_precision for place in places]
        _set(torch, matmul="highest", convolution=False)
        for place in places:
            place.fp32_precision = "ieee"
    try:
        yield
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _set(torch, matmul=matmul, convolution=convolution)
            for place, value in zip(places, before, strict=True):
                place.fp32_precision = value


def _readable(read: Any) -> Any:
    """An older setting; None if the newer ones contradict it, because torch then refuses to read it."""
    try:
        return read()
    except RuntimeError:
        return None


def _set(torch: Any, *, matmul: str | None, convolution: bool | None) -> None:
    if matmul is not None:
        torch.set_float32_matmul_precision(matmul)
    if convolution is not None:
        torch.backends.cudnn.allow_tf32 = convolution
