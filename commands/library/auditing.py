"""`skinaudit.audit` and `skinaudit.read_report`: a result from an engine, or from the JSON report of an earlier audit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from skinaudit.commands.library.arguments import LOG, as_path, as_the_command_takes_them, log_progress, thread_count
from skinaudit.commands.library.engine_images import images_for
from skinaudit.commands.library.optional import need
from skinaudit.errors import InvalidInputError

if TYPE_CHECKING:
    from skinaudit.artifacts.files import Progress
    from skinaudit.audit.judgement.policy import Policy
    from skinaudit.audit.judgement.result import AuditResult
    from skinaudit.engines.isolation.limits import Limits

PROBE_IMAGES, PROBE_QUERIES = 200, 500
"""Images and queries of each probe, if neither is given."""
IMAGES_BY_ANSWERS, QUERIES_BY_ANSWERS = 100, 200
"""The same for the attack that every audit of another tool's engine makes."""


@as_the_command_takes_them
def audit(
    engine: str | Path,
    *,
    sets: str | Path | None = None,
    run: str | Path | None = None,
    contract: str | Path | None = None,
    data: str | Path | None = None,
    classes: str | Path | None = None,
    name: str | None = None,
    control: str | Path | None = None,
    runtime: str | None = None,
    emulate: bool = False,
    policy: str | Path | None = None,
    margin: float | None = None,
    baseline: str | Path | None = None,
    baseline_own_sets: bool = False,
    probe: Sequence[str] = (),
    probe_images: int | None = None,
    probe_queries: int | None = None,
    probe_eps: str | None = None,
    probe_norm: Literal["linf", "l2"] = "linf",
    no_probe: bool = False,
    seed: int | None = None,
    batch: int = 64,
    output: str | Path | None = None,
    report: Sequence[str] = (),
    device: int = 0,
    kernels: Literal["eager", "none"] = "eager",
    runtime_cache: str | Path | None = None,
    cuda_graphs: bool = False,
    provider: Literal["cpu", "cuda"] | None = None,
    allow_code: bool = False,
    limit_seconds: float | None = None,
    limit_memory: float | None = None,
    threads: int | None = None,
    progress: Callable[[str], Progress | None] = log_progress,
) -> AuditResult:
    """Replay the stored sets on an engine and say whether it is as robust as the model that it was built from.

    Each argument is the option of `skinaudit audit` with the same name, and has the same default. The JSON report is written
    to the same place as by the command. `report` asks for more reports, such as `["html=audit.html"]`. progress: a function
    that takes the title of a part of the audit and returns a second function, which is called with the number of finished
    images and the number of all images.

    The result holds the verdict and its reason, the gates (`result.gates`), the findings, and the answer to each image
    (`result.answers("clean")`). A FAIL is a result, not an exception. Raises InvalidInputError for files that cannot be used
    or do not belong together, EngineError for an engine that does not run, EngineStoppedError for an engine that a limit
    stopped, and MissingDependencyError if a runtime is not installed.
    """
    from skinaudit.audit.audit import audit_engine
    from skinaudit.audit.reports.parts.targets import STDOUT, plan_reports

    engine = Path(engine)
    settings = settings_of(
        (engine,), sets=sets, run=run, contract=contract, data=data, classes=classes, name=name, control=control,
        runtime=runtime, emulate=emulate, policy=policy, margin=margin, baseline=baseline,
        baseline_own_sets=baseline_own_sets, probe=probe, probe_images=probe_images, probe_queries=probe_queries,
        probe_eps=probe_eps, probe_norm=probe_norm, no_probe=no_probe, seed=seed, batch=batch,
        device=device, kernels=kernels, runtime_cache=runtime_cache,
        cuda_graphs=cuda_graphs, provider=provider, allow_code=allow_code, limits=limits_of(limit_seconds, limit_memory),
        progress=progress, remark=LOG.warning,
    )  # fmt: skip
    (plan,) = plan_reports(
        (engine,), output=as_path(output), report_texts=tuple(report), emulate=emulate, baseline=as_path(baseline),
        sets=settings["sets"], remark=LOG.warning,
    )  # fmt: skip
    if any(target.path is None for target in plan.targets):
        raise InvalidInputError(f"report: FORMAT={STDOUT} is for the command line; name a file")
    result = audit_engine(
        engine, **settings, threads=thread_count(threads), progress=progress("replaying"), probe_progress=progress,
        say=LOG.info,
    )  # fmt: skip
    plan.write(result)
    return result


def read_report(path: str | Path) -> AuditResult:
    """Read the JSON report of an audit, of this or an earlier version, and prove that its figures follow from its answers.

    Raises InvalidInputError if the file is no such report, or if figures or verdict do not follow from the answers.
    """
    from skinaudit.audit.judgement.reading import read_audit

    return read_audit(Path(path))


def limits_of(seconds: float | None, gibibytes: float | None) -> Limits:
    """Limits of the processes that open engines; None keeps a default."""
    from skinaudit.engines.isolation.limits import Limits

    return Limits(seconds, None if gibibytes is None else int(gibibytes * 2**30))


