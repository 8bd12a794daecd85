"""The record that an attack makes of its images while it runs. It covers one batch and is read once at the end."""

from __future__ import annotations

import torch
from torch import Tensor

from skinaudit.artifacts.attack_record import LEAD_GRADIENT, LOSS_GRADIENT, NEVER, NO_GRADIENT, POINTS, AttackRecord


class AttackTrace:
    """Notes of one call of an attack. The attack opens it, then tells of every point that it evaluates, in order."""

    def open(self, images: int, *, starts: int, steps: int, device: torch.device) -> None:
        """Expect `starts` times `steps` + 1 evaluations of so many images."""
        self._steps, self._number = steps, 0
        last = starts * (steps + 1) - 1
        self._moments = [round(last * point / (POINTS - 1)) for point in range(POINTS)]
        self._gradient = torch.zeros(images, dtype=torch.uint8, device=device)
        self._path = torch.zeros(images, POINTS, device=device)
        self._success = torch.full((images,), NEVER, dtype=torch.int32, device=device)

    def note(self, smooth: Tensor, succeeds: Tensor, gradient: Tensor | None, saturated: Tensor) -> None:
        """Note one evaluation of all images.

        smooth: (N,) the loss as AttackRecord.path has it. succeeds: bool (N,). gradient: (N, 3, H, W), None behind the last
        step of a start. saturated: bool (N,), whether the gradient is that of the smooth lead.
        """
        start, step = divmod(self._number, self._steps + 1)
        if step == 0 and gradient is not None:
            kinds = torch.where(saturated, LEAD_GRADIENT, LOSS_GRADIENT)
            kinds = torch.where(gradient.flatten(1).abs().amax(1) > 0, kinds, NO_GRADIENT)
            self._gradient = torch.maximum(self._gradient, kinds.to(torch.uint8))
        for point, moment in enumerate(self._moments):
            if moment == self._number:
                self._path[:, point] = smooth.float()
        first = succeeds & (self._success == NEVER)
        self._success[first] = start * self._steps + step
        self._number += 1

    def record(self, kept: Tensor) -> AttackRecord:
        """The notes as arrays. kept: (N,), as AttackRecord has it."""
        values = (self._gradient, self._path, self._success, kept.float())
        return AttackRecord(*(value.cpu().numpy() for value in values))
