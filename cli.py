"""The command line: parse, call, print, exit code. Heavy imports stay inside the functions, so that --help is quick."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from skinaudit import __version__
from skinaudit import completion as shells
from skinaudit.artifacts.run_folder import RunFolder
from skinaudit.audit import reports
from skinaudit.errors import InvalidInputError, SkinauditError

if TYPE_CHECKING:
    from rich.console import Console

    from skinaudit.artifacts.files import Progress
    from skinaudit.trainer.train import Reporter

RUNS = Path("runs")
LATEST = RUNS / "latest"

_RECIPE_OPTIONS = ("epochs", "batch", "learning_rate", "class_weighting", "augment")

_Command = TypeVar("_Command", bound=Callable[..., Any])


def main() -> None:
    """Entry point: run a command and turn expected failures into one line and exit code 2, an interrupt into 130."""
    atexit.register(gc.freeze)  # or Python searches all that was loaded for garbage as it ends, up to 0.15 s
    try:
        commands.main(prog_name="skinaudit", standalone_mode=False)
    except SkinauditError as error:
        _stop(str(error), code=2)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        sys.exit(2)
    except click.UsageError as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _stop("interrupted; nothing half-written was left (an interrupted training goes on with --resume)", code=130)
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 (the reader is gone; the exit must not write again)
        sys.exit(141)
    except OSError as error:
        _stop(f"{error.filename or 'file'}: {error.strerror or error}; check the path, rights and free space", code=2)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="skinaudit")
def commands() -> None:
    """Train skin-lesion classifiers, export them, and prove that the exported file is as robust as the trained model.

    In an empty folder, one after the other, on embedded synthetic images:

    \b
      skinaudit train --hardening pgd
      skinaudit export --fp16
      skinaudit audit runs/latest/engines/fp16.onnx

    Exit codes: 0 pass, 1 fail, 2 usage or unreadable input, 3 inconclusive.
    """


def threads_option(command: _Command) -> _Command:
    """`--threads`, shared by every command that computes."""
    return click.option(
        "--threads",
        type=click.IntRange(1),
        default=None,
        help="CPU threads (default: as many as there are cores for this process).",
    )(command)


def provider_option(command: _Command) -> _Command:
    """`--provider`, shared by every command that opens an engine."""
    return click.option(
        "--provider", type=click.Choice(["cpu", "cuda"]), default=None,
        help="Where the engine runs  [default: cuda for plans, else cpu]. If it cannot run there, that is an error, never a "
        "silent fallback.",
    )(command)  # fmt: skip


def json_option(command: _Command) -> _Command:
    """`--json`, shared by every command that prints a table."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")(command)


def report_option(kind: reports.Kind) -> Callable[[_Command], _Command]:
    """`--report`, shared by every command that has audits to show."""
    return click.option(
        "--report", "report_texts", multiple=True, metavar="FORMAT=FILE", shell_complete=shells.report_formats,
        help=f"Write this form to FILE, - for standard output; may be repeated. Formats: {', '.join(reports.names(kind))}.",
    )  # fmt: skip


@commands.command(short_help="Train a classifier and craft its sets.")
@click.option("--data", default="synthetic", show_default=True, metavar="DIR|FILE.npz|synthetic",
              help="HAM10000 or ISIC 2018 folder, a MedMNIST file, or the embedded synthetic images.")  # fmt: skip
@click.option("--arch", type=click.Choice(["mobilenet", "mobilenet_v2", "vgg16"]), default="mobilenet", show_default=True)
@click.option(
    "--width", type=click.FloatRange(0, 4, min_open=True), default=0.5, show_default=True, help="Channel multiplier."
)
@click.option("--size", type=click.IntRange(32), default=64, show_default=True, help="Side of the square input, in pixels.")
@click.option("--hardening", type=click.Choice(["none", "pgd"]), default="none", show_default=True,
              help="pgd: adversarial training by Madry's minimax.")  # fmt: skip
@click.option("--eps", default="4/255", show_default=True, help="Radius of hardening and of the sets, as a rational of 255.")
@click.option("--norm", type=click.Choice(["linf", "l2"]), default="linf", show_default=True)
@click.option("--hardening-eps", default=None, metavar="EPS", help="Radius of hardening where it is not that of the sets.")
@click.option("--steps", type=click.IntRange(1), default=5, show_default=True, help="PGD steps inside hardening.")
@click.option("--ramp", type=click.FloatRange(0, 1), default=None,
              help="Part of the epochs in which hardening's eps grows  [default: 0.3; 0 under --recipe paper].")  # fmt: skip
@click.option("--clean-share", type=click.FloatRange(0, 1, max_open=True), default=None,
              help="Part of each hardened batch that stays clean  [default: 0; 0.5 under --recipe paper].")  # fmt: skip