def settings_of(
    engines: Sequence[Path], *, data: str | Path | None, classes: str | Path | None, name: str | None,
    policy: str | Path | None, margin: float | None, probe: Sequence[str], probe_images: int | None,
    probe_queries: int | None, probe_eps: str | None,
    probe_norm: Literal["linf", "l2"], no_probe: bool, seed: int | None, batch: int, device: int,
    kernels: Literal["eager", "none"], runtime_cache: str | Path | None, cuda_graphs: bool,
    progress: Callable[[str], Progress | None], remark: Callable[[str], None], **same_named: Any,
) -> dict[str, Any]:  # fmt: skip
    """The arguments of `audit` as settings of audit_engine, without its threads, for one or several engines.

    remark: called with a line if a clean set is written again. same_named: settings with the same name; paths may be texts.
    """
    from skinaudit.artifacts.run_folder import check_engine_file
    from skinaudit.artifacts.threat_model import ThreatModel, parse_eps
    from skinaudit.audit.evidence.probing import plan_probes
    from skinaudit.audit.request import draw_seed
    from skinaudit.engines.plans.options import PlanOptions

    if len(engines) == 1:  # with several engines, folders are skipped
        check_engine_file(engines[0])
    for option in ("sets", "run", "contract", "control", "baseline"):
        same_named[option] = as_path(same_named[option])
    bounds = _policy(policy, margin)
    threat_model = None if probe_eps is None else ThreatModel(probe_norm, parse_eps(probe_eps)).on_grid()
    seed = draw_seed() if seed is None else seed
    images, queries = PROBE_IMAGES, PROBE_QUERIES
    if data is not None or name is not None or classes is not None:
        sets, contract = same_named["sets"], same_named["contract"]
        same_named["sets"] = _engine_images(
            engines, data, classes=as_path(classes), name=name, sets=sets, contract=contract, progress=progress,
            remark=remark,
        )  # fmt: skip
        if not probe and not no_probe:  # these are all attacks on an engine without its model
            probe, images, queries = ("square",), IMAGES_BY_ANSWERS, QUERIES_BY_ANSWERS
    probes = plan_probes(
        tuple(probe), threat_model=threat_model, images=probe_images or images, queries=probe_queries or queries, seed=seed,
        further=_source_probes(engines, tuple(probe), run=same_named["run"]),
    )  # fmt: skip
    return {
        **same_named, "policy": bounds, "batch_size": batch, "probes": probes, "small_probe": not no_probe, "seed": seed,
        "plan": PlanOptions(device, kernels, as_path(runtime_cache), cuda_graphs),
    }  # fmt: skip


def _policy(policy: str | Path | None, margin: float | None) -> Policy:
    from dataclasses import replace

    from skinaudit.audit.judgement.policy import DEFAULT, read_policy

    bounds = DEFAULT if policy is None else read_policy(Path(policy))
    return bounds if margin is None else replace(bounds, margin=margin)


def _engine_images(
    engines: Sequence[Path], data: str | Path | None, *, classes: Path | None, name: str | None, sets: Path | None,
    contract: Path | None, progress: Callable[[str], Progress | None], remark: Callable[[str], None],
) -> Path:  # fmt: skip
    """The folder of the clean set that --data makes for another tool's engine."""
    from skinaudit.artifacts.engine_contract import read_engine_contract

    (engine, *more_engines) = engines
    if data is None:
        raise InvalidInputError("--name and --classes need --data: they are about its images")
    if more_engines or sets is not None:
        raise InvalidInputError("--data works with one engine, and without --sets; it makes a clean set for this engine")
    if contract is None:
        raise InvalidInputError(
            f"{engine}: --data needs --contract FILE. If another tool made the engine, write one with `skinaudit contract "
            "ENGINE --data DIR -o FILE`. If the engine belongs to a run, make sets with `skinaudit attack RUN --data DIR`, "
            "and name their folder with --sets"
        )
    size = read_engine_contract(contract).size
    return images_for(engine, str(data), size=size, name=name, classes=classes, progress=progress, remark=remark)


def _source_probes(engines: Sequence[Path], chosen: tuple[str, ...], *, run: Path | None) -> dict[str, Any]:
    """Load the chosen probes that follow the gradients of the engine's source model. They need torch and the run."""
    from skinaudit.audit.evidence.probes import names

    source_probes = [name for name in chosen if name not in names()]
    if not source_probes:
        return {}
    if len(engines) > 1:
        raise InvalidInputError(
            f"probe {', '.join(source_probes)}: follows the model of one run; audit one engine at a time"
        )
    (engine,) = engines
    from skinaudit.artifacts.manifest import read_engine_manifest

    folder = engine.parent / read_engine_manifest(engine, run=run).run
    need(f"probe {', '.join(source_probes)}", "torch", "torchvision")
    from skinaudit.trainer import probes
    from skinaudit.trainer.checkpoint import load_run_model

    model = load_run_model(folder)
    return {name: probes.load(name, model) for name in chosen if name in probes.names()}
