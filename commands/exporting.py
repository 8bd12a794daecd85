"""`skinaudit export`: from a run to engine files."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from skinaudit.artifacts.outside import real
from skinaudit.artifacts.precisions import KINDS
from skinaudit.commands import library
from skinaudit.commands.grouped_help import GroupedCommand
from skinaudit.commands.library.run_folders import LATEST
from skinaudit.commands.screen import bars, note, say, step
from skinaudit.commands.shared_options import threads_option
from skinaudit.errors import SkinauditError

if TYPE_CHECKING:
    from skinaudit.export.run_build import Exported

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _precision_options(command: _Command) -> _Command:
    """One flag per precision, in the order of their table."""
    for name, kind in reversed(list(KINDS.items())):
        command = click.option(f"--{name}", "precisions", flag_value=name, multiple=True, help=kind.help)(command)
    return command


_SECTIONS = {
    "Format and precision": ("--format", *(f"--{name}" for name in KINDS), "--output", "--rebuilds", "--threads"),
    "Plans": (
        "--batches", "--target", "--version-compatible", "--hardware-compatible", "--refit", "--strip", "--timing-cache",
        "--workspace",
    ),
    "Compiled packages": ("--provider",),
}  # fmt: skip
"""Sections of the help, with their options."""


@click.command(cls=GroupedCommand, sections=_SECTIONS, short_help="Export a run to engine files.")
@click.argument("run", type=click.Path(path_type=Path), default=LATEST)
@click.option("--format", "formats", multiple=True, metavar="NAME",
              help="onnx, tensorrt, tensorrt-rtx, openvino, pytorch or aotinductor; can be repeated  [default: onnx, and a "
              "plan if a TensorRT builder is installed].")  # fmt: skip
@_precision_options
@click.option("-o", "--output", type=click.Path(path_type=Path), default=None,
              help="File of the engine (one precision only). Its suffix selects the format.")  # fmt: skip
@click.option("--provider", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True,
              help="aotinductor only: the device to compile for.")  # fmt: skip
@click.option("--batches", type=(click.IntRange(1, 65_536),) * 3, default=(1, 32, 128),
              show_default=True, metavar="MIN OPT MAX", help="Plans: batch sizes of the optimisation profile.")  # fmt: skip
@click.option("--target", "targets", multiple=True, metavar="SM",
              help="TensorRT-RTX plans: compute capability of the target GPU, such as 8.6; can be repeated  "
              "[default: the library's choice].")  # fmt: skip
@click.option("--version-compatible", is_flag=True,
              help="Plans: newer TensorRT versions can read them. Such plans contain program code, so opening them needs "
              "--allow-code.")  # fmt: skip
@click.option("--hardware-compatible", is_flag=True, help="Plans: can also run on GPUs of other models.")
@click.option("--refit", is_flag=True, help="Plans: weights can be replaced later, if the builder supports it.")
@click.option(
    "--strip", is_flag=True, help="Plans: leave out the weights. The application must add them before it runs the plan."
)
@click.option(
    "--timing-cache", type=click.Path(path_type=Path), default=None, help="Plans: file of kernel timings to reuse."
)
@click.option(
    "--workspace",
    type=click.IntRange(1, 10_000_000),
    default=None,
    metavar="MIB",
    help="Plans: scratch memory of the builder.",
)
@click.option("--rebuilds", type=click.IntRange(1), default=1, show_default=True, metavar="K",
              help="Build each engine K times and record how many files and predictions differ.")  # fmt: skip
@threads_option
def export(
    run: Path, formats: tuple[str, ...], precisions: tuple[str, ...], targets: tuple[str, ...], **options: Any
) -> None:
    """Export a run to engine files, prove their precision, and compare them with the source model.

    Default: the newest run, in fp32.

    \b
    Examples:
      skinaudit export --fp16
      skinaudit export runs/hardened --fp32 --fp16 --int8
      skinaudit export runs/hardened --format openvino --int8
      skinaudit export runs/hardened --fp16 -o engine.plan
    """
    from skinaudit.artifacts.outside import lies_in

    refused: list[SkinauditError] = []
    with bars() as bar:
        bar("exporting")
        written = library.export(
            run, precision=precisions or ("fp32",), format=formats, target=targets, progress=step, refused=refused.append,
            remark=note, **options,
        )  # fmt: skip
    for exported in written:
        say(_line(exported))
        if not (lies_in(run, exported.path.parent) or lies_in(exported.path.parent, run)):
            note(f"{exported.path}: this file is outside of its run; audit it with --run {run}")
    for path, purpose in _other_files(written).items():
        say(f"{path}  {purpose}")
    *earlier_errors, last_error = {str(error): error for error in refused}.values() or [
        None
    ]  # formats of the same graph fail with the same words
    for error in earlier_errors:
        note(f"skinaudit: {error}")
    if last_error is not None:
        raise last_error


def _line(exported: Exported) -> str:
    """A line about an engine: its size, precision and parity."""
    parity = exported.manifest.parity
    layers = ", ".join(f"{count} {name}" for name, count in exported.manifest.found.items())
    parts = [
        f"{exported.path}  {exported.size / 1e6:.2f} MB",
        f"layers: {layers}",
        f"agreement {parity['agreement']:.2%}, largest logit difference {parity['max_abs']:.2g}",
    ]
    measured_on = parity.get("measured_on", "the engine")
    if measured_on != "the engine":
        parts[-1] += f" (measured on {measured_on})"
    again = parity.get("rebuilds")
    if again:
        parts.append(f"{again['builds']} builds: {again['files']} files")
        parts[-1] += "" if again["flips"] is None else f", {again['flips']} flips"
    return "  ".join(parts)


def _other_files(written: Sequence[Exported]) -> dict[Path, str]:
    """Files from which these engines were made, with their purpose. They are beside the engines and can be audited too."""
    listed = {real(exported.path) for exported in written}
    purpose_of: dict[Path, str] = {}
    for exported in written:
        manifest, folder = exported.manifest, exported.path.parent
        files = {manifest.reference: "reference that every engine is compared with"}
        if manifest.graph is not None:
            files.setdefault(manifest.graph, f"graph that {exported.path.name} was built from")
        for file, purpose in files.items():
            path = Path(os.path.normpath(folder / file.file))
            if real(path) not in listed:
                purpose_of.setdefault(path, purpose)
    return purpose_of
