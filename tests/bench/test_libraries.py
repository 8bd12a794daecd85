"""Peers that are not there, or in another version."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from skinaudit.bench import libraries
from skinaudit.bench.libraries import GROUPS
from skinaudit.errors import MissingDependencyError


@pytest.mark.parametrize("name", GROUPS)
def test_absent_peers_are_one_line_with_the_command_that_installs_them(name: str, tmp_path: Path) -> None:
    with pytest.raises(MissingDependencyError, match=rf"not installed: python bench/libraries\.py {name} installs them$"):
        libraries.enable(group=replace(GROUPS[name], folder=tmp_path))


def _pretend(group: libraries.Group, folder: Path, versions: dict[str, str]) -> libraries.Group:
    for name, version in versions.items():
        metadata = folder / f"{name.replace('-', '_')}-{version}.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return replace(group, folder=folder)


@pytest.mark.parametrize("name", GROUPS)
def test_another_version_counts_as_absent(name: str, tmp_path: Path) -> None:
    group = GROUPS[name]
    last = list(group.peers)[-1]
    pretended = _pretend(group, tmp_path, {**group.peers, last: "0.0.1"})
    with pytest.raises(MissingDependencyError):
        libraries.require(group=pretended)


@pytest.mark.parametrize("name", GROUPS)
def test_what_is_there_is_told_without_importing_it(name: str, tmp_path: Path) -> None:
    group = _pretend(GROUPS[name], tmp_path, dict(GROUPS[name].peers))
    assert libraries.require(group=group) == group.peers
    assert str(tmp_path) not in sys.path


def test_imported_peers_report_their_versions(peer_versions: dict[str, str]) -> None:
    import torchattacks

    assert peer_versions == libraries.ATTACKS.peers
    assert Path(torchattacks.__file__).is_relative_to(libraries.ATTACKS.folder)


def test_the_command_line_names_groups_and_means_all_without_any() -> None:
    assert libraries.selected([]) == list(libraries.GROUPS.values())
    assert libraries.selected(["quantisers"]) == [libraries.QUANTISERS]
