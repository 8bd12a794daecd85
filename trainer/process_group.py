"""Processes that train one model together, as torchrun starts them: each takes its share of every batch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

from skinaudit.errors import InvalidInputError, reason_of
from skinaudit.trainer.shards import ALONE, Worker

_Value = TypeVar("_Value")
_PATIENCE = timedelta(days=7)
"""How long a process waits for the others, which may be crafting sets; torchrun ends all of them if one fails."""


@dataclass(frozen=True)
class ProcessGroup:
    """The processes of one training. With a single process, everything below does nothing."""

    worker: Worker = ALONE

    def mine(self, count: int) -> slice:
        """This process's part of a batch of `count` images; all parts together are the batch."""
        rank, size = self.worker.rank, self.worker.size
        return slice(count * rank // size, count * (rank + 1) // size)

    @torch.no_grad()
    def average(self, model: nn.Module, *, share: Tensor) -> None:
        """Replace gradients and running statistics by their means over all processes, so that all models stay equal.

        share: this process's weight, a scalar; the weights of all processes add up to 1.
        """
        if self.worker.size == 1:
            return
        tensors = [weight.grad for weight in model.parameters() if weight.grad is not None]
        for layer in model.modules():
            if isinstance(layer, _BatchNorm):
                tensors += [kept for kept in (layer.running_mean, layer.running_var) if kept is not None]
        together = torch.cat([tensor.reshape(-1) for tensor in tensors]) * share
        with _told_if_another_ended():
            distributed.all_reduce(together)
        for tensor, mean in zip(tensors, torch.split(together, [tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(mean.view(tensor.shape))

    def total(self, values: Tensor) -> Tensor:
        """The sum of `values` over all processes."""
        if self.worker.size > 1:
            values = values.clone()
            with _told_if_another_ended():
                distributed.all_reduce(values)
        return values

    def of_first(self, value: _Value) -> _Value:
        """The first process's value, in all of them."""
        if self.worker.size == 1:
            return value
        carried = [value]
        with _told_if_another_ended():
            distributed.broadcast_object_list(carried, src=0)
        return carried[0]


SINGLE = ProcessGroup()


@contextmanager
def _told_if_another_ended() -> Iterator[None]:
    """Raise InvalidInputError if an exchange with the other processes fails. torch has no narrower error for it."""
    try:
        yield
    except RuntimeError as error:
        raise InvalidInputError(
            f"another process of this training has ended, or cannot be reached ({reason_of(error)}): its own message, if it "
            "left one, names the cause; the same line with --resume continues"
        ) from error


@contextmanager
def joined(worker: Worker, device: torch.device) -> Iterator[ProcessGroup]:
    """The group to which this process belongs, by NCCL on GPUs and Gloo on CPUs. On GPUs, each has that of its LOCAL_RANK.

    Raises InvalidInputError if the process was not started by torchrun.
    """
    if worker.size == 1:
        yield SINGLE
        return
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT", "LOCAL_RANK") if name not in os.environ]
    if missing or not distributed.is_available():
        raise InvalidInputError(
            f"WORLD_SIZE={worker.size}: to train with several processes start them with torchrun (not set: "
            f"{', '.join(missing) or 'torch has no distributed package'}); unset WORLD_SIZE for one process"
        )
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield ProcessGroup(worker)
    finally:
        distributed.destroy_process_group()
