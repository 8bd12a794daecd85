"""What dropping settled images saves and misjudges: docs/results/settle.md.

python bench/settle.py runs/standard-wide runs/hardened-tuned --eps 1/255 2/255 8/255 --output docs/results/settle.md
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from skinaudit.artifacts.threat_model import ThreatModel, parse_eps
from skinaudit.bench.attacks import clean_batch
from skinaudit.bench.report import table
from skinaudit.trainer import cpu
from skinaudit.trainer.attacks import apgd_ce, apgd_dlr, apgd_t, pgd
from skinaudit.trainer.checkpoint import load_run_model
from skinaudit.trainer.evaluate import SETTLE, STOP_MARGIN, to_pixels
from skinaudit.trainer.input_gradients.fused import fused
from skinaudit.trainer.models import folded

_SHARES = (1.0, SETTLE, 2 * SETTLE)
_STEPS = 40


class _Counted(nn.Module):
    """A model that counts the images it is shown."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.shown = model, 0

    def forward(self, images: Tensor) -> Tensor:
        self.shown += len(images)
        answer: Tensor = self.model(images)
        return answer


def main() -> None:
    """Parse the command line, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--eps", nargs="+", default=["2/255"])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    cpu.prepare(options.threads)
    rows = [row for run in options.runs for eps in options.eps for row in _rows(run, eps, images=options.images)]
    figures = ("gradients, of all", "right under attack", "right only because dropped")
    heads = ("run", "linf eps", "images", "attack, settle", *figures)
    options.output.write_text(
        f"""# Images that PGD will not break

    python bench/settle.py {" ".join(map(str, options.runs))} --eps {" ".join(options.eps)} --images {options.images} \\
                           --output docs/results/settle.md

`pgd`: PGD-{_STEPS} for measuring robust accuracy (`evaluate.pgd_predictions`). Its steps fall as a cosine from 2 eps to
eps/10. *Constant*: the same with steps of 2.5 eps / {_STEPS}, which other libraries take. `apgd-ce`, `apgd-dlr`: Auto-PGD
with {_STEPS} steps; `apgd-t` takes {_STEPS} towards each wrong class. All from one random start.

Images always leave once a wrong logit leads by {STOP_MARGIN}. With `settle: k`, an image also leaves after a fifth of the
steps if k times the gain that its gradient promises in the rest of the ball could not flip it (for `apgd-dlr` and `apgd-t`
16 k times). The rules are in `trainer/ascent/settling.py`. Training and the benchmarks use {SETTLE:g}; stored sets never
use it.

- *gradients*: share of all that {_STEPS} steps for every image (and every wrong class) would take;
- *right only because dropped*: images that left as settled, but which the attack breaks if no image may leave.

{table(heads, rows)}""",
        encoding="utf-8",
    )


def _rows(run: Path, eps: str, *, images: int) -> Iterator[list[str]]:
    batch = clean_batch(run, images=images)
    model = _Counted(fused(folded(load_run_model(run)))).eval()
    pixels, labels = to_pixels(batch.images, device=torch.device("cpu")), torch.from_numpy(batch.labels)
    attacks: dict[str, tuple[Callable[..., Tensor], tuple[float | None, ...]]] = {
        "pgd, constant": (partial(pgd.attack, schedule="constant"), (None,)),
        "pgd": (partial(pgd.attack, schedule="cosine"), (None, *_SHARES)),
        "apgd-ce": (apgd_ce.attack, (None, *_SHARES)),
        "apgd-dlr": (apgd_dlr.attack, (None, *_SHARES)),
        "apgd-t": (apgd_t.attack, (None, *_SHARES)),
    }
    with torch.no_grad():
        wrong_classes = model(pixels[:1]).shape[1] - 1
    for name, (attack, shares) in attacks.items():
        runs = wrong_classes if name == "apgd-t" else 1
        right_of_all = torch.zeros_like(labels, dtype=torch.bool)
        for share in shares:
            model.shown = 0
            adversarial = attack(
                model, pixels, labels, threat_model=ThreatModel("linf", parse_eps(eps)),
                generator=torch.Generator().manual_seed(0), steps=_STEPS, stop_margin=STOP_MARGIN, settle=share,
            )  # fmt: skip
            spent = model.shown / (_STEPS * runs * len(labels))
            with torch.no_grad():
                right = model(adversarial).argmax(1) == labels
            right_of_all = right if share is None else right_of_all
            label = f"{name}, " + ("none dropped" if share is None else f"{share:g}")
            figures = (f"{spent:.1%}", f"{right.float().mean():.1%}", str(int((right & ~right_of_all).sum())))
            yield [str(run), eps, str(len(labels)), label, *figures]


if __name__ == "__main__":
    main()
