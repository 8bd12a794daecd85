"""The file of kernel timings that a TensorRT builder reads and updates.

It is written atomically, and never replaces a file of another kind.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from skinaudit.artifacts.files import can_be_written, write_bytes
from skinaudit.artifacts.outside import MAX_MODEL, read_regular
from skinaudit.errors import InvalidInputError

RTX = "tensorrt_rtx"


def check_timing_cache(path: Path | None, *, library: str, where: str) -> None:
    """Raise InvalidInputError, before anything is built, if the file could not be written or would not be used."""
    if path is None:
        return
    if library == RTX:
        raise InvalidInputError(f"{where}: {library} does not time kernels when it builds; leave --timing-cache out")
    if path.exists() and not path.is_file():
        raise InvalidInputError(f"{path}: not a file; name a file as --timing-cache")
    if not can_be_written(path):
        raise InvalidInputError(f"{path}: cannot be written; name a file in a folder of your own as --timing-cache")


def use_timing_cache(config: Any, path: Path | None) -> None:
    """Give the builder's configuration the timings of the file; no timings if the file does not exist yet.

    Raises InvalidInputError for a file of another kind. The library would treat it as an empty cache, with a warning at
    most, and it would then be overwritten.
    """
    if path is None:
        return
    content = read_regular(path, kind="timing cache", limit=MAX_MODEL) if path.exists() else b""
    cache = config.create_timing_cache(content)
    if cache is None or _was_dropped(config, cache, content) or not config.set_timing_cache(cache, False):
        raise InvalidInputError(
            f"{path}: not a timing cache of this library, version and device; it was not changed; name another file with "
            "--timing-cache"
        )


def keep_timing_cache(config: Any, path: Path | None) -> None:
    """Write the timings after a build, including those that were read."""
    if path is not None:
        write_bytes(path, _bytes(config.get_timing_cache()))


def _was_dropped(config: Any, cache: Any, content: bytes) -> bool:
    """Whether the library made an empty cache because the content is not a cache."""
    empty = _bytes(config.create_timing_cache(b""))
    return bool(content) and content != empty and _bytes(cache) == empty


def _bytes(cache: Any) -> bytes:
    return bytes(memoryview(cache.serialize()))
