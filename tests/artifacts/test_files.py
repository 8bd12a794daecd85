"""Atomic writes: the old file or the new one, never a part, and nothing left lying about."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from skinaudit.artifacts.files import (
    append_line,
    atomic_path,
    can_be_written,
    default_cache_dir,
    digest_file,
    digest_parts,
    short,
    write_bytes,
    write_json,
)
from skinaudit.errors import InvalidInputError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_write_replaces_and_leaves_one_file(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "er" / "file"
    write_bytes(target, b"old")
    write_bytes(target, b"new")
    assert target.read_bytes() == b"new"
    assert names(target.parent) == ["file"]


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_a_written_file_has_the_rights_that_the_umask_leaves(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        write_bytes(tmp_path / "file", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~mask


@pytest.mark.parametrize("failure", [ValueError("no"), KeyboardInterrupt(), SystemExit(1)])
def test_a_failure_inside_leaves_the_old_file_and_no_other(tmp_path: Path, failure: BaseException) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")

    def half_write() -> None:
        with atomic_path(target) as temporary:
            temporary.write_bytes(b"half of the n")
            raise failure

    with pytest.raises(type(failure)):
        half_write()
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_the_temporary_file_lies_beside_the_target_under_a_name_that_no_reader_takes(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "clean.safetensors") as temporary:
        assert temporary.parent == tmp_path
        assert list(tmp_path.glob("*.safetensors")) == []


def test_a_folder_in_the_way_is_an_error_that_names_the_target(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(InvalidInputError, match=r"taken: cannot be written \(Is a directory\)"):
        write_bytes(tmp_path / "taken", b"")
    assert names(tmp_path) == ["taken"]


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(InvalidInputError, match=r"inner: cannot be written \(.*choose another folder"):
        write_bytes(tmp_path / "file" / "inner", b"")
    assert (tmp_path / "file").read_bytes() == b"old"


def test_an_unwritable_folder(tmp_path: Path) -> None:
    # /proc refuses new files even to root, for whom file modes mean nothing.
    with pytest.raises(InvalidInputError, match="/proc/skinaudit: cannot be written"):
        write_bytes(Path("/proc/skinaudit"), b"")


_LIMITED = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from safetensors.numpy import save_file
from skinaudit.artifacts.files import atomic_path, write_bytes
from skinaudit.errors import InvalidInputError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
target = Path(sys.argv[1])
try:
    if sys.argv[2] == "bytes":
        write_bytes(target, bytes(100_000))
    else:
        with atomic_path(target) as temporary:
            save_file({"a": np.zeros(100_000, np.uint8)}, temporary)
except InvalidInputError as error:
    print(error)
"""


@pytest.mark.parametrize("writer", ["bytes", "safetensors"])
def test_no_space_left_is_an_error_that_loses_nothing(tmp_path: Path, writer: str) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    child = subprocess.run([sys.executable, "-c", _LIMITED, str(target), writer], capture_output=True, text=True, check=True)
    assert child.stdout.startswith(f"{target}: cannot be written (")
    assert "free some space" in child.stdout
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_nan_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "file", {"accuracy": float("nan")})
    assert names(tmp_path) == []


def test_a_device_or_a_pipe_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "null").symlink_to("/dev/null")
    (tmp_path / "stdout").symlink_to("/proc/self/fd/1")
    for name in ("pipe", "null", "stdout"):
        before = (tmp_path / name).lstat()
        assert not can_be_written(tmp_path / name)
        with pytest.raises(InvalidInputError, match=rf"{name}: is an? .*, and an output file would replace it"):
            write_bytes(tmp_path / name, b"x")
        assert (tmp_path / name).lstat() == before


def test_a_line_is_not_appended_through_a_link_or_to_a_pipe(tmp_path: Path) -> None:
    append_line(tmp_path / "log", "one\n")
    append_line(tmp_path / "log", "two\n")
    assert (tmp_path / "log").read_text() == "one\ntwo\n"
    (tmp_path / "link").symlink_to("log")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe"):
        with pytest.raises(InvalidInputError, match=f"{name}: cannot be written"):
            append_line(tmp_path / name, "three\n")
    assert (tmp_path / "log").read_text() == "one\ntwo\n"


def test_a_file_that_grows_while_its_digest_is_taken_is_named() -> None:
    with pytest.raises(InvalidInputError, match="grew while it was read"):
        digest_file(Path("/proc/self/status"))  # it has no size


