"""What `skinaudit.train` reports before its training begins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import skinaudit
from skinaudit.trainer.data import load as loading
from skinaudit.trainer.reporter import Reporter


class StoppedError(Exception):
    pass


@pytest.mark.parametrize(("data", "title"), [("synthetic", "drawing images"), ("pictures", "reading images")])
def test_progress_says_whether_images_are_drawn_or_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, data: str, title: str
) -> None:
    titles: list[str] = []

    def load(*_: Any, **settings: Any) -> None:
        raise StoppedError

    monkeypatch.setattr(loading, "load", load)
    with pytest.raises(StoppedError):
        skinaudit.train(data, out=tmp_path / "run", report=Reporter(progress=titles.append))
    assert titles == [title]