@click.option("--attack-batch-norm", type=click.Choice(["eval", "train"]), default="eval", show_default=True,
              help="Batch norm inside hardening's attack: running statistics (fast) or those of the batch.")  # fmt: skip
@click.option("--recipe", type=click.Choice(["default", "paper"]), default="default", show_default=True,
              help="default: AdamW, one cycle, class weights. paper: Huq & Pervin 2020.")  # fmt: skip
@click.option("--epochs", type=click.IntRange(1), default=None, help="Instead of the recipe's.")
@click.option("--batch", type=click.IntRange(2), default=None, help="Instead of the recipe's.")
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True), default=None, help="Instead of the recipe's.")
@click.option("--class-weighting", type=click.FloatRange(0, 1), default=None,
              help="Exponent w of class weights n^-w, instead of the recipe's.")  # fmt: skip
@click.option("--augment", type=click.Choice(["none", "flips", "affine"]), default=None,
              help="flips: and quarter turns. affine: also any angle, zoom and shift  [default: flips; none under --recipe "
              "paper].")  # fmt: skip
@click.option("--class-cost", "class_costs", multiple=True, metavar="CLASS=NUMBER",
              help="Factor on the weight of a class, as mel=1.5: what missing it costs; may be repeated.")  # fmt: skip
@click.option("--split", type=click.Choice(["lesion", "paper", "official"]), default="lesion", show_default=True,
              help="lesion: no lesion on both sides. paper: random, which leaks. official: MedMNIST's own.")  # fmt: skip
@click.option("--weights", default=None, metavar="RUN|FILE|NAME",
              help="Start from a finished run, a weights file, or torchvision's ImageNet weights of that name.")  # fmt: skip
@click.option("--images", type=click.IntRange(140), default=None, help="Number of synthetic images.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--skip-bad", is_flag=True, help="Drop and record unreadable images instead of stopping.")
@click.option("--resume", is_flag=True, help="Go on behind the last whole epoch of an interrupted run.")
@click.option("--out", type=click.Path(path_type=Path), default=None, help="Run directory  [default: runs/ARCH-HARDENING].")
@threads_option
@json_option
def train(as_json: bool, **options: Any) -> None:
    """Train a classifier and write a run directory: weights, log, curves, and clean, FGSM and PGD-40 sets.

    \b
    Examples:
      skinaudit train
      skinaudit train --hardening pgd --eps 4/255 --out runs/hardened
      skinaudit train --data HAM10000/ --arch mobilenet --width 0.5 --size 64 --hardening pgd --eps 2/255
      skinaudit train --data HAM10000/ --hardening pgd --eps 2/255 --class-cost mel=1.5 --weights runs/standard
    """
    import json

    from skinaudit.artifacts.threat_model import parse_eps
    from skinaudit.trainer.data.load import load
    from skinaudit.trainer.recipes import adapted, hardening_of, parse_costs
    from skinaudit.trainer.train import Training, threat_model, train_run

    changes = {name: options[name] for name in _RECIPE_OPTIONS}
    recipe = adapted(options["recipe"], arch=options["arch"], class_costs=parse_costs(options["class_costs"]), **changes)
    bounds = threat_model(options["norm"], parse_eps(options["eps"]))
    hardening = hardening_of(
        options["hardening"], recipe=recipe, threat_model=bounds, steps=options["steps"], ramp=options["ramp"],
        clean_share=options["clean_share"], batch_norm=options["attack_batch_norm"],
        train_eps_255=None if options["hardening_eps"] is None else parse_eps(options["hardening_eps"]),
    )  # fmt: skip
    out = options["out"] or _free_folder(f"{options['arch']}-{'standard' if hardening is None else 'hardened'}")
    with _bars() as bar:
        dataset = load(
            options["data"], size=options["size"], seed=options["seed"], images=options["images"],
            skip_bad=options["skip_bad"], progress=bar("reading images"),
        )  # fmt: skip
        training = Training(
            arch=options["arch"], width=options["width"], size=options["size"], recipe=recipe, hardening=hardening,
            threat_model=bounds, split=options["split"], seed=options["seed"], weights=options["weights"],
            threads=_threads(options["threads"]),
        )  # fmt: skip
        manifest = train_run(dataset, training, out=out, resume=options["resume"], report=_reporter(bar))
    _point_latest(out)
    if as_json:
        facts = {"run": out.as_posix(), "synthetic": dataset.synthetic, "data": manifest.data, "results": manifest.results}
        click.echo(json.dumps(facts, indent=2))
        return
    if dataset.synthetic:
        click.echo("SYNTHETIC images: these figures say nothing about patients")
    _figures_row("test set", "accuracy", "balanced", "melanoma")
    for name, figures in manifest.results.items():
        _figures_row(name, figures["accuracy"], figures["balanced_accuracy"], figures.get("sensitivity_mel"))
    always = f"always {manifest.data['majority_class']}"
    present = sum(count["test"] > 0 for count in manifest.data["counts"].values())
    _figures_row(always, manifest.data["majority_baseline"], 1 / present, None)
    click.echo(f"run: {out}")


