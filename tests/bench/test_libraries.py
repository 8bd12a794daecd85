"""Peers that are not there, or in another version."""

from __future__ import annotations

from pathlib import Path

import pytest

from skinaudit.bench import libraries
from skinaudit.errors import MissingDependencyError


def test_absent_peers_are_one_line_with_the_command_that_installs_them(tmp_path: Path) -> None:
    with pytest.raises(MissingDependencyError, match=r"not installed: python bench/libraries\.py installs them$"):
        libraries.enable(folder=tmp_path)


def test_another_version_counts_as_absent(tmp_path: Path) -> None:
    for name, version in {**libraries.PEERS, "foolbox": "0.0.1"}.items():
        folder = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    with pytest.raises(MissingDependencyError):
        libraries.enable(folder=tmp_path)


def test_imported_peers_report_their_versions(peer_versions: dict[str, str]) -> None:
    import torchattacks

    assert peer_versions == libraries.PEERS
    assert Path(torchattacks.__file__).is_relative_to(libraries.FOLDER)
