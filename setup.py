"""What pyproject.toml cannot express: README.md as description for a package index, with links that work there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent
PICTURES = (".png", ".svg", ".jpg")


def description(readme: str, *, repository: str, version: str) -> str:
    """README with absolute links to this version in the repository, and to the pictures' files."""

    def absolute(link: re.Match[str]) -> str:
        target = link[1]
        if re.match(r"[a-z]+:|#", target):
            return link[0]
        kind = "raw" if target.endswith(PICTURES) else "blob"
        return f"]({repository}/{kind}/v{version}/{target})"

    return re.sub(r"\]\(([^)\s]+)\)", absolute, readme)


def read_version() -> str:
    """`__version__` of the package, read without importing it."""
    match = re.search(r'^__version__ = "(.+)"$', (ROOT / "__init__.py").read_text(encoding="utf-8"), re.MULTILINE)
    assert match is not None
    return match[1]


if __name__ in ("__main__", "__mp_main__"):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    setup(
        script_name="setup.py",  # it is in the package's folder; a module with the script's name is left out
        long_description=description(readme, repository=project["urls"]["Repository"], version=read_version()),
        long_description_content_type="text/markdown",
    )