@commands.command(short_help="Write more adversarial sets of a run.")
@click.argument("run", type=click.Path(path_type=Path), default=LATEST)
@click.option("--attack", "attack_names", multiple=True, required=True, metavar="NAME", help="fgsm or pgd; may be repeated.")
@click.option("--eps", default=None, help="Radius as a rational of 255  [default: that of the run's sets].")
@click.option("--norm", type=click.Choice(["linf", "l2"]), default="linf", show_default=True)
@click.option("--steps", type=click.IntRange(1), default=None, help="PGD steps  [default: 40].")
@click.option("--restarts", type=click.IntRange(1), default=None, help="PGD starts  [default: 1].")
@click.option("--targeted", is_flag=True, help="Aim each image at a random wrong class.")
@click.option(
    "--against", type=click.Path(path_type=Path), default=None, help="Craft on this run's model instead: transfer."
)
@click.option("--seed", type=int, default=0, show_default=True)
@threads_option
def attack(
    run: Path, attack_names: tuple[str, ...], eps: str | None, norm: Any, steps: int | None, restarts: int | None,
    targeted: bool, against: Path | None, seed: int, threads: int | None,
) -> None:  # fmt: skip
    """Write more adversarial sets of a run's test images.

    \b
    Examples:
      skinaudit attack runs/hardened --attack pgd --eps 8/255 --restarts 5
      skinaudit attack runs/hardened --attack fgsm --attack pgd --norm l2 --eps 128/255
    """
    import torch

    from skinaudit.trainer.generate import attack_run, plans_for

    torch.set_num_threads(_threads(threads))
    settings = {"steps": steps, "restarts": restarts, "targeted": targeted or None}
    plans = plans_for(run, attack_names, norm=norm, eps=eps, settings=settings)
    with _bars() as bar:
        written = attack_run(run, plans, against=against, seed=seed, progress=bar("attacking"))
    for opened in written:
        correct = float((opened.source_logits.argmax(1) == opened.labels).mean())
        click.echo(f"{opened.path}  {opened.info.title}  {len(opened):,} images, source accuracy {correct:.1%}")


@commands.command(short_help="Compile a run to engine files.")
@click.argument("run", type=click.Path(path_type=Path), default=LATEST)
@click.option("--format", "formats", multiple=True, metavar="NAME",
              help="onnx, tensorrt, tensorrt-rtx, openvino or pytorch; may be repeated  [default: onnx and, where a "
              "TensorRT builder is installed, a plan].")  # fmt: skip
@click.option("--fp32", "precisions", flag_value="fp32", multiple=True, help="Single precision.")
@click.option("--fp16", "precisions", flag_value="fp16", multiple=True, help="Half precision weights and arithmetic.")
@click.option(
    "--bf16", "precisions", flag_value="bf16", multiple=True, help="bfloat16 weights and arithmetic (plans, OpenVINO)."
)
@click.option(
    "--int8", "precisions", flag_value="int8", multiple=True, help="Static quantisation, calibrated on training images."
)
@click.option("-o", "--output", type=click.Path(path_type=Path), default=None,
              help="Name the engine file (one precision); its suffix chooses the format.")  # fmt: skip
@click.option("--batches", type=(click.IntRange(1), click.IntRange(1), click.IntRange(1)), default=(1, 32, 128),
              show_default=True, metavar="MIN OPT MAX", help="Plans: batches of the optimisation profile.")  # fmt: skip
@click.option("--version-compatible", is_flag=True, help="Plans: readable by newer TensorRT versions.")
@click.option("--hardware-compatible", is_flag=True, help="Plans: runnable on other GPUs than the builder's.")
@click.option(
    "--timing-cache", type=click.Path(path_type=Path), default=None, help="Plans: file of kernel timings to reuse."
)
@click.option(
    "--workspace", type=click.IntRange(1), default=None, metavar="MIB", help="Plans: scratch memory of the builder."
)
@click.option("--rebuilds", type=click.IntRange(1), default=1, show_default=True, metavar="K",
              help="Build each engine K times and note how many files and answers differ.")  # fmt: skip
