"""The settings of an audit."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

from skinaudit.audit.evidence.probing import ProbePlan
from skinaudit.audit.judgement.policy import Policy
from skinaudit.engines.engine import Provider
from skinaudit.engines.isolation.limits import NO_LIMITS, Limits
from skinaudit.engines.plans.options import PlanOptions
from skinaudit.errors import InvalidInputError

DEFAULT_BATCH = 64
"""Default number of images per call."""


def draw_seed() -> int:
    """A seed that nobody can predict, from 0 to below 2**32."""
    return secrets.randbits(32)


class Settings(TypedDict, total=False):
    """The fields of a Request except its engine, as keywords."""

    sets: Path | None
    run: Path | None
    contract: Path | None
    control: Path | None
    policy: Policy
    runtime: str | None
    emulate: bool
    provider: Provider | None
    threads: int | None
    plan: PlanOptions
    batch_size: int
    probes: Sequence[ProbePlan]
    baseline: Path | None
    baseline_own_sets: bool
    allow_code: bool
    small_probe: bool
    seed: int | None
    limits: Limits


@dataclass(frozen=True)
class Request:
    """An engine to audit, and how.

    sets: a folder of sets instead of those of the engine's run. run: its folder, if it is neither around the engine nor
    below the engine's folder. contract: the file that describes a foreign engine; its figures are then shown without any
    comparison. control: another engine of the same weights as the reference, instead of the one named in the manifest.
    runtime: instead of the one named in the manifest. emulate: run the ONNX graph behind the engine on the CPU instead of
    the engine; such an audit never passes. plan: how to run a plan. batch_size: images per call. probes: fresh attacks to
    run after the replay. baseline: the JSON report of an earlier engine. This engine must not be worse on the same images.
    baseline_own_sets: for a retrained model, compare also on images that the same attacks crafted against each engine
    itself. allow_code: also open engines whose code runs on opening. small_probe: run the fresh attack of every audit. seed:
    for all random numbers. None takes that of the probes or, without any, draws a new one, so that an engine cannot know
    what it will be asked. limits: of the processes that open files.
    """

    engine: Path
    sets: Path | None = None
    run: Path | None = None
    contract: Path | None = None
    control: Path | None = None
    policy: Policy = field(default_factory=Policy)
    runtime: str | None = None
    emulate: bool = False
    provider: Provider | None = None
    threads: int | None = None
    plan: PlanOptions = field(default_factory=PlanOptions)
    batch_size: int = DEFAULT_BATCH
    probes: Sequence[ProbePlan] = ()
    baseline: Path | None = None
    baseline_own_sets: bool = False
    allow_code: bool = False
    small_probe: bool = True
    seed: int | None = None
    limits: Limits = NO_LIMITS

    def __post_init__(self) -> None:
        if self.seed is None:
            object.__setattr__(self, "seed", self.probes[0].seed if self.probes else draw_seed())
        if self.baseline_own_sets and self.baseline is None:
            raise InvalidInputError(
                "--baseline-own-sets: says how to compare with an earlier audit; name one with --baseline"
            )
        if self.emulate and self.plan.given():
            raise InvalidInputError(
                f"{self.engine}: --emulate does not run the plan; leave {' '.join(self.plan.given())} out"
            )

    @property
    def drawn_seed(self) -> int:
        """The seed, which is known once the request is made."""
        assert self.seed is not None
        return self.seed


def arguments(request: Request, *, threads: int) -> tuple[str, ...]:
    """The command-line arguments of this audit: the given options, and always margin and threads, whose defaults may change.

    threads: with which the engine ran. Bounds of the policy without an option are left out.
    """
    options: dict[str, object] = {"margin": f"{request.policy.margin:g}", "threads": threads}
    options |= {
        name: getattr(request, name) for name in ("sets", "run", "contract", "control", "runtime", "provider", "baseline")
    }
    if request.batch_size != DEFAULT_BATCH:
        options["batch"] = request.batch_size
    typed = [text for name, value in options.items() if value is not None for text in (f"--{name}", str(value))]
    typed += request.plan.given()
    typed += ["--baseline-own-sets"] if request.baseline_own_sets else []
    typed += ["--allow-code"] if request.allow_code else []
    typed += request.limits.given()
    for probe in request.probes:
        typed += ["--probe", probe.name]
    if request.probes:
        first_probe = request.probes[0]
        typed += ["--probe-images", str(first_probe.images), "--probe-queries", str(first_probe.settings["queries"])]
        if first_probe.threat_model is not None:
            typed += ["--probe-eps", first_probe.threat_model.eps_text, "--probe-norm", first_probe.threat_model.norm]
    typed += [] if request.small_probe else ["--no-probe"]
    typed += ["--seed", str(request.seed)]
    return ("skinaudit", "audit", str(request.engine), *typed, *(["--emulate"] if request.emulate else []))
