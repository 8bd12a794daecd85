"""Layouts are found by their files."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from skinaudit.errors import InvalidInputError
from skinaudit.trainer.data import layouts

LAYOUT = """
LOOKS_FOR = "x.txt (an example)"


def find(files):
    return next((path for path in files if path.name == "x.txt"), None)


def list_images(found, files):
    return found, len(files)
"""


def test_a_new_file_is_a_new_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "example.py").write_text(LAYOUT)
    folder = tmp_path / "data"
    (folder / "deep").mkdir(parents=True)
    before = layouts.names()
    monkeypatch.setattr(layouts, "__path__", [*layouts.__path__, str(tmp_path / "code")])
    assert layouts.names() == tuple(sorted((*before, "example")))
    with pytest.raises(InvalidInputError, match=r"no images that skinaudit knows how to read.*x\.txt \(an example\)"):
        layouts.recognise(folder)
    (folder / "deep" / "x.txt").touch()
    (folder / "a.png").touch()
    recognised = layouts.recognise(folder)
    monkeypatch.delitem(sys.modules, "skinaudit.trainer.data.layouts.example")
    assert recognised == (folder / "deep" / "x.txt", 2)
