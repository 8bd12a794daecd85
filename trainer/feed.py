"""The batches of an epoch, on the device that uses them."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skinaudit.trainer.computing import put
from skinaudit.trainer.evaluate import slices
from skinaudit.trainer.process_group import SINGLE, ProcessGroup

_SHARE = 0.25
"""Images stay on a GPU if they need at most this share of its free memory."""


class Feed:
    """Training images on their way to a device. Used for all epochs.

    images: uint8 (N, 3, H, W), possibly memory-mapped. labels: int64 (N,). On a GPU with enough memory, all images are
    copied once; otherwise each batch is read and copied when it is needed.
    """

    def __init__(self, images: NDArray[np.uint8], labels: NDArray[np.int64], device: torch.device) -> None:
        self.labels, self.device, self._images = labels, device, images
        self._resident: Tensor | None = None
        if device.type == "cuda" and images.nbytes <= _SHARE * torch.cuda.mem_get_info(device)[0]:
            self._resident = torch.from_numpy(np.ascontiguousarray(images)).to(device)

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, order: NDArray[np.int64], *, size: int) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """For each batch: its part of `order`, its images float32 (size, 3, H, W) in [0, 1] and its labels.

        The images of a batch are in the order of the data, so a memory-mapped array is read from front to back.
        """
        parts = list(slices(len(order), size))
        if not parts:
            return
        rows = np.concatenate([np.sort(order[part]) for part in parts])
        labels = put(torch.from_numpy(self.labels[rows]), self.device)
        where = None if self._resident is None else put(torch.from_numpy(rows), self.device)
        for part in parts:
            if self._resident is None or where is None:
                stored = put(torch.from_numpy(np.ascontiguousarray(self._images[rows[part]])), self.device)
            else:
                stored = self._resident[where[part]]
            yield part, stored.float().div_(255), labels[part]


class Tally:
    """Loss and correct answers of an epoch, summed on the device, because reading them makes the CPU wait for a GPU.

    every: number of batches after which `diverged` reads the loss; by default 1 on a CPU and 50 on a GPU.
    """

    def __init__(self, device: torch.device, *, every: int | None = None) -> None:
        self._loss = torch.zeros((), dtype=torch.float64, device=device)
        self._right = torch.zeros((), dtype=torch.int64, device=device)
        self._batches = self._images = 0
        self._every = every or (1 if device.type == "cpu" else 50)

    @torch.no_grad()
    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Add the mean loss () of a batch, its logits (N, classes) and labels (N,)."""
        self._loss += loss.detach().double() * len(labels)
        self._right += (logits.detach().argmax(1) == labels).sum()
        self._batches, self._images = self._batches + 1, self._images + len(labels)

    def diverged(self, *, last: bool = False) -> float | None:
        """The summed loss if it is NaN or infinite; None if it is finite or was not read. It is also read if `last`."""
        if not last and self._batches % self._every:
            return None
        value = self._loss.item()
        return None if math.isfinite(value) else value

    def means(self, group: ProcessGroup = SINGLE) -> tuple[float, float]:
        """Mean loss and accuracy over the images so far, of all processes."""
        counted = torch.full_like(self._loss, self._images)
        loss, right, images = group.total(torch.stack([self._loss, self._right.double(), counted])).tolist()
        return loss / images, right / images