def test_digests(tmp_path: Path) -> None:
    content = os.urandom((1 << 20) + 17)  # beyond one chunk of the reader
    (tmp_path / "file").write_bytes(content)
    assert digest_file(tmp_path / "file") == "sha256:" + hashlib.sha256(content).hexdigest()
    assert short("sha256:0123456789abcdef") == "0123456789ab"
    with pytest.raises(InvalidInputError, match="none: no such file"):
        digest_file(tmp_path / "none")


@given(parts=st.lists(st.binary(max_size=4), max_size=4), other_parts=st.lists(st.binary(max_size=4), max_size=4))
def test_the_digest_of_parts_counts_their_boundaries(parts: list[bytes], other_parts: list[bytes]) -> None:
    assert (digest_parts(*parts) == digest_parts(*other_parts)) == (parts == other_parts)


def test_equal_values_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_json(tmp_path / name, {"b": 1, "a": [1.5, "é"]})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert json.loads((tmp_path / "one").read_text(encoding="utf-8")) == {"b": 1, "a": [1.5, "é"]}


def test_safetensors_are_written_like_any_other_file(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "a.safetensors") as temporary:
        save_file({"a": np.arange(3)}, temporary)
    assert names(tmp_path) == ["a.safetensors"]


def test_what_can_be_written_is_known_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for name, expected in (("a", True), ("new/folder/a", True), ("file", True), ("file/a", False), (".", False)):
        assert can_be_written(tmp_path / name) is expected, name
    monkeypatch.chdir(tmp_path)
    assert can_be_written(Path("a"))
    monkeypatch.setattr("os.access", lambda *_: False)
    assert not can_be_written(tmp_path / "a")


def test_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SKINAUDIT_CACHE", str(tmp_path / "mine"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert default_cache_dir() == tmp_path / "mine"
    monkeypatch.delenv("SKINAUDIT_CACHE")
    assert default_cache_dir() == tmp_path / "xdg" / "skinaudit"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache_dir() == tmp_path / "home" / ".cache" / "skinaudit"


@pytest.mark.parametrize("chosen", [None, "~/mine"])
def test_without_a_home_folder_the_cache_has_to_be_named(chosen: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless(path: str) -> str:
        return path  # as os.path.expanduser does for a user that the system does not know

    monkeypatch.setattr("os.path.expanduser", homeless)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("SKINAUDIT_CACHE")
    if chosen is not None:
        monkeypatch.setenv("SKINAUDIT_CACHE", chosen)
    with pytest.raises(InvalidInputError, match="no home folder; set SKINAUDIT_CACHE"):
        default_cache_dir()


STEPS = ("made", "written", "before it is renamed", "renamed")


@pytest.mark.parametrize("step", STEPS)
def test_a_process_that_is_killed_at_a_step_of_a_write_leaves_the_old_file_or_the_new_one(tmp_path: Path, step: str) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom skinaudit.artifacts import files\n"
        "files.at_step = lambda step, target: step == sys.argv[1] and os.kill(os.getpid(), signal.SIGKILL)\n"
        "files.write_bytes(Path(sys.argv[2]), b'new')"
    )
    assert subprocess.run([sys.executable, "-c", code, step, str(target)], check=False).returncode == -9
    assert target.read_bytes() == (b"new" if step == "renamed" else b"old")
    assert all(name == "file" or name.startswith(".file.") for name in names(tmp_path))
    write_bytes(target, b"again")
    assert target.read_bytes() == b"again"


@pytest.mark.parametrize("step", STEPS)
def test_a_full_disk_at_a_step_of_a_write_is_one_line(tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(reached_step: str, target: Path) -> None:
        if reached_step == step:
            raise OSError(errno.ENOSPC, "No space left on device")

    target = tmp_path / "file"
    target.write_bytes(b"old")
    monkeypatch.setattr("skinaudit.artifacts.files.at_step", full)
    with pytest.raises(InvalidInputError, match=r"file: cannot be written \(No space left on device\); free some space"):
        write_bytes(target, b"new")
    assert names(tmp_path) == ["file"]
    assert target.read_bytes() == (b"new" if step == "renamed" else b"old")


def test_a_full_disk_at_a_log_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append_line(tmp_path / "log", "a\n")
    append_line(tmp_path / "log", "b\n")
    assert (tmp_path / "log").read_text() == "a\nb\n"
    with pytest.raises(InvalidInputError, match=r"cannot be written \(Is a directory\)"):
        append_line(tmp_path, "c")
