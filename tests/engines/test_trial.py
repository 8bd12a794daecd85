"""A process of its own: what ends it is told, and does not end ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from skinaudit.engines import trial


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import sys; print(sys.argv[1]); assert sys.argv[1:] == ['one', 'two']", None),
        ("raise ValueError('damaged')", "ValueError: damaged"),
        (
            "import os, signal; print('loading', flush=True); os.kill(os.getpid(), signal.SIGBUS)",
            "its process ended with -7",
        ),
        ("raise SystemExit(3)", "its process ended with 3"),
        ("raise ValueError('x' * 1000)", f"ValueError: {'x' * 288}"),
    ],
)
def test_the_reason_is_one_line(code: str, reason: str | None) -> None:
    assert trial.failure(code, "one", "two") == reason


def test_nothing_is_imported_from_the_folder_that_we_run_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "planted.py").write_text("")
    monkeypatch.chdir(tmp_path)
    assert trial.failure("import planted") == "ModuleNotFoundError: No module named 'planted'"


def test_one_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "SECONDS", 0.2)
    assert trial.failure("import time; time.sleep(60)") == "it did not open within 0.2 s"
