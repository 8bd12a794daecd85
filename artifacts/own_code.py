"""Engines with code that this user's own exports wrote on this machine. They need no `--allow-code`.

Their digests are the names of empty files in the user's cache, to which only this user may write. The record in a run's
folder does not count here, because a sender of a run could have written it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from skinaudit.artifacts.files import default_cache_dir
from skinaudit.artifacts.outside import is_private
from skinaudit.errors import InvalidInputError

CODE = ".pt2"
"""The suffix of files that are code or may contain it. Plans with code are rare, and need the option."""
_FOLDER = "own-code"


def vouch(digest: str) -> None:
    """Record that an export of this user wrote a file with this digest. If this fails, `--allow-code` is needed."""
    with suppress(OSError, InvalidInputError):
        path = _path(digest)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600))


def is_vouched_for(digest: str) -> bool:
    """Whether an export of this user wrote a file with this digest on this machine."""
    try:
        path = _path(digest)
    except InvalidInputError:  # this user has no home folder
        return False
    return is_private(path.parent) and is_private(path)


def _path(digest: str) -> Path:
    return default_cache_dir() / _FOLDER / digest.removeprefix("sha256:")
