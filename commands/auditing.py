"""`skinaudit audit`: engines to a verdict, alone or several at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import click

from skinaudit.audit import reports
from skinaudit.commands.completion import probe_names
from skinaudit.commands.libraries import need
from skinaudit.commands.names import listed, names_in, runtime_names
from skinaudit.commands.screen import bars, console, note, say
from skinaudit.commands.shared_options import (
    allow_code_option,
    limit_options,
    limits_of,
    plan_options,
    provider_option,
    report_option,
    seed_option,
    thread_count,
    threads_option,
)
from skinaudit.errors import InvalidInputError


@click.command(short_help="Are ENGINES as robust as their model?")
@click.argument("engines", metavar="ENGINE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--sets", type=click.Path(path_type=Path), default=None, help="Folder of sets instead of those of the engine's run."
)
@click.option(
    "--run", type=click.Path(path_type=Path, exists=True, file_okay=False), default=None, metavar="DIR",
    help="The run of an engine that lies elsewhere; by default it is around the engine, or below the engine's folder.",
)  # fmt: skip
@click.option("--contract", type=click.Path(path_type=Path), default=None, metavar="FILE.toml",
              help="What an engine of another tool takes and answers; `skinaudit contract ENGINE` drafts it.")  # fmt: skip
@click.option("--data", default=None, metavar="DIR|FILE.npz",
              help="With --contract: images of known classes, of which the clean set is made; the engine is attacked by its "
              "answers alone.")  # fmt: skip
@click.option("--classes", type=click.Path(path_type=Path), default=None, metavar="FILE.toml",
              help="How the classes of --data are merged, renamed and marked, as for `skinaudit train`.")  # fmt: skip
@click.option("--name", default=None, metavar="NAME", help="What the images of --data are called  [default: after --data].")
@click.option("--control", type=click.Path(path_type=Path), default=None, metavar="ENGINE",
              help="Another engine of the run as the reference, such as its .pt2  [default: fp32.onnx].")  # fmt: skip
@click.option("--runtime", default=None, metavar="NAME",
              help=f"{listed(runtime_names())}  [default: by the manifest].")  # fmt: skip
@click.option("--emulate", is_flag=True,
              help="Replay the ONNX graph of the engine on the CPU instead: not the engine, and never a PASS.")  # fmt: skip
@click.option("--policy", type=click.Path(path_type=Path), default=None, metavar="FILE.toml",
              help="The bounds of the verdict; `skinaudit policy` prints the default.")  # fmt: skip
@click.option("--margin", type=click.FloatRange(0, 100, min_open=True, max_open=True), default=None,
              help="Accuracy that a set may lose, in points, instead of the policy's  [default: 1.0].")  # fmt: skip
@click.option("--baseline", type=click.Path(path_type=Path), default=None, metavar="AUDIT.json",
              help="JSON report of an earlier engine; this one must not be worse on the same images.")  # fmt: skip
@click.option("--baseline-own-sets", is_flag=True,
              help="A model trained anew: compare sets that the same attack made against each engine itself.")  # fmt: skip
@click.option("--probe", "probe_names", multiple=True, metavar="NAME", shell_complete=probe_names,
              help=f"Attack the engine afresh: {listed(names_in('audit/evidence/probes'))} by its answers alone, "
              f"{listed(names_in('trainer/probes'))} by its run's gradients too; may be repeated.")  # fmt: skip
@click.option("--probe-images", type=click.IntRange(1), default=200, show_default=True,
              help="Clean images that a probe attacks, chosen by the seed.")  # fmt: skip
@click.option("--probe-queries", type=click.IntRange(2), default=500, show_default=True, help="Queries an image.")
@click.option("--probe-eps", default=None, metavar="8/255", help="Radius of the probes  [default: that of the sets].")
@click.option("--probe-norm", type=click.Choice(["linf", "l2"]), default="linf", help="Norm of --probe-eps.")
@click.option("--no-probe", is_flag=True,
              help="Leave out the small fresh attack of every audit; then there is no PASS.")  # fmt: skip
@seed_option("Of all that an audit draws; the report holds it.", drawn=True)
@click.option("--batch", type=click.IntRange(1), default=64, show_default=True, help="Images a call.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON instead of tables.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=None,
    help="Where the JSON report goes  [default: the run's audits folder, else beside the engine].",
)
@click.option("--jobs", type=click.IntRange(1), default=None,
              help="Audits at once, where there are several engines  [default: cores / threads].")  # fmt: skip
@report_option("audit")
@plan_options
@provider_option
@allow_code_option
@limit_options
@threads_option
def audit(
    engines: tuple[Path, ...],
    sets: Path | None,
    run: Path | None,
    contract: Path | None,
    data: str | None,
    classes: Path | None,
    name: str | None,
    control: Path | None,
    runtime: str | None,
    emulate: bool,
    policy: Path | None,
    margin: float | None,
    baseline: Path | None,
    baseline_own_sets: bool,
    probe_names: tuple[str, ...],
    probe_images: int,
    probe_queries: int,
    probe_eps: str | None,
    probe_norm: Any,
    no_probe: bool,
    seed: int | None,
    batch: int,
    as_json: bool,
    output: Path | None,
    jobs: int | None,
    report_texts: tuple[str, ...],
    device: int,
    kernels: Any,
    runtime_cache: Path | None,
    cuda_graphs: bool,
    provider: Any,
    allow_code: bool,
    limit_seconds: float | None,
    limit_memory: float | None,
    threads: int | None,
) -> None:
    """Replay the stored clean, FGSM and PGD sets on ENGINE and say whether it is as robust as the model it was built from.

    Per set: the drop from source to engine on the same images with its 95% interval (Tango 1998). PASS where the interval
    lies below the margin, FAIL where it lies above, otherwise INCONCLUSIVE with the number of images that would decide.

    Several engines are audited at once and shown in one table; other files of a pattern are skipped. In the file names of
    --report and --output, {engine} stands for the engine's name. Exit code: 2 if any could not be audited, else 1 if any
    fails, else 3 if any is inconclusive.

    \b
    Examples:
      skinaudit audit runs/hardened/engines/int8.onnx
      skinaudit audit engine.onnx --sets sets/ --json > audit.json
      skinaudit audit runs/hardened/engines/int8.onnx --sets runs/hardened/external/hospital-b
      skinaudit audit engine.plan --device 1
      skinaudit audit engine.plan --emulate
      skinaudit audit int8.onnx --policy policy.toml --probe square
      skinaudit audit release-2.onnx --baseline release-1.json
      skinaudit audit new.onnx --baseline old.json --baseline-own-sets --probe square
      skinaudit audit engine.onnx --report junit=audit.xml --report sarif=audit.sarif
      skinaudit audit runs/hardened/engines/* --report 'junit=reports/{engine}.xml'
      skinaudit audit other.tflite --contract other.toml --sets runs/hardened/sets
      skinaudit audit other.onnx --contract other.toml --data HospitalB/ --name hospital-b
    """
    from dataclasses import replace

    from skinaudit.engines.isolation.launching import engine_processes

    limits = limits_of(limit_seconds, limit_memory)
    if len(engines) == 1:  # it gets ready while this process imports what an audit needs
        click.get_current_context().with_resource(engine_processes(limits, at_once=True))

    from skinaudit.artifacts.threat_model import ThreatModel, parse_eps
    from skinaudit.audit.audit import audit_engine
    from skinaudit.audit.evidence.probing import plan_probes
    from skinaudit.audit.judgement.policy import DEFAULT, read_policy
    from skinaudit.audit.judgement.verdict import exit_code
    from skinaudit.audit.reports.parts.targets import plan_reports
    from skinaudit.audit.reports.terminal import print_audit
    from skinaudit.audit.request import draw_seed
    from skinaudit.engines.plans.options import PlanOptions

    bounds = DEFAULT if policy is None else read_policy(policy)
    bounds = bounds if margin is None else replace(bounds, margin=margin)
    threat_model = None if probe_eps is None else ThreatModel(probe_norm, parse_eps(probe_eps)).on_grid()
    seed = draw_seed() if seed is None else seed
    if data is not None or name is not None or classes is not None:
        sets = _engine_images(engines, data, classes=classes, name=name, sets=sets, contract=contract)
        if not probe_names and not no_probe:  # all that attacks an engine without its model
            probe_names, (probe_images, probe_queries) = ("square",), _by_answers(probe_images, probe_queries)
    probes = plan_probes(
        probe_names, threat_model=threat_model, images=probe_images, queries=probe_queries, seed=seed,
        others=_source_probes(engines, probe_names, run=run),
    )  # fmt: skip
    settings: dict[str, Any] = {
        "sets": sets, "run": run, "contract": contract, "control": control, "runtime": runtime, "emulate": emulate,
        "policy": bounds,
        "provider": provider, "batch_size": batch, "probes": probes, "baseline": baseline,
        "baseline_own_sets": baseline_own_sets, "allow_code": allow_code, "small_probe": not no_probe, "seed": seed,
        "plan": PlanOptions(device, kernels, runtime_cache, cuda_graphs),
        "limits": limits,
    }  # fmt: skip
    planned: dict[str, Any] = {
        "output": output, "report_texts": report_texts, "emulate": emulate, "baseline": baseline, "sets": sets,
        "remark": note,
    }  # fmt: skip
    if len(engines) > 1:
        _audit_several(engines, settings, planned, jobs=jobs, threads=threads, as_json=as_json)
    (plan,) = plan_reports(engines, **planned)
    if as_json and any(target.path is None for target in plan.targets):
        raise InvalidInputError("--json: a --report goes to standard output already; leave one of them out")
    with bars() as bar:
        result = audit_engine(
            plan.engine, **settings, threads=thread_count(threads), progress=bar("replaying"), probe_progress=bar
        )  # fmt: skip
    printed = plan.write(result)
    if as_json:
        click.echo(reports.render("json", result), nl=False)
    elif printed is not None:
        click.echo(printed, nl=False)
    else:
        print_audit(result, console())
        if plan.report is not None:
            say(f"report: {plan.report}")
    click.get_current_context().exit(exit_code(result.verdict))


def _engine_images(
    engines: tuple[Path, ...],
    data: str | None,
    *,
    classes: Path | None,
    name: str | None,
    sets: Path | None,
    contract: Path | None,
) -> Path:
    """The folder of the clean set that --data makes for an engine of another tool."""
    from skinaudit.artifacts.engine_contract import read_engine_contract
    from skinaudit.commands.engine_images import images_for

    (engine, *others) = engines
    if data is None:
        raise InvalidInputError("--name, --classes: are about the images of --data; name these, too")
    if others or sets is not None:
        raise InvalidInputError("--data: makes the clean set of one engine; name one engine, and leave --sets out")
    if contract is None:
        raise InvalidInputError(
            f"{engine}: --data is for engines of other tools, with --contract FILE, which `skinaudit contract ENGINE --data "
            "DIR -o FILE` finds; for an engine of a run write sets with `skinaudit attack RUN --data DIR`, then name them "
            "as --sets"
        )
    return images_for(engine, data, size=read_engine_contract(contract).size, name=name, classes=classes)


def _by_answers(images: int, queries: int) -> tuple[int, int]:
    """Images and queries of the attack on an engine without its model: fewer than those of a probe that was asked for."""
    source = click.get_current_context().get_parameter_source
    given = [source(option) is click.core.ParameterSource.COMMANDLINE for option in ("probe_images", "probe_queries")]
    return images if given[0] else min(images, 100), queries if given[1] else min(queries, 200)


def _audit_several(
    paths: tuple[Path, ...], settings: dict[str, Any], planned: dict[str, Any],
    *, jobs: int | None, threads: int | None, as_json: bool,
) -> NoReturn:  # fmt: skip
    """Audit the engines among the files, each in its own process, and print one table."""
    from skinaudit.audit.reports.lineup.terminal import print_lineup
    from skinaudit.audit.reports.parts.lineup import line_up, worst_exit_code
    from skinaudit.audit.reports.parts.targets import plan_reports
    from skinaudit.audit.several import audit_several, fit_plans, share_cores, sort_files

    engines, other_files = sort_files(paths)
    for path, reason in other_files:
        note(f"skipped {path}: {reason}")
    if not engines:
        raise InvalidInputError(f"none of the {len(paths)} files is an engine; name engines such as runs/latest/engines/*")
    plans = {} if settings["emulate"] else fit_plans(engines, settings["plan"], runtime=settings["runtime"])
    for engine, plan in plans.items():
        if superfluous := set(settings["plan"].given()) - set(plan.given()):
            note(f"{engine}: audited without {' '.join(word for word in settings['plan'].given() if word in superfluous)}")
    targets = {target.engine: target for target in plan_reports(engines, **planned)}
    jobs, threads = share_cores(len(engines), cores=thread_count(None), jobs=jobs, threads=threads)
    done = 0

    def finished(engine: Path, answer: Any) -> None:
        nonlocal done
        done += 1
        if isinstance(answer, str):
            note(f"{done} of {len(engines)}  {engine.name}  ERROR  {answer}")
        else:
            targets[engine].write(answer)
            where = targets[engine].report
            note(f"{done} of {len(engines)}  {engine.name}  {answer.verdict.value}" + (f"  {where}" if where else ""))

    with bars() as bar:
        answers = audit_several(
            engines, {**settings, "threads": threads}, jobs=jobs, finished=finished, progress=bar, plans=plans
        )  # fmt: skip
    lineup = line_up(list(zip(engines, answers, strict=True)))
    if as_json:
        click.echo(reports.render("json", lineup, "lineup"), nl=False)
    else:
        print_lineup(lineup, console())
    click.get_current_context().exit(worst_exit_code(lineup))


def _source_probes(engines: tuple[Path, ...], chosen: tuple[str, ...], *, run: Path | None) -> dict[str, Any]:
    """Load the chosen probes that follow the gradients of the engine's source model; they need torch and the run."""
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
