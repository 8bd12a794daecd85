"""Decoded images on disk: one memory-mapped `.npy` and one JSON per key, verified at every opening, never pickled.

Everything in the cache can be made again, so the folder may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.files import atomic_path, digest_parts, write_json
from skinaudit.artifacts.outside import check_regular
from skinaudit.artifacts.plain_values import MAX_BYTES, read_json
from skinaudit.errors import InvalidInputError
from skinaudit.trainer.data.unreadable import Unreadable

_LOG = logging.getLogger(__name__)
_FORMAT = 1
_CHUNK = 1 << 20


@dataclass(frozen=True, eq=False)
class CacheEntry:
    """An opened entry: `images` uint8 (N, 3, size, size), read-only and memory-mapped, and the facts stored with them.

    `pixels_digest` is the sha256 of the bytes of `images` in C order, as `sha256:<hex>`. `unreadable` gives position and
    reason for each source image that could not be decoded; these are not among the N.
    """

    images: NDArray[np.uint8]
    pixels_digest: str
    unreadable: Mapping[int, str]
    details: Mapping[str, Any]


def cache_key(**settings: Any) -> str:
    """Hexadecimal digest of everything that decides an entry's content. The values must be plain JSON."""
    text = json.dumps({"format": _FORMAT, **settings}, sort_keys=True)
    return digest_parts(text.encode()).removeprefix("sha256:")


def write_entry(
    folder: Path,
    key: str,
    images: Iterable[NDArray[np.uint8] | Unreadable],
    *,
    size: int,
    details: Mapping[str, Any] | None = None,
) -> None:
    """Store images, uint8 (3, size, size) each, one by one, so that memory does not grow with their number.

    details: stored with the images. It is read after the last image, so it may be filled while the images come. The JSON
    file is written last, so an interrupted write leaves no entry. Raises InvalidInputError for a folder that is not
    writable.
    """
    pixels = hashlib.sha256()
    unreadable: dict[str, str] = {}
    count = 0
    with atomic_path(folder / f"{key}.npy") as temporary, temporary.open("wb") as stream:
        # The header is padded for any number of rows, so the second header fits in place of the first.
        stream.write(start := _header((0, 3, size, size)))
        for position, image in enumerate(images):
            if isinstance(image, Unreadable):
                unreadable[str(position)] = image.reason
                continue
            raw = image.tobytes()
            pixels.update(raw)
            stream.write(raw)
            count += 1
        stream.seek(0)
        stream.write(header := _header((count, 3, size, size)))
        assert len(header) == len(start)
    content = {
        "format": _FORMAT,
        "key": key,
        "shape": [count, 3, size, size],
        "pixels": f"sha256:{pixels.hexdigest()}",
        "unreadable": unreadable,
        "details": dict({} if details is None else details),
    }
    write_json(folder / f"{key}.json", {"digest": _seal(content), "content": content})


def open_entry(folder: Path, key: str) -> CacheEntry | None:
    """Open an entry after checking both digests; None if it is absent, truncated or changed and must be made again."""
    try:
        sealed = read_json(folder / f"{key}.json", kind="cache entry", again="it is made again", text_limit=MAX_BYTES)
        content = sealed.get("content")
        if not isinstance(content, dict) or sealed.get("digest") != _seal(content) or content.get("key") != key:
            return None
        path, shape, header = folder / f"{key}.npy", tuple(content["shape"]), _header(content["shape"])
        check_regular(path, kind="cache entry")
        if path.stat().st_size != len(header) + math.prod(shape) or _digest_of(path, header) != content["pixels"]:
            return None
        images = np.memmap(path, np.uint8, mode="r", offset=len(header), shape=shape)
    except (InvalidInputError, OSError, ValueError):
        return None
    unreadable = {int(position): reason for position, reason in content["unreadable"].items()}
    return CacheEntry(
        images=np.asarray(images), pixels_digest=content["pixels"], unreadable=unreadable, details=content["details"]
    )


def entry_of(
    folder: Path,
    key: str,
    images: Callable[[], Iterable[NDArray[np.uint8] | Unreadable]],
    *,
    size: int,
    details: Mapping[str, Any] | None = None,
) -> CacheEntry:
    """The entry with this key; write_entry makes it if it does not exist.

    Raises InvalidInputError if reading it back gives something other than what was written.
    """
    entry = open_entry(folder, key)
    _LOG.info("images: %s the cache, %s", "not in" if entry is None else "from", folder / f"{key}.npy")
    if entry is None:
        write_entry(folder, key, images(), size=size, details=details)
        entry = open_entry(folder, key)
    if entry is None:
        raise InvalidInputError(
            f"{folder / key}.npy: reads back differently from what was written; check the disk or choose another folder"
        )
    return entry


def dataset_digest(pixels: str, labels: NDArray[np.int64], groups: NDArray[np.int64], ids: Iterable[str]) -> str:
    """A Dataset's digest, from the digest of its pixels (CacheEntry.pixels_digest), its labels, groups and ids."""
    names = json.dumps(list(ids)).encode()
    return digest_parts(pixels.encode(), labels.astype("<i8").tobytes(), groups.astype("<i8").tobytes(), names)


def _header(shape: Sequence[int]) -> bytes:
    """What stands before the pixels of an entry. It is compared, not parsed: numpy reads it as Python's own text."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": tuple(shape)})
    return stream.getvalue()


def _digest_of(path: Path, header: bytes) -> str | None:
    """Digest of everything after the header; None if another header stands there. Not mapped: mapped pages would count as
    this process's memory."""
    value = hashlib.sha256()
    with path.open("rb") as stream:
        if stream.read(len(header)) != header:
            return None
        while chunk := stream.read(_CHUNK):
            value.update(chunk)
    return f"sha256:{value.hexdigest()}"


def _seal(content: Mapping[str, Any]) -> str:
    return digest_parts(json.dumps(content, sort_keys=True).encode())
