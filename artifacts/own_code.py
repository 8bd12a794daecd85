"""Engines with code in them that this user's own exports wrote on this machine: they need no `--allow-code`.

Their digests are names of empty files in the user's cache, which only this user may write to. What a run's folder says of
its engines does not count here: whoever sends a run has written its records, too.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from skinaudit.artifacts.files import default_cache_dir
from skinaudit.artifacts.outside import is_private
from skinaudit.errors import InvalidInputError

CODE = ".pt2"
"""The suffix of files that are code, or may be. Plans with code in them are few, and need the option."""
_FOLDER = "own-code"


def vouch(digest: str) -> None:
    """Note that an export of this user wrote a file of this digest. Where nothing can be kept, `--allow-code` has to do."""
    with suppress(OSError, InvalidInputError):
        path = _path(digest)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600))


def is_vouched_for(digest: str) -> bool:
    """Whether an export of this user wrote a file of this digest here."""
    try:
        path = _path(digest)
    except InvalidInputError:  # this user has no home
        return False
    return is_private(path.parent) and is_private(path)


def _path(digest: str) -> Path:
    return default_cache_dir() / _FOLDER / digest.removeprefix("sha256:")