@threads_option
def export(
    run: Path, formats: tuple[str, ...], precisions: tuple[str, ...], output: Path | None, batches: tuple[int, int, int],
    version_compatible: bool, hardware_compatible: bool, timing_cache: Path | None, workspace: int | None,
    rebuilds: int, threads: int | None,
) -> None:  # fmt: skip
    """Compile a run to engine files (default: the newest run, in fp32), prove their precision and measure their parity.

    \b
    Examples:
      skinaudit export --fp16
      skinaudit export runs/hardened --fp32 --fp16 --int8
      skinaudit export runs/hardened --format openvino --int8
      skinaudit export runs/hardened --fp16 -o engine.plan
    """
    from skinaudit.export.build import BuildOptions
    from skinaudit.export.export import export_run
    from skinaudit.export.formats import default_formats, format_of

    chosen = formats or (default_formats() if output is None else (format_of(output),))
    options = BuildOptions(
        version_compatible=version_compatible, hardware_compatible=hardware_compatible, timing_cache=timing_cache,
        workspace=workspace, batches=batches, rebuilds=rebuilds,
    )  # fmt: skip
    refused: list[SkinauditError] = []
    with _bars() as bar:
        bar("exporting")
        written = export_run(
            run, precisions=precisions or ("fp32",), formats=chosen, output=output, options=options,
            threads=_threads(threads), progress=_note, refused=refused.append,
        )  # fmt: skip
    for exported in written:
        parity, found = exported.manifest.parity, exported.manifest.found
        again = parity.get("rebuilds")
        layers = ", ".join(f"{name} {count}" for name, count in found.items())
        click.echo(
            f"{exported.path}  {exported.size / 1e6:.2f} MB  layers: {layers}  "
            f"agreement {parity['agreement']:.2%}, largest logit difference {parity['max_abs']:.2g}"
            + (f" ({parity['measured_on']})" if parity.get("measured_on", "the engine") != "the engine" else "")
            + (f"  {again['builds']} builds: {again['files']} files" if again else "")
            + ("" if not again or again["flips"] is None else f", {again['flips']} flips")
        )
    *first, last = dict.fromkeys(map(str, refused)) or [""]  # formats of one graph fail in the same words
    for message in first:
        _note(f"skinaudit: {message}")
    if last:
        _stop(last, code=2)


@commands.command(short_help="Are ENGINES as robust as their model?")
@click.argument("engines", metavar="ENGINE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--sets", type=click.Path(path_type=Path), default=None, help="Folder of sets instead of those of the engine's run."
)
@click.option("--contract", type=click.Path(path_type=Path), default=None, metavar="FILE.toml",
              help="What an engine of another tool takes and answers; `skinaudit contract ENGINE` drafts it.")  # fmt: skip
@click.option("--control", type=click.Path(path_type=Path), default=None, metavar="ENGINE",
              help="Another engine of the run as the reference, such as its .pt2  [default: fp32.onnx].")  # fmt: skip
@click.option("--runtime", default=None, metavar="NAME",
              help="onnxruntime, openvino, pytorch, tensorrt or tensorrt-rtx  [default: by the manifest].")  # fmt: skip
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
@click.option("--probe", "probe_names", multiple=True, metavar="NAME", shell_complete=shells.probe_names,
              help="Attack the engine afresh: square or spsa by its answers alone, whitebox or disagree by its run's "
              "gradients too; may be repeated.")  # fmt: skip
@click.option("--probe-images", type=click.IntRange(1), default=200, show_default=True,
              help="Clean images that a probe attacks, chosen by the seed.")  # fmt: skip
