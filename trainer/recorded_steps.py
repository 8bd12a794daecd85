"""The attack of hardening as one CUDA graph: with small images, a GPU mostly waits for launches from Python."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.trainer import ball
from skinaudit.trainer.attacks.pgd import input_gradient

_WARM_UP = 3
"""Runs before the recording. Libraries prepare themselves in the first runs, and a recording cannot contain that."""


class RecordedSteps:
    """PGD under linf on one model with `keep="last"`: recorded for the first batch, replayed for batches of the same shape.

    refreshed: updates the attacked model in place and returns it; it is part of the recording. The result equals that of
    `pgd.attack` with the same generator, up to rounding.
    """

    def __init__(self, refreshed: Callable[[], nn.Module], *, steps: int) -> None:
        self._refreshed, self._steps = refreshed, steps
        self._graph: torch.cuda.CUDAGraph | None = None

    def fits(self, images: Tensor, threat_model: ThreatModel) -> bool:
        """Whether these images can be attacked here: same shape as the first ones, on a GPU, under linf."""
        return (
            images.device.type == "cuda"
            and threat_model.norm == "linf"
            and (self._graph is None or images.shape == self._moved.shape)
        )

    def attack(self, images: Tensor, labels: Tensor, *, threat_model: ThreatModel, generator: torch.Generator) -> Tensor:
        """The end (N, 3, H, W) of PGD from a random start. It is valid until the next call."""
        start = ball.start(images, threat_model=threat_model, generator=generator)
        lower, upper = ball.linf_bounds(images, threat_model=threat_model)
        size = torch.full((), 2.5 * threat_model.eps / self._steps, device=images.device)
        if self._graph is None:
            self._moved, self._labels, self._bounds, self._size = start.clone(), labels.clone(), (lower, upper), size
            self._record(threat_model)
        inputs = (self._moved, self._labels, *self._bounds, self._size)
        for place, value in zip(inputs, (start, labels, lower, upper, size), strict=True):
            place.copy_(value)
        assert self._graph is not None
        self._graph.replay()
        return self._adversarial

    def _record(self, threat_model: ThreatModel) -> None:
        apart = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        apart.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(apart):
            for _ in range(_WARM_UP):
                self._climb(threat_model)
        torch.cuda.current_stream().wait_stream(apart)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._adversarial = self._climb(threat_model)
        self._graph = graph

    def _climb(self, threat_model: ThreatModel) -> Tensor:
        model, moved = self._refreshed(), self._moved
        for _ in range(self._steps):
            gradient, _, _ = input_gradient(model, moved, self._labels)
            moved = ball.step(moved, gradient, threat_model=threat_model, size=self._size)
            moved = ball.project(moved, moved, threat_model=threat_model, bounds=self._bounds)
        return moved
