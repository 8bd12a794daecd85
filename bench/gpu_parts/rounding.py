"""How far the source model on the device lies from float64 on the CPU, with TF32 and as skinaudit computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from skinaudit.bench.gpu_parts.part import Answer, Keep, Settings
from skinaudit.bench.report import table
from skinaudit.bench.throughput import sets_of
from skinaudit.trainer.checkpoint import load_run_model
from skinaudit.trainer.evaluate import logits_of, to_pixels
from skinaudit.trainer.models import folded

TITLE = "Rounding of the source model"
_IMAGES = 256


def measure(settings: Settings, keep: Keep) -> Answer:
    """The model as trained and folded, on the first clean images; distances as shares of the largest logit."""
    images = next(sets_of(settings.folder)[0].batches(_IMAGES))
    model = load_run_model(settings.folder)
    exact = _in_float64(model, images)
    scale = float(np.abs(exact).max())
    ways = {
        "the model, TF32 allowed": lambda: _plain(model.to(settings.device), images, tf32=True),
        "the model, TF32 off": lambda: _plain(model.to(settings.device), images, tf32=False),
        "as the sets are written (folded, logits_of)": lambda: logits_of(folded(model.to(settings.device)), images),
    }
    figures: dict[str, Any] = {}
    rows: list[list[str]] = []

    def answer() -> Answer:
        caption = f"{len(images)} clean images, beside the same weights in float64 on the CPU. Export demands 1e-4."
        columns = ("", "largest distance, share of the largest logit", "flips")
        return Answer(f"{caption}\n\n{table(columns, rows)}", figures)

    for name, way in ways.items():
        torch.backends.cudnn.allow_tf32 = True  # torch's own default, which logits_of has to overrule
        logits = way()
        distance = float(np.abs(logits.astype(np.float64) - exact).max()) / scale
        flips = int((logits.argmax(1) != exact.argmax(1)).sum())
        figures[name] = {"largest_share": distance, "flips": flips}
        rows.append([name, f"{distance:.1e}", str(flips)])
        keep(answer())
    return answer()


@torch.no_grad()
def _in_float64(model: torch.nn.Module, images: NDArray[np.uint8]) -> NDArray[np.float64]:
    pixels = to_pixels(images, device=torch.device("cpu")).double()
    answer: NDArray[np.float64] = model.double()(pixels).numpy()
    model.float()
    return answer


@torch.no_grad()
def _plain(model: torch.nn.Module, images: NDArray[np.uint8], *, tf32: bool) -> NDArray[np.float32]:
    torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cuda.matmul.allow_tf32 = tf32
    answer: NDArray[np.float32] = model(to_pixels(images, device=next(model.parameters()).device)).cpu().numpy()
    torch.backends.cuda.matmul.allow_tf32 = False
    return answer
