"""`skinaudit audit`: engines to a verdict, alone or several at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import click

from skinaudit.audit import reports
from skinaudit.commands.completion import probe_names
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
@click.option("--probe", multiple=True, metavar="NAME", shell_complete=probe_names,
              help=f"Attack the engine afresh: {listed(names_in('audit/evidence/probes'))} by its answers alone, "
              f"{listed(names_in('trainer/probes'))} by its run's gradients too; may be repeated.")  # fmt: skip
@click.option("--probe-images", type=click.IntRange(1), default=None,
              help="Clean images that a probe attacks, chosen by the seed  [default: 200; 100 with --data].")  # fmt: skip
@click.option("--probe-queries", type=click.IntRange(2), default=None,
              help="Queries an image  [default: 500; 200 with --data].")  # fmt: skip
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
    engines: tuple[Path, ...], as_json: bool, jobs: int | None, output: Path | None, report_texts: tuple[str, ...],
    limit_seconds: float | None, limit_memory: float | None, threads: int | None, **options: Any,
) -> None:  # fmt: skip
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
    from skinaudit.engines.isolation.launching import engine_processes

    limits = limits_of(limit_seconds, limit_memory)
    if len(engines) == 1:  # it gets ready while this process imports what an audit needs
        click.get_current_context().with_resource(engine_processes(limits, at_once=True))

    from skinaudit.audit.audit import audit_engine
    from skinaudit.audit.judgement.verdict import exit_code
    from skinaudit.audit.reports.parts.targets import plan_reports
    from skinaudit.audit.reports.terminal import print_audit

    with bars() as bar:
        settings = settings_of(engines, limits=limits, progress=bar, **options)
    planned: dict[str, Any] = {
        "output": output, "report_texts": report_texts, "emulate": options["emulate"], "baseline": options["baseline"],
        "sets": settings["sets"], "remark": note,
    }  # fmt: skip
    if len(engines) > 1:
        _audit_several(engines, settings, planned, jobs=jobs, threads=threads, as_json=as_json)
    (plan,) = plan_reports(engines, **planned)
    if as_json and any(target.path is None for target in plan.targets):
        raise InvalidInputError("--json: a --report goes to standard output already; leave one of them out")
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