@click.option("--probe-queries", type=click.IntRange(2), default=500, show_default=True, help="Queries an image.")
@click.option("--probe-eps", default=None, metavar="8/255", help="Radius of the probes  [default: that of the sets].")
@click.option("--probe-norm", type=click.Choice(["linf", "l2"]), default="linf", help="Norm of --probe-eps.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the probes.")
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
@provider_option
@threads_option
def audit(
    engines: tuple[Path, ...],
    sets: Path | None,
    contract: Path | None,
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
    seed: int,
    batch: int,
    as_json: bool,
    output: Path | None,
    jobs: int | None,
    report_texts: tuple[str, ...],
    provider: Any,
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
      skinaudit audit engine.plan --emulate
      skinaudit audit int8.onnx --policy policy.toml --probe square
      skinaudit audit release-2.onnx --baseline release-1.json
      skinaudit audit new.onnx --baseline old.json --baseline-own-sets --probe square
      skinaudit audit engine.onnx --report junit=audit.xml --report sarif=audit.sarif
      skinaudit audit runs/hardened/engines/* --report 'junit=reports/{engine}.xml'
      skinaudit audit other.tflite --contract other.toml --sets runs/hardened/sets
    """
    from dataclasses import replace

    from skinaudit.artifacts.threat_model import ThreatModel, parse_eps
    from skinaudit.audit.audit import audit_engine
    from skinaudit.audit.evidence.probing import plan_probes
    from skinaudit.audit.judgement.policy import DEFAULT, read_policy
    from skinaudit.audit.judgement.verdict import exit_code
    from skinaudit.audit.reports.parts.targets import plan_reports
    from skinaudit.audit.reports.terminal import print_audit

    bounds = DEFAULT if policy is None else read_policy(policy)
    bounds = bounds if margin is None else replace(bounds, margin=margin)
    threat_model = None if probe_eps is None else ThreatModel(probe_norm, parse_eps(probe_eps))
    probes = plan_probes(
        probe_names, threat_model=threat_model, images=probe_images, queries=probe_queries, seed=seed,
        others=_source_probes(engines, probe_names),
    )  # fmt: skip
    settings: dict[str, Any] = {
        "sets": sets, "contract": contract, "control": control, "runtime": runtime, "emulate": emulate, "policy": bounds,
        "provider": provider, "batch_size": batch, "probes": probes, "baseline": baseline,
        "baseline_own_sets": baseline_own_sets,
    }  # fmt: skip
    planned: dict[str, Any] = {"output": output, "report_texts": report_texts, "emulate": emulate, "baseline": baseline}
    if len(engines) > 1:
        _audit_several(engines, settings, planned, jobs=jobs, threads=threads, as_json=as_json)
    (plan,) = plan_reports(engines, **planned)
    if as_json and any(one.path is None for one in plan.targets):
        raise InvalidInputError("--json: a --report goes to standard output already; leave one of them out")
    with _bars() as bar:
        result = audit_engine(
            plan.engine, **settings, threads=_threads(threads), progress=bar("replaying"), probe_progress=bar
        )  # fmt: skip
    printed = plan.write(result)
    if as_json:
        click.echo(plan.report.read_text(encoding="utf-8"), nl=False)
    elif printed is not None:
        click.echo(printed, nl=False)
    else:
        print_audit(result, _console())
        click.echo(f"report: {plan.report}")
    sys.exit(exit_code(result.verdict))


def _audit_several(
    given: tuple[Path, ...], settings: dict[str, Any], planned: dict[str, Any],
    *, jobs: int | None, threads: int | None, as_json: bool,
) -> NoReturn:  # fmt: skip
    """The engines among the given files in processes of their own, as one table."""
    from skinaudit.audit.reports.lineup.terminal import print_lineup
    from skinaudit.audit.reports.parts.lineup import line_up, worst_exit_code
    from skinaudit.audit.reports.parts.targets import plan_reports
    from skinaudit.audit.several import audit_several, share_cores, sort_files

    engines, others = sort_files(given)
    for path, reason in others:
        _note(f"skipped {path}: {reason}")
    if not engines:
        raise InvalidInputError(f"none of the {len(given)} files is an engine; name engines such as runs/latest/engines/*")
    plans = {plan.engine: plan for plan in plan_reports(engines, **planned)}
    jobs, threads = share_cores(len(engines), cores=_threads(None), jobs=jobs, threads=threads)
    done = 0

    def finished(engine: Path, answer: Any) -> None:
        nonlocal done
        done += 1
        if isinstance(answer, str):
            _note(f"{done} of {len(engines)}  {engine.name}  ERROR  {answer}")
        else:
            plans[engine].write(answer)
            _note(f"{done} of {len(engines)}  {engine.name}  {answer.verdict.value}  {plans[engine].report}")

    with _bars() as bar:
        answers = audit_several(
            engines, {**settings, "threads": threads}, jobs=jobs, finished=finished, progress=bar
        )  # fmt: skip
    lineup = line_up(list(zip(engines, answers, strict=True)))
    if as_json:
        click.echo(reports.render("json", lineup, "lineup"), nl=False)
    else:
        print_lineup(lineup, _console())
    sys.exit(worst_exit_code(lineup))


@commands.command(short_help="Set audits beside each other.")
@click.argument("audits", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@report_option("lineup")
def compare(audits: tuple[Path, ...], as_json: bool, report_texts: tuple[str, ...]) -> None:
    """Set the JSON reports AUDITS beside each other, in the given order: engines of a release, or releases of an engine.

    A figure on other images than those of the first report is marked. Exit codes: 0 whatever the verdicts; 2 where a file is
    no report of this version.

    \b
    Examples:
      skinaudit compare runs/latest/audits/*.json
      skinaudit compare release-1.json release-2.json --report markdown=-
    """
    from skinaudit.audit.judgement.reading import read_audit
    from skinaudit.audit.reports.lineup.terminal import print_lineup
    from skinaudit.audit.reports.parts.lineup import line_up
    from skinaudit.audit.reports.parts.targets import parse_targets, write_targets

    targets = parse_targets(report_texts, taken=audits, kind="lineup")
    if as_json and any(one.path is None for one in targets):
        raise InvalidInputError("--json: a --report goes to standard output already; leave one of them out")
    lineup = line_up([(path, read_audit(path)) for path in audits])
    printed = write_targets(targets, lineup, "lineup")
    if as_json:
        click.echo(reports.render("json", lineup, "lineup"), nl=False)
    elif printed is not None:
        click.echo(printed, nl=False)
    elif not targets:
        print_lineup(lineup, _console())


@commands.command(short_help="Print the default policy file.")
def policy() -> None:
    """Print a policy file that says what `skinaudit audit` does without one, with a comment to every bound.

    \b
    Example:
      skinaudit policy > policy.toml
    """
    from skinaudit.audit.judgement.policy import DEFAULT_TEXT

    click.echo(DEFAULT_TEXT, nl=False)


@commands.command(short_help="Show an earlier audit in other forms.")
@click.argument("audit", type=click.Path(path_type=Path))
@json_option
@report_option("audit")
def report(audit: Path, as_json: bool, report_texts: tuple[str, ...]) -> None:
    """Show the JSON report AUDIT of an earlier audit in other forms, without its engine  [default: the tables].

    Exit codes: 0 once every report is written, whatever the verdict; 2 where AUDIT is no report of this version.

    \b
    Examples:
      skinaudit report runs/latest/audits/fp16.onnx.json
      skinaudit report audit.json --report html=audit.html --report markdown=-
    """
    from skinaudit.audit.judgement.reading import read_audit
    from skinaudit.audit.reports.parts.targets import parse_targets, write_targets
    from skinaudit.audit.reports.terminal import print_audit

    targets = parse_targets((*report_texts, "json=-") if as_json else report_texts, taken=(audit,))
    result = read_audit(audit)
    printed = write_targets(targets, result)
    if printed is not None:
        click.echo(printed, nl=False)
    elif not targets:
        print_audit(result, _console())


@commands.command(short_help="Draft the contract of a foreign engine.")
@click.argument("engine", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), default=None, help="Write it there  [default: print it].")
@click.option("--force", is_flag=True, help="Overwrite the output.")
def contract(engine: Path, output: Path | None, force: bool) -> None:
    """Draft the contract of an ENGINE that skinaudit did not build, from what the file says of itself.

    What the file cannot prove is marked CHECK: a person has to.

    \b
    Example:
      skinaudit contract other.tflite -o other.toml
    """
    from skinaudit.artifacts.engine_contract import write_toml
    from skinaudit.artifacts.files import write_bytes
    from skinaudit.engines.draft import draft_contract

    if output is not None and output.exists() and not force:
        raise InvalidInputError(f"{output}: exists already; choose another --output or add --force")
    drafted, notes = draft_contract(engine)
    text = write_toml(drafted, notes=notes)
    if output is None:
        click.echo(text, nl=False)
    else:
        write_bytes(output, text.encode())
        click.echo(f"{output}: {len(notes)} entries to check")


@commands.command(short_help="Say which runtimes are here.")
@json_option
def doctor(as_json: bool) -> None:
    """Say which runtimes are here, in which version, on which devices, and what each can build and run.

    \b
    Example:
      skinaudit doctor
    """
    import json
    from dataclasses import asdict

    from skinaudit.audit.reports.terminal import print_doctor
    from skinaudit.engines.doctor import examine

    reports = examine()
    if as_json:
        click.echo(json.dumps([asdict(one) for one in reports], indent=2))
    else:
        print_doctor(reports, _console())


@commands.command(short_help="Print the transfer matrix of runs.")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--attack", "attack_name", default=None, help="Which of the runs' sets  [default: their PGD set].")
@json_option
@provider_option
@threads_option
def transfer(runs: tuple[Path, ...], attack_name: str | None, as_json: bool, provider: Any, threads: int | None) -> None:
    """Print the transfer matrix: the sets of each RUN replayed on the fp32 engine of each RUN.

    \b
    Example:
      skinaudit transfer runs/standard runs/hardened
    """
    import json

    from skinaudit.audit.reports.json_ import to_json
    from skinaudit.audit.reports.terminal import print_transfer
    from skinaudit.audit.transfer import transfer_matrix

    with _bars() as bar:
        matrix = transfer_matrix(
            runs, attack=attack_name, provider=provider, threads=_threads(threads), progress=bar("replaying")
        )
    if as_json:
        click.echo(json.dumps(to_json(matrix), indent=2))
    else:
        print_transfer(matrix, _console())


@commands.command(short_help="All of it on synthetic images.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=RUNS / "demo", show_default=True, help="Folder of the demo's runs."
)
@click.option("--seed", type=int, default=0, show_default=True)
@json_option
@threads_option
def demo(out: Path, seed: int, as_json: bool, threads: int | None) -> None:
    """Train, harden, attack, export and audit on the embedded synthetic images, in minutes, on a CPU.

    \b
    Example:
      skinaudit demo --out runs/demo
    """
    import json

    from skinaudit.audit.reports.json_ import to_json
    from skinaudit.demo import run_demo

    console = _console(stderr=as_json)
    with _bars() as bar:
        audits = run_demo(out, seed=seed, threads=_threads(threads), console=console, report=_reporter(bar))
    if as_json:
        click.echo(json.dumps([to_json(one) for one in audits], indent=2))


@commands.command(short_help="Write the model card of a run.")
@click.argument("run", type=click.Path(path_type=Path), default=LATEST)
@click.option("-o", "--output", type=click.Path(path_type=Path), default=None, help="Write it there  [default: print it].")
@click.option("--force", is_flag=True, help="Overwrite the output.")
@click.option("--license", "licence", default=None, metavar="ID",
              help="The Hub's identifier, such as cc-by-nc-4.0  [default: a comment that asks for one].")  # fmt: skip
@click.option("--dataset", default=None, metavar="ID", help="The Hub's identifier of the data  [default: from their title].")
@click.option("--audits", type=click.Path(path_type=Path), default=None, metavar="DIR",
              help="JSON reports of the run's engines  [default: the run's audits folder].")  # fmt: skip
def card(
    run: Path, output: Path | None, force: bool, licence: str | None, dataset: str | None, audits: Path | None
) -> None:  # fmt: skip
    """Write the model card of a RUN: use and limits, data, training, clean and robust figures, its engines' audits.

    Markdown with the metadata block of the Hugging Face Hub. What it leaves out, and why, is in the card and on stderr.

    \b
    Example:
      skinaudit card runs/hardened --license cc-by-nc-4.0 -o README.md
    """
    from skinaudit.artifacts.files import write_bytes
    from skinaudit.publish.card.model_card import model_card
    from skinaudit.publish.run_record import read_run_record

    if output is not None and output.exists() and not force:
        raise InvalidInputError(f"{output}: exists already; choose another --output or add --force")
    record = read_run_record(run, audits=audits)
    text = model_card(record, licence=licence, dataset=dataset)
    for name, reason in record.left_out.items():
        _note(f"left out: {name}: {reason}")
    if output is None:
        click.echo(text, nl=False)
    else:
        write_bytes(output, text.encode())
        click.echo(f"{output}: {len(record.sets)} sets, {len(record.audits)} audits, {len(record.left_out)} left out")


@commands.command(short_help="Log runs and audits to MLflow.")
@click.argument("paths", nargs=-1, required=True, metavar="RUN|AUDIT.json ...", type=click.Path(path_type=Path))
@click.option("--tracking-uri", default=None, metavar="URI",
              help="MLflow's store  [default: $MLFLOW_TRACKING_URI, else what MLflow chooses].")  # fmt: skip
@click.option("--experiment", default="skinaudit", show_default=True, metavar="NAME", help="Made where it is not there yet.")
def track(paths: tuple[Path, ...], tracking_uri: str | None, experiment: str) -> None:
    """Log runs and JSON reports of audits to MLflow: settings, epochs, figures, verdicts, reports; no image, no weights.

    An audit hangs under the run of its weights. What is there already is not logged twice. Exit codes: 0 once all is
    there, whatever the verdicts; 2 where a file or the store cannot be used.

    \b
    Examples:
      skinaudit track runs/hardened runs/hardened/audits/*.json
      skinaudit track audit.json --tracking-uri https://mlflow.example.org --experiment lesions
    """
    from skinaudit.publish.run_record import read_filed_audit, read_run_record
    from skinaudit.publish.tracking.entries import audit_entry, run_entry
    from skinaudit.publish.tracking.to_mlflow import log_entries

    entries = [
        run_entry(read_run_record(path)) if path.is_dir() else audit_entry(read_filed_audit(path)) for path in paths
    ]  # fmt: skip
    where, logged = log_entries(entries, uri=tracking_uri, experiment=experiment)
    for one in logged:
        under = "" if one.parent is None else f", under {one.parent}"
        click.echo(f"{one.state:<10} {one.entry.kind:<6} {one.entry.name}  {one.run_id}{under}")
        for name, reason in one.entry.left_out.items():
            _note(f"left out: {one.entry.name}: {name}: {reason}")
    click.echo(f"store: {where}  experiment: {experiment}")


@commands.command(short_help="Print a shell's completion script.")
@click.argument("shell", type=click.Choice(shells.SHELLS))
def completion(shell: str) -> None:
    """Print what makes SHELL complete commands, options, files, report formats and probes.

    \b
    Examples:
      eval "$(skinaudit completion bash)"            in ~/.bashrc
      eval "$(skinaudit completion zsh)"             in ~/.zshrc, behind compinit
      skinaudit completion fish > ~/.config/fish/completions/skinaudit.fish
    """
    click.echo(shells.script(commands, shell, name="skinaudit"), nl=False)


def _source_probes(engines: tuple[Path, ...], chosen: tuple[str, ...]) -> dict[str, Any]:
    """Those of the chosen probes that follow the gradients of the engine's source model, which needs torch and the run."""
    from skinaudit.audit.evidence.probes import names

    own = [name for name in chosen if name not in names()]
    if not own:
        return {}
    if len(engines) > 1:
        raise InvalidInputError(f"probe {', '.join(own)}: follows the model of one run; audit one engine at a time")
    (engine,) = engines
    from skinaudit.artifacts.manifest import read_engine_manifest
    from skinaudit.errors import missing

    run = engine.parent / read_engine_manifest(engine).run
    try:
        from skinaudit.trainer import probes
        from skinaudit.trainer.checkpoint import load_run_model
    except ImportError as error:
        raise missing("torch", "train", f"probe {', '.join(own)}") from error
    model = load_run_model(run)
    return {name: probes.load(name, model) for name in chosen if name in probes.names()}


def _stop(message: str, *, code: int) -> None:
    click.echo(f"skinaudit: {message}", err=True)
    sys.exit(code)


def _note(text: str) -> None:
    click.echo(text, err=True)


def _reporter(bar: Callable[[str], Progress | None]) -> Reporter:
    """What a training has to tell, as lines and bars on stderr."""
    from skinaudit.trainer.train import Reporter

    return Reporter(
        say=_note,
        data=lambda summary: _note("\n".join(summary.lines())),
        epoch=lambda record: _note(_epoch_line(record)),
        progress=bar,
    )


def _console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(highlight=False, stderr=stderr)


@contextmanager
def _bars() -> Iterator[Callable[[str], Progress | None]]:
    """Progress bars on stderr with rate and time left; nothing at all where stderr is not a terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    class Rate(ProgressColumn):
        def render(self, task: Any) -> str:
            return f"{task.speed:,.0f} images/s" if task.speed else ""

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:

        def bar(title: str) -> Progress:
            task = bars.add_task(title, total=None)
            return lambda done, total: bars.update(task, completed=done, total=total, visible=done < total)

        yield bar


def _figures_row(first: str, *figures: float | str | None) -> None:
    """A line of a table: shares of 1 as percentages."""
    cells = (one if isinstance(one, str) else "-" if one is None else f"{one:.1%}" for one in figures)
    click.echo(f"{first:<18}" + "".join(f"{cell:>10}" for cell in cells))


def _epoch_line(epoch: dict[str, Any]) -> str:
    line = f"epoch {epoch['epoch']:>3}  loss {epoch['loss']:.3f}"
    line += f"  validation {epoch['val_accuracy']:.1%} (balanced {epoch['val_balanced_accuracy']:.1%})"
    if "val_robust_accuracy" in epoch:
        line += f"  PGD {epoch['val_robust_accuracy']:.1%} (balanced {epoch['val_robust_balanced_accuracy']:.1%})"
    return line + f"  {epoch['images_per_second']:,.0f} images/s" + ("  best" if epoch["best"] else "")


def _threads(given: int | None) -> int:
    if given is not None:
        return given
    # A container or a batch system may grant fewer cores than the machine has.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _free_folder(stem: str) -> Path:
    """runs/STEM, numbered where that run is finished already: an unfinished one is the next to go on with."""
    candidates = (RUNS / (stem if number == 1 else f"{stem}-{number}") for number in range(1, 10_000))
    for folder in candidates:
        if not RunFolder(folder).manifest.exists():
            return folder
    raise InvalidInputError(f"{RUNS}: ten thousand runs named {stem}; name one with --out")


def _point_latest(run: Path) -> None:
    """Make runs/latest a link to this run, atomically."""
    RUNS.mkdir(exist_ok=True)
    temporary = RUNS / f".latest-{os.getpid()}"
    temporary.symlink_to(os.path.relpath(run, RUNS))
    temporary.replace(LATEST)


if __name__ == "__main__":
    main()
