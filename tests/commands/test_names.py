"""Help lists what is there, without importing it."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from skinaudit import cli
from skinaudit.artifacts.precisions import KINDS
from skinaudit.audit.evidence import probes
from skinaudit.commands.names import attack_names, listed, names_in, runtime_names
from skinaudit.engines.open import RUNTIMES


def test_names_are_those_that_the_folders_themselves_know() -> None:
    from skinaudit.trainer import architectures, attacks
    from skinaudit.trainer import probes as of_gradients
    from skinaudit.trainer.data import layouts

    assert names_in("trainer/architectures") == architectures.names()
    assert attack_names() == attacks.names()
    assert names_in("trainer/data/layouts") == layouts.names()
    assert names_in("trainer/probes") == of_gradients.names()
    assert names_in("audit/evidence/probes") == probes.names()
    assert runtime_names() == tuple(RUNTIMES)


def test_files_that_begin_with_an_underscore_are_no_names(tmp_path: Path) -> None:
    for name in ("b.py", "a.py", "_part.py", "note.txt"):
        (tmp_path / name).touch()
    assert names_in(str(tmp_path)) == ("a", "b")


def test_names_are_listed_as_in_a_sentence() -> None:
    assert [listed(names) for names in (("a",), ("a", "b"), ("a", "b", "c"))] == ["a", "a or b", "a, b or c"]


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("train", names_in("trainer/architectures") + names_in("trainer/data/layouts")),
        ("attack", attack_names()),
        ("audit", runtime_names() + names_in("trainer/probes") + probes.names()),
        ("export", tuple(f"--{name}" for name in KINDS)),
    ],
)
def test_help_lists_them(command: str, names: tuple[str, ...]) -> None:
    help_text = CliRunner().invoke(cli.commands, [command, "--help"], terminal_width=1000).output
    assert [name for name in names if name not in help_text] == []
