"""Only what this user's own exports wrote is vouched for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from skinaudit.artifacts.files import default_cache_dir
from skinaudit.artifacts.own_code import is_vouched_for, vouch

DIGEST = "sha256:" + "a" * 64


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKINAUDIT_CACHE", str(tmp_path / "cache"))


def test_a_digest_is_vouched_for_once_it_was_exported() -> None:
    assert not is_vouched_for(DIGEST)
    vouch(DIGEST)
    vouch(DIGEST)
    assert is_vouched_for(DIGEST)
    assert not is_vouched_for("sha256:" + "b" * 64)


def test_what_others_could_have_written_counts_for_nothing(tmp_path: Path) -> None:
    vouch(DIGEST)
    (path,) = (default_cache_dir() / "own-code").iterdir()
    path.chmod(0o666)
    assert not is_vouched_for(DIGEST)
    path.chmod(0o600)
    path.parent.chmod(0o777)
    assert not is_vouched_for(DIGEST)
    path.parent.chmod(0o700)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert not is_vouched_for(DIGEST)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to others")
def test_another_users_word_counts_for_nothing() -> None:
    vouch(DIGEST)
    (path,) = (default_cache_dir() / "own-code").iterdir()
    os.chown(path, 12345, 12345)
    assert not is_vouched_for(DIGEST)


def test_a_cache_that_cannot_be_written_vouches_for_nothing(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("no folder")
    vouch(DIGEST)
    assert not is_vouched_for(DIGEST)
