"""`skinaudit audit`: audit one or several engines and return a verdict."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import click

from skinaudit.audit import reports
from skinaudit.commands.completion import probe_names
from skinaudit.commands.grouped_help import GroupedCommand
from skinaudit.commands.library.arguments import thread_count
from skinaudit.commands.library.auditing import limits_of, settings_of
from skinaudit.commands.names import listed, names_in, runtime_names
from skinaudit.commands.screen import bars, console, note, say, step
from skinaudit.commands.shared_options import (
    allow_code_option,
    limit_options,
    plan_options,
    provider_option,
    report_option,
    seed_option,
    threads_option,
)
from skinaudit.errors import InvalidInputError

_SECTIONS = {
    "What to audit": (
        "--sets", "--run", "--contract", "--data", "--classes", "--name", "--control", "--runtime", "--emulate",
    ),
    "Bounds and comparison": ("--policy", "--margin", "--baseline", "--baseline-own-sets"),
    "Fresh attacks": (
        "--probe", "--probe-images", "--probe-queries", "--probe-eps", "--probe-norm", "--no-probe", "--seed",
    ),
    "Reports": ("--report", "--json", "--output"),
    "How the engine runs": (
        "--provider", "--device", "--kernels", "--runtime-cache", "--cuda-graphs", "--batch", "--threads", "--jobs",
    ),
    "Safety": ("--allow-code", "--limit-seconds", "--limit-memory"),
}  # fmt: skip
"""Sections of the help, with their options."""


@click.command(cls=GroupedCommand, sections=_SECTIONS, short_help="Check whether engines are as robust as their model.")
@click.argument("engines", metavar="ENGINE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--sets", type=click.Path(path_type=Path), default=None, help="Folder of sets  [default: those of the engine's run]."
)
@click.option(
    "--run", type=click.Path(path_type=Path, exists=True, file_okay=False), default=None, metavar="DIR",
    help="Folder of the engine's run  [default: found around the engine, or below the engine's folder].",
)  # fmt: skip
@click.option("--contract", type=click.Path(path_type=Path), default=None, metavar="FILE.toml",
              help="Describes input and output of an engine from another tool; `skinaudit contract ENGINE` "
              "drafts it.")  # fmt: skip
@click.option("--data", default=None, metavar="DIR|FILE.npz",
              help="With --contract: your own labelled images. They become the clean set, and a black-box attack "
              "runs on the engine.")  # fmt: skip
@click.option("--classes", type=click.Path(path_type=Path), default=None, metavar="FILE.toml",
              help="File that merges, renames and marks the classes of --data, as for `skinaudit train`.")  # fmt: skip
@click.option("--name", default=None, metavar="NAME", help="Name for the images of --data  [default: from --data].")
@click.option("--control", type=click.Path(path_type=Path), default=None, metavar="ENGINE",
              help="Use this engine of the run as the reference, such as its .pt2  [default: fp32.onnx].")  # fmt: skip
@click.option("--runtime", default=None, metavar="NAME",
              help=f"{listed(runtime_names())}  [default: from the manifest].")  # fmt: skip
@click.option("--emulate", is_flag=True,
              help="Run the engine's ONNX graph on the CPU instead of the engine. The verdict is then never "
              "PASS.")  # fmt: skip
@click.option("--policy", type=click.Path(path_type=Path), default=None, metavar="FILE.toml",
              help="File with the bounds of the verdict; `skinaudit policy` prints the default one.")  # fmt: skip
@click.option("--margin", type=click.FloatRange(0, 100, min_open=True, max_open=True), default=None,
              help="Percentage points of accuracy that a set may lose  [default: the policy's, 1.0].")  # fmt: skip
@click.option("--baseline", type=click.Path(path_type=Path), default=None, metavar="AUDIT.json",
              help="JSON report of an earlier engine. This engine must not be worse on the same images.")  # fmt: skip
@click.option("--baseline-own-sets", is_flag=True,
              help="Use this for a retrained model: compare sets that the same attack crafted against each "
              "engine.")  # fmt: skip
@click.option("--probe", multiple=True, metavar="NAME", shell_complete=probe_names,
              help=f"Run a fresh attack on the engine. Black-box: {listed(names_in('audit/evidence/probes'))}. With the "
              f"gradients of its run: {listed(names_in('trainer/probes'))}. Can be repeated.")  # fmt: skip
@click.option("--probe-images", type=click.IntRange(1), default=None,
              help="Number of clean images that a probe attacks  [default: 200; 100 with --data].")  # fmt: skip
@click.option("--probe-queries", type=click.IntRange(2), default=None,
              help="Queries per image  [default: 500; 200 with --data].")  # fmt: skip
@click.option("--probe-eps", default=None, metavar="8/255", help="Eps of the probes  [default: that of the sets].")
@click.option("--probe-norm", type=click.Choice(["linf", "l2"]), default="linf", help="Norm of --probe-eps.")
@click.option("--no-probe", is_flag=True,
              help="Leave out the small fresh attack of every audit. The verdict is then never PASS.")  # fmt: skip
@seed_option("Seed of all random draws of the audit. Without it each audit draws a new one; the report records it.",
             drawn=True)  # fmt: skip
@click.option("--batch", type=click.IntRange(1, 65_536), default=64, show_default=True, help="Batch size.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON instead of tables.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=None,
    help="File of the JSON report  [default: in the run's audits folder, else beside the engine].",
)
@click.option("--jobs", type=click.IntRange(1), default=None,
              help="With several engines: number of parallel audits  [default: cores / threads].")  # fmt: skip
@report_option("audit")
@plan_options
@provider_option
@allow_code_option
@limit_options
@threads_option
def audit(
    engines: tuple[Path, ...], as_json: bool, jobs: int | None, output: Path | None, report_texts: tuple[str, ...],
    limit_seconds: float | None, limit_memory: float | None, threads: int | None, **options: Any,
) -> None:  # fmt: skip
    """Check whether ENGINE is as robust as the model that it was built from.

    The audit runs the stored clean and adversarial sets (FGSM, PGD) on ENGINE, attacks it afresh, and compares it with its
    model image by image. For each set it shows the drop in accuracy with its 95% interval (Tango 1998). PASS: the interval
    lies below the margin. FAIL: it lies above. INCONCLUSIVE: neither; the report says how many images would decide.

    Several engines are audited in parallel and shown in one table. Files that are no engines are skipped. In the file names
    of --report and --output, {engine} stands for the name of the engine. Exit code for several engines: 2 if one could not
    be audited, else 1 if one fails, else 3 if one is inconclusive.

    \b
    Examples:
      skinaudit audit runs/hardened/engines/int8.onnx
      skinaudit audit engine.onnx --sets sets/ --json > audit.json
      skinaudit audit int8.onnx --sets runs/hardened/external/hospital-b
      skinaudit audit engine.plan --device 1
      skinaudit audit engine.plan --emulate
      skinaudit audit int8.onnx --policy policy.toml --probe square
      skinaudit audit release-2.onnx --baseline release-1.json
      skinaudit audit b.onnx --baseline a.json --baseline-own-sets --probe square
      skinaudit audit engine.onnx --report junit=a.xml --report sarif=a.sarif
      skinaudit audit engines/* --report 'junit=reports/{engine}.xml'
      skinaudit audit other.tflite --contract other.toml --sets runs/hardened/sets
      skinaudit audit other.onnx --contract other.toml --data HospitalB/
    """
    from skinaudit.engines.isolation.launching import engine_processes

    limits = limits_of(limit_seconds, limit_memory)
    if len(engines) == 1:  # it starts while this process imports what an audit needs
        click.get_current_context().with_resource(engine_processes(limits, at_once=True))

    from skinaudit.audit.audit import audit_engine
    from skinaudit.audit.judgement.verdict import exit_code
    from skinaudit.audit.reports.parts.targets import plan_reports
    from skinaudit.audit.reports.terminal import print_audit

    with bars() as bar:
        settings = settings_of(engines, limits=limits, progress=bar, remark=note, **options)
    planned: dict[str, Any] = {
        "output": output, "report_texts": report_texts, "emulate": options["emulate"], "baseline": options["baseline"],
        "sets": settings["sets"], "remark": note,
    }  # fmt: skip
    if len(engines) > 1:
        _audit_several(engines, settings, planned, jobs=jobs, threads=threads, as_json=as_json)
    (plan,) = plan_reports(engines, **planned)
    if as_json and any(target.path is None for target in plan.targets):
        raise InvalidInputError("--json: a --report is already written to standard output; leave one of them out")
    with bars() as bar:
        result = audit_engine(
            plan.engine, **settings, threads=thread_count(threads), progress=bar("replaying"), probe_progress=bar, say=note
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
        raise InvalidInputError(f"none of the {len(paths)} files is an engine; name engines, such as runs/latest/engines/*")
    plans = {} if settings["emulate"] else fit_plans(engines, settings["plan"], runtime=settings["runtime"])
    for engine, plan in plans.items():
        if superfluous := set(settings["plan"].given()) - set(plan.given()):
            unused = " ".join(word for word in settings["plan"].given() if word in superfluous)
            note(f"{engine}: {unused} does not apply to this engine and is ignored")
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
            step(f"{done} of {len(engines)}  {engine.name}  {answer.verdict.value}" + (f"  {where}" if where else ""))

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
