"""`skinaudit export`: from a run to engine files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from skinaudit.artifacts.precisions import KINDS
from skinaudit.commands import library
from skinaudit.commands.library.run_folders import LATEST
from skinaudit.commands.screen import bars, note, say, step
from skinaudit.commands.shared_options import threads_option
from skinaudit.errors import SkinauditError

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _precision_options(command: _Command) -> _Command:
    """One flag a precision, in the order of their table."""
    for name, kind in reversed(list(KINDS.items())):
        command = click.option(f"--{name}", "precisions", flag_value=name, multiple=True, help=kind.help)(command)
    return command


@click.command(short_help="Compile a run to engine files.")
@click.argument("run", type=click.Path(path_type=Path), default=LATEST)
@click.option("--format", "formats", multiple=True, metavar="NAME",
              help="onnx, tensorrt, tensorrt-rtx, openvino, pytorch or aotinductor; may be repeated  [default: onnx and, "
              "where a TensorRT builder is installed, a plan].")  # fmt: skip
@_precision_options
@click.option("-o", "--output", type=click.Path(path_type=Path), default=None,
              help="Name the engine file (one precision); its suffix chooses the format.")  # fmt: skip
@click.option("--provider", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True,
              help="Compiled packages (aotinductor): the device that they are compiled for.")  # fmt: skip
@click.option("--batches", type=(click.IntRange(1), click.IntRange(1), click.IntRange(1)), default=(1, 32, 128),
              show_default=True, metavar="MIN OPT MAX", help="Plans: batches of the optimisation profile.")  # fmt: skip
@click.option("--target", "targets", multiple=True, metavar="SM",
              help="TensorRT-RTX plans: compute capability of a GPU to build for, such as 8.6; may be repeated  "
              "[default: the library's choice].")  # fmt: skip
@click.option("--version-compatible", is_flag=True,
              help="Plans: readable by newer TensorRT versions. They hold program code, which whoever opens them has to "
              "allow.")  # fmt: skip
@click.option("--hardware-compatible", is_flag=True, help="Plans: runnable on other GPUs than the builder's.")
@click.option("--refit", is_flag=True, help="Plans: weights can be replaced later, where the builder offers it.")
@click.option("--strip", is_flag=True, help="Plans: without weights, which the application puts back before it runs them.")
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
    run: Path, formats: tuple[str, ...], precisions: tuple[str, ...], targets: tuple[str, ...], **options: Any
) -> None:
    """Compile a run to engine files (default: the newest run, in fp32), prove their precision and measure their parity.

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
            **options,
        )  # fmt: skip
    for exported in written:
        parity, layer_counts = exported.manifest.parity, exported.manifest.found
        again = parity.get("rebuilds")
        layers = ", ".join(f"{name} {count}" for name, count in layer_counts.items())
        say(
            f"{exported.path}  {exported.size / 1e6:.2f} MB  layers: {layers}  "
            f"agreement {parity['agreement']:.2%}, largest logit difference {parity['max_abs']:.2g}"
            + (f" ({parity['measured_on']})" if parity.get("measured_on", "the engine") != "the engine" else "")
            + (f"  {again['builds']} builds: {again['files']} files" if again else "")
            + ("" if not again or again["flips"] is None else f", {again['flips']} flips")
        )
        if not (lies_in(run, exported.path.parent) or lies_in(exported.path.parent, run)):
            note(f"{exported.path}: lies outside of its run; audit it with --run {run}")
    *earlier_errors, last_error = {str(error): error for error in refused}.values() or [
        None
    ]  # formats of a graph fail in the same words
    for error in earlier_errors:
        note(f"skinaudit: {error}")
    if last_error is not None:
        raise last_error
