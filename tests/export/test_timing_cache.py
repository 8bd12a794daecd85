"""The builder's file of timings: what is something else is left as it is, and a bad place is told before the build."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from skinaudit.errors import InvalidInputError
from skinaudit.export.timing_cache import check_timing_cache, keep_timing_cache, use_timing_cache

HEADER = b"header "


class Cache:
    """Timings of a fake builder: a header and the kernels that were timed."""

    def __init__(self, kernels: bytes) -> None:
        self.kernels = kernels

    def serialize(self) -> bytes:
        return HEADER + self.kernels


class Config:
    """What the bindings of TensorRT do with a cache: content that they cannot read becomes an empty one, with a warning."""

    def __init__(self, *, device: bytes = b"GPU") -> None:
        self.device, self.cache = device, Cache(b"")

    def create_timing_cache(self, content: bytes) -> Cache:
        return Cache(content.removeprefix(HEADER) if content.startswith(HEADER) else b"")

    def set_timing_cache(self, cache: Cache, ignore_mismatch: bool) -> bool:
        self.cache = cache
        return not cache.kernels or ignore_mismatch or self.device in cache.kernels

    def get_timing_cache(self) -> Any:
        return self.cache

    def build(self) -> None:
        self.cache.kernels += b" conv on " + self.device


def build(path: Path, config: Config) -> None:
    use_timing_cache(config, path)
    config.build()
    keep_timing_cache(config, path)


def test_timings_are_kept_from_build_to_build(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "cache"
    for builds in (1, 2, 3):
        build(path, Config())
        assert path.read_bytes() == HEADER + builds * b" conv on GPU"
    assert [file.name for file in path.parent.iterdir()] == ["cache"]


def test_a_cache_without_kernels_is_a_cache(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    path.write_bytes(HEADER)
    build(path, Config())
    assert path.read_bytes() == HEADER + b" conv on GPU"


@pytest.mark.parametrize("content", [b"my thesis", b"head", HEADER + b" conv on another device"])
def test_a_file_that_is_something_else_is_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "thesis.txt"
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match=r"thesis\.txt: not a timing cache of this library, version and device"):
        build(path, Config())
    assert path.read_bytes() == content


def test_a_place_that_cannot_be_written_is_told_before_the_build(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InvalidInputError, match=r"file/cache: cannot be written; name a file in a folder of your own"):
        check_timing_cache(tmp_path / "file" / "cache", library="tensorrt", where="e.plan")
    with pytest.raises(InvalidInputError, match=f"{tmp_path}: not a file; name a file as --timing-cache"):
        check_timing_cache(tmp_path, library="tensorrt", where="e.plan")
    check_timing_cache(tmp_path / "new" / "cache", library="tensorrt", where="e.plan")
    check_timing_cache(None, library="tensorrt_rtx", where="e.plan")
