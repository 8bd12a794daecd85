"""Robust accuracy of a run's model with its logits times a factor: the decisions stay, and so should what PGD-40 finds.

python bench/tempered.py RUN 1 35
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from skinaudit.artifacts.adversarial_set import open_set
from skinaudit.artifacts.attack_record import LEAD_GRADIENT
from skinaudit.artifacts.manifest import read_run
from skinaudit.artifacts.run_sets import open_clean_set
from skinaudit.artifacts.threat_model import ThreatModel, parse_eps
from skinaudit.trainer.checkpoint import load_run_model
from skinaudit.trainer.generate import AttackPlan, write_adversarial_set
from skinaudit.trainer.models import folded


class Tempered(nn.Module):
    """A model whose logits are multiplied."""

    def __init__(self, model: nn.Module, factor: float) -> None:
        super().__init__()
        self.model, self.factor = model, factor

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes)."""
        answer: Tensor = self.model(images) * self.factor
        return answer


def main() -> None:
    """Print a line for each factor."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("factors", type=float, nargs="+")
    parser.add_argument("--eps", default="2/255")
    options = parser.parse_args()
    model, clean = folded(load_run_model(options.run)), open_clean_set(options.run, read_run(options.run))
    plan = AttackPlan("pgd", ThreatModel("linf", parse_eps(options.eps)))
    for factor in options.factors:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "pgd.safetensors"
            write_adversarial_set(path, Tempered(model, factor).eval(), clean, plan, source=clean.info.source, seed=0)
            crafted = open_set(path)
        assert crafted.attack is not None
        robust = float((crafted.source_logits.argmax(1) == crafted.labels).mean())
        silent, rounded = int(crafted.attack.silent.sum()), int(np.sum(crafted.attack.gradient == LEAD_GRADIENT))
        print(f"logits x {factor:g}: robust accuracy {robust:.2%}, {silent} images silent, {rounded} by the smooth lead")


if __name__ == "__main__":
    main()
