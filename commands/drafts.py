"""`skinaudit policy` and `skinaudit contract`: drafts of the two files that a person writes for an audit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from skinaudit.commands.grouped_help import GroupedCommand
from skinaudit.commands.library.arguments import thread_count
from skinaudit.commands.library.auditing import limits_of
from skinaudit.commands.library.engine_images import images_for
from skinaudit.commands.screen import bars, note, say
from skinaudit.commands.shared_options import limit_options, threads_option
from skinaudit.errors import InvalidInputError

if TYPE_CHECKING:
    from skinaudit.artifacts.engine_contract import EngineContract


@click.command(short_help="Print the default policy file.")
@click.argument("run", type=click.Path(path_type=Path), required=False)
def policy(run: Path | None) -> None:
    """Print the default policy: every bound of `skinaudit audit` with its default value and a comment.

    With RUN, the policy names this run. Engines of another run, or of a folder that somebody rewrote, are then
    INCONCLUSIVE. Keep the file where the run's folder cannot be written from.

    \b
    Examples:
      skinaudit policy > policy.toml
      skinaudit policy runs/latest > policy.toml
    """
    from skinaudit.artifacts.anchor import anchor_of
    from skinaudit.artifacts.manifest import read_run
    from skinaudit.audit.judgement.policy import DEFAULT_TEXT, text_for

    click.echo(DEFAULT_TEXT if run is None else text_for(anchor_of(read_run(run))), nl=False)


_SECTIONS = {
    "Images to try it on": ("--data", "--classes", "--name", "--sets"),
    "What is known": ("--contract", "--take"),
    "Output": ("--output", "--force"),
    "How it runs": ("--threads", "--limit-seconds", "--limit-memory"),
}
"""Sections of the help, with their options."""


@click.command(cls=GroupedCommand, sections=_SECTIONS, short_help="Draft the contract of an engine from another tool.")
@click.argument("engine", type=click.Path(path_type=Path))
@click.option("--sets", type=click.Path(path_type=Path), default=None, metavar="DIR",
              help="Folder with a clean set. Common preprocessings and class orders are tried on it.")  # fmt: skip
@click.option("--data", default=None, metavar="DIR|FILE.npz",
              help="Labelled images instead of --sets. Their clean set is written beside the engine.")  # fmt: skip
@click.option("--classes", type=click.Path(path_type=Path), default=None, metavar="FILE.toml",
              help="File that maps the classes of --data to those of the engine, as for `skinaudit train`.")  # fmt: skip
@click.option("--name", default=None, metavar="NAME", help="Name for the images of --data  [default: from --data].")
@click.option("--contract", "known", type=click.Path(path_type=Path), default=None, metavar="FILE.toml",
              help="Contract with known facts, such as columns and their mapping. Only the pixels are tried.")  # fmt: skip
@click.option("--take", type=click.IntRange(1), default=None, metavar="N",
              help="Write candidate N of the ranking, for example if no candidate is clearly better.")  # fmt: skip
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), default=None, help="File of the contract  [default: print it]."
)
@click.option("--force", is_flag=True, help="Overwrite the output.")
@limit_options
@threads_option
def contract(
    engine: Path, sets: Path | None, data: str | None, classes: Path | None, name: str | None, known: Path | None,
    take: int | None, output: Path | None, force: bool, limit_seconds: float | None, limit_memory: float | None,
    threads: int | None,
) -> None:  # fmt: skip
    """Draft the contract of an ENGINE that skinaudit did not build, from the information in its file.

    Entries that the file does not prove are marked CHECK; a person must check them. With --sets or --data the command
    tries every common preprocessing and class order on labelled images and shows a ranking. It writes the contract if one
    candidate is clearly better. Otherwise the exit code is 3, and --take N writes the candidate that you choose.
    If the engine has other classes than the images, draft the contract first, map the columns by hand, and give that file
    as --contract.

    \b
    Examples:
      skinaudit contract other.tflite -o other.toml
      skinaudit contract other.onnx --sets runs/hardened/sets -o other.toml
      skinaudit contract other.onnx --data HospitalB/ -o other.toml
      skinaudit contract x.onnx --contract draft.toml --data HospitalB/ -o x.toml
    """
    from skinaudit.artifacts.engine_contract import read_engine_contract, write_toml
    from skinaudit.artifacts.files import write_bytes
    from skinaudit.artifacts.run_folder import check_engine_file
    from skinaudit.engines.draft import draft_contract
    from skinaudit.engines.isolation.launching import engine_processes

    if output is not None and output.exists() and not force:
        raise InvalidInputError(f"{output}: exists already; choose another --output or add --force")
    check_engine_file(engine)
    click.get_current_context().with_resource(engine_processes(limits_of(limit_seconds, limit_memory)))
    if known is None:
        drafted, notes = draft_contract(engine)
    else:
        drafted, notes = read_engine_contract(known), {}
    if (name is not None or classes is not None) and data is None:
        raise InvalidInputError("--name and --classes need --data: they are about its images")
    if sets is not None and data is not None:
        raise InvalidInputError("--data and --sets both name images; leave one of them out")
    if data is not None:
        with bars() as bar:
            sets = images_for(
                engine, data, size=drafted.size, name=name, classes=classes, progress=bar, remark=note
            )  # fmt: skip
    if sets is not None:
        drafted, notes = _searched(engine, sets, drafted, notes, known=known, take=take, threads=thread_count(threads))
    elif take is not None or known is not None:
        raise InvalidInputError("--take and --contract need images: name them with --data or --sets")
    text = write_toml(drafted, notes=notes)
    if output is None:
        click.echo(text, nl=False)
    else:
        write_bytes(output, text.encode())
        say(f"{output}: {len(notes)} {'entry' if len(notes) == 1 else 'entries'} marked CHECK")


def _searched(
    engine: Path,
    sets: Path,
    drafted: EngineContract,
    notes: dict[str, str],
    *,
    known: Path | None,
    take: int | None,
    threads: int,
) -> tuple[EngineContract, dict[str, str]]:
    """The contract that clearly fits a clean set best, or reading `take`; ends with exit code 3 if there is none."""
    from dataclasses import replace

    from skinaudit.artifacts.external import read_external
    from skinaudit.audit.contract_search import USUAL_ASPECT, search_contract, search_lines
    from skinaudit.audit.evidence.inputs import clean_set_in
    from skinaudit.audit.evidence.regrouping import regrouped
    from skinaudit.engines.open import open_session

    clean = clean_set_in(sets)
    if drafted.mapping is not None:
        clean = regrouped(clean, drafted.tasks, where=str(known))
    size = clean.info.contract.size
    if drafted.size != size and "size" not in notes:
        raise InvalidInputError(
            f"{engine}: takes images of {drafted.size} pixels, {clean.path} has {size}; --data DIR makes a clean set of the "
            "engine's size from images"
        )
    base, described = replace(drafted, size=size), read_external(sets)
    with bars() as bar:
        search = search_contract(
            open_session(engine, threads=threads), clean, base, where=str(engine), given=known is not None,
            aspect=(None if described is None else described.aspect) or USUAL_ASPECT,
            thorough=True, progress=bar("trying"),
        )  # fmt: skip
    for line in search_lines(search):
        note(line)
    if take is not None and take > len(search.ranked):
        raise InvalidInputError(f"--take {take}: the ranking has only {len(search.ranked)} candidates; choose one of them")
    chosen = search.chosen if take is None else search.ranked[take - 1]
    if chosen is None:
        note("no contract was written; --take N writes candidate N of the ranking")
        click.get_current_context().exit(3)
    decided = search.reason if take is None else f"candidate {take} of the ranking, chosen by hand"
    doubts = search.doubts if chosen is search.chosen else {}
    return chosen.contract, {"scale": f"{decided}; {search.images} images of {clean.info.dataset}", **doubts}
