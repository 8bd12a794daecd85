"""bench/everywhere.py tries every argument and option of the command line that names a file."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from skinaudit import cli
from skinaudit.bench.everywhere_parts.kinds import KINDS
from skinaudit.bench.everywhere_parts.places import ARGUMENTS, OF_RUN, vouch

TRIED = {name.partition(",")[0] for name in ARGUMENTS}


def parameters() -> set[str]:
    """Those of all commands that take a path, as the bench calls them."""
    names = set()
    for name, command in cli.commands.commands.items():
        for parameter in command.params:
            if isinstance(parameter.type, click.Path):
                option = parameter.opts[-1] if isinstance(parameter, click.Option) else (parameter.name or "").upper()
                names.add(f"{name} {option}")
    return names


def test_every_path_on_the_command_line_is_tried() -> None:
    assert parameters() <= TRIED


def test_every_place_names_its_thing_once() -> None:
    for place in ARGUMENTS.values():
        assert place.words.count("FILE") + place.words.count("FOLDER") == 1
    assert all(place.inside and "RUN" in place.words for place in OF_RUN.values())


@pytest.mark.parametrize("kind", [name for name in KINDS if name not in ("machine code", "package of AOTInductor")])
def test_a_kind_makes_its_thing_and_runs_nothing(kind: str, tmp_path: Path) -> None:
    KINDS[kind].make(tmp_path / "thing", tmp_path / "marker")
    assert (tmp_path / "thing").exists() or (tmp_path / "thing").is_symlink()
    assert not (tmp_path / "marker").exists()


def test_a_run_vouches_for_what_replaced_its_file(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"weights": {"file": "weights.safetensors", "digest": "old"}}')
    (tmp_path / "weights.safetensors").write_bytes(b"new")
    vouch(tmp_path, "weights.safetensors")
    assert '"digest": "sha256:11507a0e2f5e69d5' in (tmp_path / "run.json").read_text()
