"""PGD beside torchattacks on the device; `python bench/libraries.py` installs torchattacks before."""

from __future__ import annotations

from dataclasses import asdict

from skinaudit.artifacts.threat_model import ThreatModel, parse_eps
from skinaudit.bench import libraries, report
from skinaudit.bench.attacks import measure_attacks
from skinaudit.bench.gpu_parts.part import Answer, Keep, Settings

TITLE = "PGD beside torchattacks"
PEER = "torchattacks"
_EPS = "2/255"


def measure(settings: Settings, _: Keep) -> Answer:
    """PGD with one random start on the first clean images of the run as one batch."""
    libraries.enable(PEER)
    threat_model = ThreatModel("linf", parse_eps(_EPS))
    figures = measure_attacks(
        settings.folder, images=settings.attacked, threat_model=threat_model, steps=settings.steps,
        rounds=min(3, settings.rounds), peers=(PEER,), device=settings.device,
    )  # fmt: skip
    setting = f"PGD-{settings.steps}, {threat_model}, one random start"
    return Answer(report.attack_table(figures, setting=setting), asdict(figures))
