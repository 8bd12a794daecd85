"""The time of an input gradient on a CPU: the model as it is, its folded copy, and the copy with chained convolutions.

The models have fresh weights and 64 x 64 pixels of noise; only the time counts. One thread, in turns, smallest CPU time.
"""

from __future__ import annotations

import argparse
import time

import torch
from torch import Tensor, nn

from skinaudit.bench.report import table
from skinaudit.trainer import cpu
from skinaudit.trainer.input_gradients.fused import fused
from skinaudit.trainer.models import build, folded

MODELS = (("mobilenet", 0.25), ("mobilenet", 0.5), ("mobilenet", 1.0), ("vgg16_bn", 0.25), ("vgg16", 1.0))
FORMS = ("as it is", "folded", "chained")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[64, 8, 2], help="sizes of the batch (default 64 8 2)")
    parser.add_argument("--rounds", type=int, default=15, help="default 15")
    options = parser.parse_args()
    cpu.prepare(1)
    rows = [
        [
            f"{arch}, width {width:g}",
            str(count),
            *(f"{1000 * value:.1f}" for value in seconds),
            f"{seconds[0] / seconds[2]:.2f}",
        ]
        for arch, width in MODELS
        for count in options.images
        for seconds in [measured(arch, width, count, rounds=options.rounds)]
    ]
    print(table(["model", "images", *(f"{form}, ms" for form in FORMS), "times as fast"], rows))


def measured(arch: str, width: float, count: int, *, rounds: int) -> list[float]:
    """Smallest seconds of CPU for each of FORMS."""
    torch.manual_seed(0)
    model = build(arch, width=width, size=64).eval()
    forms = [model, folded(model), fused(folded(model))]
    images, labels = torch.rand(count, 3, 64, 64), torch.arange(count) % 7
    seconds = [[_gradient(form, images, labels) for form in forms] for _ in range(rounds + 1)]
    return [min(column) for column in zip(*seconds[1:], strict=True)]


def _gradient(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    started = time.process_time()
    leaf = images.clone().requires_grad_()
    torch.autograd.grad(nn.functional.cross_entropy(model(leaf), labels, reduction="sum"), leaf)
    return time.process_time() - started


if __name__ == "__main__":
    main()
