"""What is opened from outside: regular files of bounded size, and only where they belong."""

from __future__ import annotations

import os
import socket
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from skinaudit.artifacts.files import digest_file
from skinaudit.artifacts.outside import (
    check_regular,
    expanded,
    inside,
    open_regular,
    read_member,
    read_regular,
    real,
)
from skinaudit.errors import InvalidInputError


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def sock(path: Path) -> None:
    before = Path.cwd()
    os.chdir(path.parent)  # the name of a socket has at most 108 bytes
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(before)


SPECIAL: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo, "a folder": Path.mkdir, "a device": device, "a socket": sock
}  # fmt: skip


@pytest.mark.parametrize("kind", SPECIAL)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_what_is_no_file_is_refused_before_it_is_opened(tmp_path: Path, kind: str) -> None:
    SPECIAL[kind](tmp_path / "x")
    for reader in (
        lambda: check_regular(tmp_path / "x", kind="set"),
        lambda: open_regular(tmp_path / "x", kind="set").__enter__(),
        lambda: read_regular(tmp_path / "x", kind="set", limit=10),
    ):
        with pytest.raises(InvalidInputError, match=rf"x: is {kind}, not a regular file \(set\)(; name a file in it)?$"):
            reader()


def test_a_file_beyond_its_limit_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "x").open("wb") as stream:
        stream.truncate(2**40)  # holes: reading it would take a terabyte
    with pytest.raises(InvalidInputError, match=r"x: not a set: has more than 4,096 bytes; write it again$"):
        read_regular(tmp_path / "x", kind="set", limit=4096, again="write it again")
    (tmp_path / "y").write_bytes(b"12345")
    assert read_regular(tmp_path / "y", kind="set", limit=5) == b"12345"


@pytest.mark.parametrize("written", [(), (0,), (2**39,), (0, 2**40 - 10)])
def test_a_terabyte_of_holes_is_refused_before_it_is_read(tmp_path: Path, written: tuple[int, ...]) -> None:
    with (tmp_path / "x").open("wb") as stream:
        stream.truncate(2**40)
        for place in written:
            stream.seek(place)
            stream.write(b"data")
    for reader in (lambda: check_regular(tmp_path / "x", kind="set"), lambda: digest_file(tmp_path / "x")):
        with pytest.raises(InvalidInputError, match=r"x: holds [\d,]+ bytes that were never written \(a sparse file\)"):
            reader()
    with (tmp_path / "small").open("wb") as stream:
        stream.truncate(2**20)
    check_regular(tmp_path / "small", kind="set")


def test_no_more_memory_is_asked_for_than_the_file_has(tmp_path: Path) -> None:
    path = tmp_path / "small"
    path.write_bytes(b"0123456789")
    tracemalloc.start()
    try:
        assert read_regular(path, kind="file", limit=2**28) == b"0123456789"
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


def test_a_member_of_an_archive_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", bytes(100_000))
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        assert len(read_member(archive, "bomb", limit=100_000)) == 100_000
        with pytest.raises(zipfile.BadZipFile, match="'bomb' unpacks to more than 99,999 bytes"):
            read_member(archive, "bomb", limit=99_999)


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "../x", "a/../../x", "link/x", "out", "loop", "\0", "a/../link/../x"],
)
def test_a_name_that_leads_out_of_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (tmp_path / "x").touch()
    (folder / "link").symlink_to(tmp_path)
    (folder / "out").symlink_to(tmp_path / "x")
    (folder / "loop").symlink_to(folder / "loop")
    with pytest.raises(InvalidInputError, match=r"^run\.json: names ") as raised:
        inside(folder, name, named_by="run.json")
    assert "\n" not in str(raised.value)


def test_a_name_that_stays_inside_is_its_path_also_through_links(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / "sets").mkdir(parents=True)
    (folder / "sets" / "a").touch()
    (folder / "b").symlink_to("sets/a")
    (tmp_path / "latest").symlink_to("run")
    for name in ("sets/a", "b", "sets/../sets/a", "not there", "sets"):
        assert inside(tmp_path / "latest", name, named_by="x") == tmp_path / "latest" / name
    assert inside(folder / "sets", "../b", named_by="x", further=[folder]) == folder / "sets" / ".." / "b"


def test_the_real_path_of_a_circle_of_links_or_of_an_unknown_home_is_a_path(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "link").symlink_to("file")
    assert real(tmp_path / "circle" / "x").name == "x"
    assert real(tmp_path / "link") == real(tmp_path) / "file"
    assert real("~no-such-user/x").parts[-2:] == ("~no-such-user", "x")
    assert expanded("~no-such-user/x") == Path("~no-such-user/x")
