"""`skinaudit train` and `skinaudit attack`: from images to a run and its adversarial sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from skinaudit.commands import library
from skinaudit.commands.grouped_help import GroupedCommand
from skinaudit.commands.library.run_folders import LATEST
from skinaudit.commands.names import attack_names, hardening_names, listed, names_in
from skinaudit.commands.screen import bars, note, reporter, say, say_table
from skinaudit.commands.shared_options import json_option, seed_option, threads_option
from skinaudit.errors import counted

if TYPE_CHECKING:
    from skinaudit.artifacts.adversarial_set import AdversarialSet
    from skinaudit.artifacts.manifest import RunManifest


_SECTIONS = {
    "Data": ("--data", "--classes", "--split", "--images", "--size", "--skip-bad"),
    "Model": ("--arch", "--width", "--head", "--threshold", "--weights", "--for-int8", "--calibrate", "--specificity"),
    "Attacks and hardening": (
        "--hardening", "--eps", "--norm", "--attack", "--hardening-eps", "--class-eps", "--steps", "--awp", "--warm-up",
        "--ramp", "--clean-share", "--attack-batch-norm",
    ),
    "Recipe": (
        "--recipe", "--epochs", "--batch", "--learning-rate", "--class-weighting", "--class-cost", "--logit-adjustment",
        "--label-smoothing", "--averaging", "--swa", "--augment",
    ),
    "Run": ("--out", "--resume", "--seed", "--precision", "--compile", "--cuda-graphs", "--threads", "--json"),
}  # fmt: skip
"""Sections of the help of `train`, with their options."""
_ATTACK_SECTIONS = {
    "Attack": ("--attack", "--eps", "--norm", "--steps", "--restarts", "--targeted", "--against"),
    "Other images": ("--data", "--classes", "--name", "--skip-bad"),
    "How it runs": ("--seed", "--threads"),
}
"""The same for `attack`."""
_NORM_HELP = "Norm of the radius: linf bounds each pixel, l2 the whole image."


@click.command(cls=GroupedCommand, sections=_SECTIONS, short_help="Train a classifier and write its adversarial sets.")
@click.option("--data", default="synthetic", show_default=True, metavar="DIR|FILE|synthetic",
              help=f"Folder with the table of an archive ({listed(names_in('trainer/data/archives'))}), the table, folders "
              "named after classes, a MedMNIST file, or the embedded synthetic images.")  # fmt: skip
@click.option("--classes", type=click.Path(path_type=Path), default=None, metavar="FILE.toml",
              help="File that merges, renames and orders the classes of the data, and marks the malignant "
              "ones.")  # fmt: skip
@click.option("--arch", type=click.Choice(names_in("trainer/architectures")), default="mobilenet", show_default=True,
              help="Architecture of the model.")  # fmt: skip
@click.option(
    "--width", type=click.FloatRange(0, 4, min_open=True), default=0.25, show_default=True, help="Channel multiplier."
)
@click.option(
    "--size", type=click.IntRange(32, 1024), default=64, show_default=True, help="Side of the square input, in pixels."
)
@click.option("--head", type=click.Choice(["classes", "binary"]), default="classes", show_default=True,
              help="binary: one output column for two classes, the logit of the malignant class.")  # fmt: skip
@click.option("--threshold", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.5, show_default=True,
              help="With --head binary: the malignant class is predicted above this probability.")  # fmt: skip
@click.option("--hardening", default="none", show_default=True, metavar="none|NAME[:KEY=VALUE,...]",
              help=f"Adversarial training: {listed(hardening_names())}, with its own settings, such as "
              "trades:beta=6.")  # fmt: skip
@click.option("--eps", default="4/255", show_default=True, metavar="K/255",
              help="Radius of the attacks, in hardening and in the sets, as a fraction of 255.")  # fmt: skip
@click.option("--norm", type=click.Choice(["linf", "l2"]), default="linf", show_default=True, help=_NORM_HELP)
@click.option("--attack", "attack_names", multiple=True, metavar="NAME[:KEY=VALUE,...]",
              help=f"Attack of a set that the run ends with: {listed(attack_names())}; can be repeated  [default: fgsm and "
              "pgd-dlr].")  # fmt: skip
@click.option("--hardening-eps", default=None, metavar="EPS", help="Training eps, if different from --eps.")
@click.option("--class-eps", "class_eps", multiple=True, metavar="CLASS=EPS",
              help="Training eps for the images of a class, such as mel=3/255. Can be repeated.")  # fmt: skip
@click.option("--steps", type=click.IntRange(1, 1_000_000), default=None,
              help="Attack steps of hardening  [default: 3; fgsm-rs and free always take 1].")  # fmt: skip
@click.option("--awp", type=click.FloatRange(0, 1), default=0.0, show_default=True, metavar="GAMMA",
              help="Adversarial weight perturbation: move weights by this share of their norm. The paper takes "
              "0.005.")  # fmt: skip
@click.option("--warm-up", type=click.FloatRange(0, 1), default=None,
              help="Share of the epochs that train on clean images before hardening begins  [default: 0.4; 0 if --weights "
              "is a run, or with --recipe paper].")  # fmt: skip
@click.option("--ramp", type=click.FloatRange(0, 1), default=None,
              help="Share of the epochs, after the warm-up, in which the training eps grows  [default: 0.2; 0 with --recipe "
              "paper].")  # fmt: skip
@click.option("--clean-share", type=click.FloatRange(0, 1, max_open=True), default=None,
              help="Share of clean images in each batch of hardening  [default: 0; 0.5 with --recipe paper].")  # fmt: skip
@click.option("--attack-batch-norm", type=click.Choice(["eval", "train"]), default="eval", show_default=True,
              help="Batch norm in the attack of hardening: running statistics (eval, fast) or those of the "
              "batch.")  # fmt: skip
@click.option("--recipe", type=click.Choice(["default", "paper"]), default="default", show_default=True,
              help="default: AdamW, one cycle, class weights. paper: Huq & Pervin 2020.")  # fmt: skip
@click.option("--epochs", type=click.IntRange(1), default=None, help="Number of epochs  [default: the recipe's].")
@click.option("--batch", type=click.IntRange(2), default=None, help="Batch size  [default: the recipe's].")
@click.option("--learning-rate", type=click.FloatRange(0, 1000, min_open=True), default=None,
              help="Learning rate  [default: the recipe's].")  # fmt: skip
@click.option("--class-weighting", type=click.FloatRange(0, 1), default=None,
              help="Exponent w of the class weights n^-w, n: images of the class  [default: the recipe's].")  # fmt: skip
@click.option("--logit-adjustment", type=click.FloatRange(0, 1000), default=None, metavar="TAU",
              help="Balance classes by adding TAU times the logarithm of their shares to the logits in training; best with "
              "--class-weighting 0  [default: 0].")  # fmt: skip
@click.option("--label-smoothing", type=click.FloatRange(0, 1, max_open=True), default=None,
              help="Share of each label to spread over all classes  [default: 0].")  # fmt: skip
@click.option("--averaging", type=click.FloatRange(0, 1, max_open=True), default=None, metavar="DECAY",
              help="Decay of the moving average of the weights; 0: none  [default: the recipe's].")  # fmt: skip
@click.option("--swa", type=click.FloatRange(0, 1), default=None, metavar="SHARE",
              help="Average the weights of this last share of the training equally, instead of --averaging.")  # fmt: skip
@click.option("--augment", type=click.Choice(["none", "flips", "affine"]), default=None,
              help="flips: flips and quarter turns. affine: also any angle, zoom and shift  [default: flips; none with "
              "--recipe paper].")  # fmt: skip
@click.option("--class-cost", "class_costs", multiple=True, metavar="CLASS=NUMBER",
              help="Factor for the weight of a class that is costly to miss, such as mel=1.5. Can be repeated.")  # fmt: skip
@click.option("--split", type=click.Choice(["lesion", "paper", "official"]), default=None,
              help="lesion: no lesion or known patient in two parts. paper: random, which leaks lesions. "
              "official: the split "
              "of the data  [default: official if there is one, else lesion].")  # fmt: skip
@click.option("--weights", default=None, metavar="RUN|FILE|NAME",
              help="Start from a finished run, a weights file, or ImageNet weights of torchvision, by name.")  # fmt: skip
@click.option("--for-int8", type=click.FloatRange(0, 1), is_flag=False, flag_value=0.25, default=0.0, metavar="[SHARE]",
              help="Train the last epochs with the rounding of int8, so that int8 engines keep the answers. SHARE of the "
              "epochs  [default without it: 0.25]. 1 with --weights RUN trains a finished run for int8 alone: 4 epochs, "
              "learning rate 0.0003, no ramp, unless chosen.")  # fmt: skip
@click.option("--calibrate", is_flag=True, help="Divide the logits by a temperature, fitted on the validation images.")
@click.option("--specificity", "specificities", multiple=True, type=click.FloatRange(0, 1, min_open=True, max_open=True),
              default=(0.9,), show_default=True,
              help="Record the threshold of the malignant score that reaches this specificity "
              "on the validation images. Can be repeated.")  # fmt: skip
@click.option("--images", type=click.IntRange(140, 10_000_000), default=None, help="Number of synthetic images.")
@seed_option("Seed of all random draws.")
@click.option("--precision", type=click.Choice(["fp32", "tf32", "bf16", "bf16-attack"]), default=None,
              help="Precision of the training steps; the sets are always in fp32. bf16-attack: fp32, but hardening's "
              "attack in bf16, for CPUs with AMX  [default: tf32 on a GPU, else fp32].")  # fmt: skip
@click.option("--compile", is_flag=True, help="Compile the training step with torch.compile.")
@click.option("--cuda-graphs", is_flag=True, help="On a GPU: run the attack of hardening as one CUDA graph (linf).")
@click.option("--skip-bad", is_flag=True, help="Skip and record unreadable images instead of stopping.")
@click.option("--resume", is_flag=True, help="Continue an interrupted run after its last complete epoch.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=None,
    help="Folder of the run  [default: runs/ARCH-standard or runs/ARCH-hardened].",
)
@threads_option
@json_option
def train(
    as_json: bool,
    class_costs: tuple[str, ...],
    class_eps: tuple[str, ...],
    specificities: tuple[float, ...],
    attack_names: tuple[str, ...],
    **options: Any,
) -> None:
    """Train a classifier and write a run.

    A run is a folder with the weights, a log, learning curves, and three sets of test images: clean, FGSM and PGD.
    Without --data the training uses embedded synthetic images.

    \b
    Examples:
      skinaudit train
      skinaudit train --hardening pgd --eps 4/255 --out runs/hardened
      skinaudit train --data HAM10000/ --width 0.5 --hardening pgd --eps 2/255
      skinaudit train --data HAM10000/ --hardening trades:beta=6 --eps 2/255
      skinaudit train --data HAM10000/ --hardening pgd --weights runs/standard
    """
    import json

    with bars() as bar:
        trained = library.train(
            class_cost=class_costs,
            class_eps=class_eps,
            attack=attack_names,
            specificity=specificities,
            report=reporter(bar),
            **options,
        )
    manifest = trained.manifest
    if not trained.first:
        return
    if as_json:
        facts = {
            "run": trained.folder.as_posix(), "synthetic": manifest.synthetic, "data": manifest.data,
            "results": manifest.results, "weaknesses": manifest.training["weaknesses"],
        }  # fmt: skip
        click.echo(json.dumps(facts, indent=2))
        return
    if manifest.synthetic:
        click.echo("SYNTHETIC images: these figures say nothing about patients")
    say_table(figures_table(manifest))
    say(f"run: {trained.folder}")
    for weakness in manifest.training["weaknesses"]:
        say(f"WARNING: {weakness}")


@click.command(cls=GroupedCommand, sections=_ATTACK_SECTIONS, short_help="Write more adversarial sets for a run.")
@click.argument("run", type=click.Path(path_type=Path), default=LATEST)
@click.option("--attack", "attack_names", multiple=True, metavar="NAME[:KEY=VALUE,...]",
              help=f"{listed(attack_names())}, with its own settings; can be repeated  "
              "[default with --data: fgsm and pgd-dlr].")  # fmt: skip
@click.option("--data", default=None, metavar="DIR|FILE.npz|synthetic",
              help="Use these images instead of the run's own test images, in any form that `skinaudit train` "
              "accepts.")  # fmt: skip
@click.option("--name", default=None, metavar="NAME",
              help="Name for the images of --data, such as hospital-b  [default: from --data].")  # fmt: skip
@click.option("--classes", type=click.Path(path_type=Path), default=None, metavar="FILE.toml",
              help="How the classes of --data become those of the run, as for `skinaudit train`.")  # fmt: skip
@click.option("--skip-bad", is_flag=True, help="Skip unreadable images of --data instead of stopping.")
@click.option(
    "--eps", default=None, metavar="K/255", help="Radius of the attack, such as 4/255  [default: that of the run's sets]."
)
@click.option("--norm", type=click.Choice(["linf", "l2"]), default="linf", show_default=True, help=_NORM_HELP)
@click.option("--steps", type=click.IntRange(1, 1_000_000), default=None, help="Number of steps  [default: the attack's].")
@click.option(
    "--restarts", type=click.IntRange(1, 1_000_000), default=None, help="Number of restarts  [default: the attack's]."
)
@click.option("--targeted", is_flag=True, help="Targeted attack: aim each image at a random wrong class.")
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="RUN",
    help="Craft the sets on the model of this run instead (transfer attack). If repeated, on the mean logits of all.",
)
@seed_option("Seed of all random draws.")
@threads_option
def attack(run: Path, attack_names: tuple[str, ...], **options: Any) -> None:
    """Write more adversarial sets from the test images of a run, or clean and adversarial sets from other images.

    With --data, the sets are written to RUN/external/NAME. Images that belong to the run are left out. The sets are
    white-box for the engines of the run. To use them: skinaudit audit ENGINE --sets RUN/external/NAME.

    \b
    Examples:
      skinaudit attack runs/hardened --attack pgd --eps 8/255 --restarts 5
      skinaudit attack runs/hardened --attack pgd --norm l2 --eps 128/255
      skinaudit attack runs/hardened --attack autoattack --attack mi-fgsm:steps=20
      skinaudit attack runs/hardened --data HospitalB/ --name hospital-b
    """
    with bars() as bar:
        written = library.attack(run, attack=attack_names, progress=bar, remark=note, **options)
    _say_summary(written.sets, written.clean)
    for reason, count in written.left_out.items():
        say(f"left out: {count:,} {reason}")
    if options["data"] is not None:
        say(f"skinaudit audit {quote(str(run))}/engines/ENGINE --sets {quote(str(written.folder))}")


def _say_summary(written: Sequence[AdversarialSet], clean: AdversarialSet) -> None:
    """Print a line about each set, and its weaknesses."""
    from skinaudit.trainer.attack_remarks import attack_remarks

    for opened in written:
        correct = float((opened.source_logits.argmax(1) == opened.labels).mean())
        say(f"{opened.path}  {opened.info.title}  {counted(len(opened), 'image')}, source accuracy {correct:.1%}")
    for remark in (remark for opened in written if opened.info.threat_model for remark in attack_remarks(opened, clean)):
        say(f"WARNING: {remark}")


def figures_table(manifest: RunManifest) -> list[tuple[str, ...]]:
    """Rows of a table: the model on each set, and a constant answer.

    The last column is about the first malignant class. It is left out if no class is malignant, or if no test image shows
    it.
    """
    from skinaudit.artifacts.contract import short_title

    answer, counts = manifest.data["majority_class"], manifest.data["counts"]
    first = next((name for name in manifest.contract.malignant if counts[name]["test"]), None)
    present = sum(count["test"] > 0 for count in counts.values())
    always = {
        "accuracy": manifest.data["majority_share"],
        "balanced_accuracy": 1 / present,
        f"sensitivity_{first}": float(answer == first),
    }
    keys = ["accuracy", "balanced_accuracy", *([] if first is None else [f"sensitivity_{first}"])]
    heads = ["accuracy", "balanced", *([] if first is None else [f"sensitivity to {short_title(first)}"])]
    named = {**manifest.results, f"always {answer}": always}
    rows = (tuple(f"{figures[key]:.1%}" for key in keys) for figures in named.values())
    return [("test set", *heads), *((name, *row) for name, row in zip(named, rows, strict=True))]
