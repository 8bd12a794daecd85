"""The compiled templates in the cache folder: read again, made again, and never needed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from skinaudit.audit.judgement.result import AuditResult
from skinaudit.audit.reports.html import render
from skinaudit.audit.reports.page import templates

jinja2 = pytest.importorskip("jinja2", reason="the HTML report needs the extra `report`")
pytest.importorskip("matplotlib", reason="the HTML report needs the extra `report`")

TEMPLATES = ("page", "sets", "operating", "gates", "confusion", "lost", "risk", "provenance", "glossary")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where compiled templates are kept, not made yet."""
    monkeypatch.setenv("SKINAUDIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "templates"


@pytest.fixture
def result(audits: dict[str, AuditResult]) -> AuditResult:
    return audits["rare"]


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the templates that were compiled since."""
    names: list[str] = []
    compile_template = jinja2.Environment.compile

    def noted(self: Any, source: str, name: str, *more_arguments: Any) -> Any:
        names.append(name)
        return compile_template(self, source, name, *more_arguments)

    monkeypatch.setattr(jinja2.Environment, "compile", noted)
    return names


def test_each_template_is_compiled_once(folder: Path, result: AuditResult, compiled: list[str]) -> None:
    first = render(result)
    assert sorted(compiled) == sorted(f"{name}.html.jinja" for name in TEMPLATES)
    assert len(list(folder.iterdir())) == len(TEMPLATES)
    compiled.clear()
    assert render(result) == first
    assert compiled == []


def test_a_template_that_changed_is_compiled_again(
    folder: Path, result: AuditResult, compiled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    render(result)
    get_source = jinja2.PackageLoader.get_source

    def changed(self: Any, environment: Any, name: str) -> Any:
        source, *more = get_source(self, environment, name)
        return (source.replace("How to read this", "Changed"), *more)

    monkeypatch.setattr(jinja2.PackageLoader, "get_source", changed)
    compiled.clear()
    assert "Changed" in render(result)
    assert set(compiled) == {"page.html.jinja", "glossary.html.jinja"}


def test_other_options_or_another_jinja_have_files_of_their_own(
    folder: Path, result: AuditResult, compiled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    render(result)
    with monkeypatch.context() as patch:
        patch.setattr(templates, "version", lambda name: "4.0")
        render(result)
    monkeypatch.setitem(templates._OPTIONS, "lstrip_blocks", False)
    render(result)
    assert len(compiled) == len(list(folder.iterdir())) == 3 * len(TEMPLATES)


def one_bit(raw: bytes) -> bytes:
    """Changed in its code: Python would run it, and make another page or crash."""
    middle = len(raw) // 2
    return raw[:middle] + bytes([raw[middle] ^ 1]) + raw[middle + 1 :]


@pytest.mark.parametrize(
    "damage", [lambda raw: b"", lambda raw: raw[:30], lambda raw: raw[:-50], lambda raw: b"\x80" * 99, one_bit]
)
def test_a_damaged_file_is_made_again(
    folder: Path, result: AuditResult, compiled: list[str], damage: Callable[[bytes], bytes]
) -> None:
    first = render(result)
    for path in folder.iterdir():
        path.write_bytes(damage(path.read_bytes()))
    assert render(result) == first
    assert len(compiled) == 2 * len(TEMPLATES)
    assert render(result) == first
    assert len(compiled) == 2 * len(TEMPLATES)


def test_a_cache_that_cannot_be_written_is_done_without(
    folder: Path, result: AuditResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = render(result)
    for path in folder.iterdir():
        path.unlink()

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "NamedTemporaryFile", full)
        assert render(result) == first
    assert list(folder.iterdir()) == []
    folder.rmdir()
    folder.write_text("a file")
    assert render(result) == first
    monkeypatch.delenv("SKINAUDIT_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    assert render(result) == first


@pytest.mark.skipif(os.name != "posix", reason="owners and modes of POSIX")
def test_what_others_may_have_put_there_is_not_run(
    folder: Path, result: AuditResult, compiled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = render(result)
    assert folder.stat().st_mode & 0o777 == 0o700
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    for number, mode in enumerate((0o720, 0o702), start=2):
        folder.chmod(mode)
        assert render(result) == first
        assert len(compiled) == number * len(TEMPLATES)
    folder.chmod(0o700)
    monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)
    assert render(result) == first
    assert len(compiled) == 4 * len(TEMPLATES)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_writers_at_once_do_not_disturb_each_other(folder: Path, compiled: list[str]) -> None:
    def load(_: int) -> list[str]:
        environment = templates.page_template().environment
        return [environment.get_template(f"{name}.html.jinja").name for name in TEMPLATES]

    with ThreadPoolExecutor(8) as pool:
        assert len(list(pool.map(load, range(24)))) == 24
    assert len(list(folder.iterdir())) == len(TEMPLATES)  # and nothing temporary
    compiled.clear()
    load(0)
    assert compiled == []
