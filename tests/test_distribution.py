"""What is handed out: the source distribution, the wheel, and the description that an index shows."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from email import message_from_string
from pathlib import Path
from types import ModuleType

import pytest
import setuptools

import skinaudit
from skinaudit.audit.judgement.policy import DEFAULT_TEXT

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LINK = re.compile(r"\]\(([^)\s]+)\)")


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    """setup.py, without running it."""
    spec = importlib.util.spec_from_file_location("recipe", ROOT / "setup.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_links_and_pictures_of_readme_lead_somewhere_from_outside(recipe: ModuleType) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    repository = PROJECT["project"]["urls"]["Repository"]
    text = recipe.description(readme, repository=repository, version=recipe.read_version())
    before, after = LINK.findall(readme), LINK.findall(text)
    assert len(before) == len(after) > 3
    for inside, outside in zip(before, after, strict=True):
        assert re.match(r"https://|#", outside), outside
        if outside != inside:
            kind = "raw" if inside.endswith(".png") else "blob"
            assert outside == f"{repository}/{kind}/v{skinaudit.__version__}/{inside}"
            assert (ROOT / inside.partition("#")[0]).exists(), inside
    assert recipe.description("[a](b/c.md#d) ![e](f.png) [g](#h) [i](mailto:j)", repository="https://x", version="1") == (
        "[a](https://x/blob/v1/b/c.md#d) ![e](https://x/raw/v1/f.png) [g](#h) [i](mailto:j)"
    )


def test_version_citation_and_changelog_are_of_one_release() -> None:
    version = skinaudit.__version__
    (released,) = re.findall(rf"^## {re.escape(version)} - (\d{{4}}-\d\d-\d\d)$", changelog(), re.MULTILINE)
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {version}\n" in citation
    assert f"\ndate-released: {released}\n" in citation


def changelog() -> str:
    return (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(source distribution, wheel), built in a copy of what git knows or would take; the wheel from the unpacked sources."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: there is no list of the tree to copy")
    folder = tmp_path_factory.mktemp("distributions")
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines():
        if (ROOT / name).is_file():
            target = folder / "tree" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target)
    sources = build(folder / "tree", "sdist", folder)
    with tarfile.open(sources) as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # Python before 3.11.4 has none
        archive.extractall(folder / "unpacked")
    (unpacked,) = (folder / "unpacked").iterdir()
    return sources, build(unpacked, "wheel", folder)


def build(tree: Path, kind: str, folder: Path) -> Path:
    code = f"import sys; from setuptools import build_meta; print(build_meta.build_{kind}(sys.argv[1]))"
    child = subprocess.run([sys.executable, "-c", code, str(folder)], cwd=tree, capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr[-2000:]
    return folder / child.stdout.splitlines()[-1]


def test_the_wheel_holds_the_package_and_nothing_else(distributions: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(distributions[1]) as wheel:
        names = set(wheel.namelist())
        (metadata,) = (name for name in names if name.endswith("/METADATA"))
        about = message_from_string(wheel.read(metadata).decode())
    packaged = {name for name in names if ".dist-info/" not in name}
    settings = PROJECT["tool"]["setuptools"]
    expected = set()
    for package in settings["packages"]:
        folder = Path(*package.split(".")[1:])
        globs = ["*.py", *settings["package-data"].get(package, [])]
        expected |= {f"skinaudit/{path.relative_to(ROOT)}" for glob in globs for path in (ROOT / folder).glob(glob)}
    assert packaged == expected - {"skinaudit/setup.py"}
    assert about["Version"] == skinaudit.__version__
    assert about["Description-Content-Type"] == "text/markdown"
    assert all(re.match(r"https://|#", link) for link in LINK.findall(str(about.get_payload())))
    assert any(name.endswith("/licenses/LICENSE") for name in names)


def test_the_source_distribution_holds_tests_documents_and_examples(distributions: tuple[Path, Path]) -> None:
    with tarfile.open(distributions[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for needed in (
        "README.md", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "SECURITY.md", "LICENSE", "Makefile", "mkdocs.yml",
        "pyproject.toml", "setup.py", "docs/index.md", "docs/adversarial.png", "examples/04_audit_in_python.py",
        "examples/ci/pre-push", "tests/conftest.py", "bench/run.py", "audit/reports/page/style.css",
    ):  # fmt: skip
        assert needed in names
    assert not [name for name in names if name.startswith(("runs/", "build/", ".venv/")) or name.endswith(".pyc")]


@pytest.mark.parametrize(
    "kind", [pytest.param(0, id="source distribution", marks=pytest.mark.slow), pytest.param(1, id="wheel")]
)
def test_it_installs_into_an_empty_environment(distributions: tuple[Path, Path], tmp_path: Path, kind: int) -> None:
    """The package comes from the new environment, what it needs from this one: the tests have no package index."""
    pytest.importorskip("pip")
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=False)
    programs, packages = (
        Path(sysconfig.get_path(name, vars={"base": str(environment), "platbase": str(environment)}))
        for name in ("scripts", "purelib")
    )
    (tmp_path / "builder").mkdir()
    for pattern in ("setuptools*", "_distutils_hack"):
        for source in Path(setuptools.__file__).parents[1].glob(pattern):
            (tmp_path / "builder" / source.name).symlink_to(source)
    settings = {**os.environ, "PYTHONPATH": str(tmp_path / "builder"), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    pip = [sys.executable, "-m", "pip", "--python", str(programs / "python")]
    options = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    command = [*pip, "install", *options, str(distributions[kind])]
    child = subprocess.run(command, env=settings, capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr[-2000:]
    (packages / "needed.pth").write_text(f"{sysconfig.get_path('purelib')}\n")  # a path alone: no .pth of it is read
    del settings["PYTHONPATH"]

    def said(*command: str) -> str:
        return subprocess.run(command, cwd=tmp_path, env=settings, capture_output=True, text=True, check=True).stdout

    assert said(str(programs / "skinaudit"), "policy") == DEFAULT_TEXT
    code = "import skinaudit, skinaudit.audit; print(skinaudit.__version__, skinaudit.audit.__file__)"
    assert said(str(programs / "python"), "-c", code).split() == [
        skinaudit.__version__, str(packages / "skinaudit" / "audit" / "__init__.py")
    ]  # fmt: skip
