"""What pyproject.toml promises is what the tree holds."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

import skinaudit

ROOT = Path(__file__).resolve().parents[1]
PAGE = "skinaudit.audit.reports.page"
NOT_SHIPPED = {"tests", "docs", "examples", "bench"}


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def tracked() -> list[Path]:
    """Python files that git knows or would take, relative to the root."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: there is no list of the tree to compare with")
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "*.py"]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return [Path(name) for name in names if (ROOT / name).is_file()]


def test_the_package_list_is_the_tree() -> None:
    listed = project()["tool"]["setuptools"]["packages"]
    folders = {path.parent for path in tracked() if path.parts[0] not in NOT_SHIPPED}
    assert sorted(listed) == sorted(".".join(("skinaudit", *folder.parts)) for folder in folders)


def test_every_package_says_what_it_is() -> None:
    for name in project()["tool"]["setuptools"]["packages"]:
        folder = ROOT.joinpath(*name.split(".")[1:])
        first = (folder / "__init__.py").read_text(encoding="utf-8")
        assert first.startswith('"""'), f"{folder}/__init__.py opens with no docstring"


def test_the_version_is_one() -> None:
    assert metadata.version("skinaudit") == skinaudit.__version__


def test_the_command_and_the_module_are_the_same_program() -> None:
    assert project()["project"]["scripts"] == {"skinaudit": "skinaudit.__main__:main"}
    for command in ([str(Path(sys.executable).with_name("skinaudit"))], [sys.executable, "-m", "skinaudit"]):
        process = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
        assert process.stdout.strip() == f"skinaudit, version {skinaudit.__version__}"


def test_runtimes_that_fill_the_same_module_are_separate_extras() -> None:
    extras = project()["project"]["optional-dependencies"]
    for packages in extras.values():
        names = {package.split(">")[0].split("[")[0] for package in packages}
        assert not {"onnxruntime", "onnxruntime-gpu"} <= names
    assert not any("torch" in package for package in project()["project"]["dependencies"])


def test_every_file_beside_the_sources_is_shipped() -> None:
    data = project()["tool"]["setuptools"]["package-data"]
    shipped = {path for name, globs in data.items() for glob in globs for path in folder_of(name).glob(glob)}
    assert ROOT / "py.typed" in shipped
    assert shipped == {ROOT / "py.typed", *folder_of(PAGE).glob("*.jinja"), folder_of(PAGE) / "style.css"}
    assert len(list(folder_of(PAGE).glob("*.jinja"))) > 1
    assert {path.suffix for path in folder_of(PAGE).iterdir() if path.is_file()} == {".py", ".jinja", ".css"}


def folder_of(package: str) -> Path:
    return ROOT.joinpath(*package.split(".")[1:])
