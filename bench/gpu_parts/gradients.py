"""What an attack pays for: an input gradient in fp32, TF32 or bf16, as a CUDA graph or not, and a forward pass."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from skinaudit.bench.gpu_parts.part import Answer, Keep, Settings
from skinaudit.bench.gpu_parts.recorded_passes import RecordedPasses
from skinaudit.bench.hardening import finish
from skinaudit.bench.report import table
from skinaudit.bench.timing import interleaved
from skinaudit.trainer.models import build, folded
from skinaudit.true_fp32 import true_fp32

TITLE = "Input gradients"
_CALLS = 10  # in each timing; in the round before the timings, a shape is recorded after a few of them
_PRECISIONS = ("fp32", "tf32", "bf16")
_FORWARD = "fp32, forward only"

Pass = Callable[[Tensor], Tensor]


def measure(settings: Settings, keep: Keep) -> Answer:
    """Milliseconds by network, size and batch, and how many signs of the gradient are those of fp32."""
    rows: list[list[str]] = []
    figures: dict[str, Any] = {}

    def answer() -> Answer:
        names = next(iter(figures.values())) if figures else ()
        caption = (
            f"Milliseconds, median of {settings.rounds} rounds in turns, {_CALLS} calls each. Weights frozen, batch norm "
            "folded, random images. Signs: share of the pixels at which the sign of the gradient is not that of fp32."
        )
        return Answer(f"{caption}\n\n{table(('network', 'batch', *names), rows)}", figures)

    for arch, size, batch in _cases(settings):
        torch.manual_seed(0)
        model = folded(build(arch, width=settings.width, size=size)).to(settings.device)
        images = torch.rand(batch, 3, size, size, device=settings.device)
        ways = _ways(model, settings.device)
        contestants = {name: _several(way, images) for name, way in ways.items()}
        interleaved(contestants, rounds=1)
        contest = interleaved(contestants, rounds=settings.rounds)
        milliseconds = {name: 1000 * contest.median(name) / _CALLS for name in ways}
        exact = ways["fp32"](images).sign()
        signs = {f"{name}, signs": float((ways[name](images).sign() != exact).float().mean()) for name in _PRECISIONS[1:]}
        title = f"{arch} x{settings.width:g}, {size}x{size}"
        times, shares = (f"{value:.2f}" for value in milliseconds.values()), (f"{value:.2%}" for value in signs.values())
        rows.append([title, str(batch), *times, *shares])
        figures[f"{title}, batch {batch}"] = milliseconds | signs
        keep(answer())
    return answer()


def _cases(settings: Settings) -> Iterator[tuple[str, int, int]]:
    for size in (64,) if settings.provider == "cpu" else (64, 224):
        for arch in ("mobilenet", "vgg16_bn"):
            yield from ((arch, size, batch) for batch in settings.batches)


def _ways(model: nn.Module, device: torch.device) -> dict[str, Pass]:
    ways = {precision: _gradient(model, precision) for precision in _PRECISIONS}
    if device.type == "cuda":
        ways |= {f"{precision}, graph": _gradient(RecordedPasses(model), precision) for precision in _PRECISIONS}

    def forward(images: Tensor) -> Tensor:
        with torch.no_grad(), _computing("fp32", images.device):
            answers: Tensor = model(images)
        return answers

    return ways | {_FORWARD: forward}


def _gradient(model: Pass, precision: str) -> Pass:
    def way(images: Tensor) -> Tensor:
        leaf = images.detach().requires_grad_()
        with _computing(precision, images.device):
            return torch.autograd.grad(model(leaf).float().logsumexp(1).sum(), leaf)[0]

    return way


@contextlib.contextmanager
def _computing(precision: str, device: torch.device) -> Iterator[None]:
    """TF32 is switched off for the other precisions."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(true_fp32())
        if precision == "tf32":
            torch.backends.cudnn.conv.fp32_precision = torch.backends.cuda.matmul.fp32_precision = "tf32"
        if precision == "bf16":
            stack.enter_context(torch.autocast(device.type, dtype=torch.bfloat16, cache_enabled=False))
        yield


def _several(way: Pass, images: Tensor) -> Callable[[int], None]:
    def calls(_: int) -> None:
        for _ in range(_CALLS):
            way(images)
        finish(images.device)

    return calls
