"""What an engine's process may do, and what the audit sees of one that goes wrong."""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from skinaudit.engines.isolation.confine import missing_confinement
from skinaudit.engines.isolation.launching import Server, engine_processes
from skinaudit.engines.isolation.limits import Limits
from skinaudit.engines.isolation.remote import call_remote
from skinaudit.errors import EngineError, EngineStoppedError, InvalidInputError, SkinauditError

pytestmark = pytest.mark.isolated
confined = pytest.mark.skipif(bool(missing_confinement()), reason=f"not here: {missing_confinement()}")


@pytest.fixture(scope="module", autouse=True)
def server() -> Iterator[None]:
    """One server for all tests of this file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SKINAUDIT_TEST_AUDIT", str(os.getpid()))
        for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
            patch.delenv(name, raising=False)
        with engine_processes(at_once=True):
            yield


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    (tmp_path / "engines").mkdir()
    path = tmp_path / "engines" / "engine.onnx"
    path.write_bytes(b"an engine")
    return path


def call(engine: Path, function: str, *arguments: Any, limits: Limits | None = None) -> Any:
    with engine_processes(limits or Limits()):
        return call_remote(f"misbehaviour:{function}", *arguments, path=engine)


@confined
def test_it_reads_the_folder_of_its_file_and_writes_into_its_scratch_folder(engine: Path) -> None:
    assert call(engine, "read", str(engine)) == "an engine"
    first, second = Path(call(engine, "scratch")), Path(call(engine, "scratch"))
    assert first != second
    assert first.parent == second.parent


@pytest.mark.parametrize("name", ["a\nPASS.onnx", "a\x1b[2J.onnx", os.fsdecode(b"gr\xfc\xdf.onnx")])
def test_a_file_whose_name_no_message_can_hold_is_not_called_damaged(engine: Path, name: str) -> None:
    path = engine.rename(engine.with_name(name))
    with pytest.raises(InvalidInputError, match=r"its name has control characters or is not in UTF-8; rename it$") as error:
        call(path, "scratch")
    assert len(str(error.value).splitlines()) == 1


@confined
def test_its_user_has_a_name_without_the_list_of_users(engine: Path) -> None:
    """As torch asks for one when it opens a program: in a container no variable may hold it."""
    assert call(engine, "user") == "engine"


@confined
@pytest.mark.parametrize("function", ["write", "read", "change_mode", "remove"])
def test_it_cannot_touch_other_files(engine: Path, tmp_path: Path, function: str) -> None:
    folder = tmp_path / "kept"
    folder.mkdir()
    path = folder / "file"
    path.write_text("secret")
    path.chmod(0o600)
    with pytest.raises(EngineError, match=r"(PermissionError|Errno 13|Errno 1\b)"):
        call(engine, function, str(folder if function == "remove" else path))
    assert path.read_text() == "secret"
    assert path.stat().st_mode & 0o777 == 0o600


@confined
def test_it_cannot_write_beside_its_file(engine: Path) -> None:
    with pytest.raises(EngineError, match="PermissionError"):
        call(engine, "write", str(engine))
    assert engine.read_bytes() == b"an engine"


@confined
def test_it_reaches_no_network_and_no_socket(engine: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        with pytest.raises(EngineError, match="PermissionError"):
            call(engine, "connect", listening.getsockname()[1])
        with pytest.raises(EngineError, match="PermissionError"):
            call(engine, "connect_locally", str(engine.parent / "socket"))


@confined
@pytest.mark.parametrize("function", ["run_program", "signal_audit", "lower_limits_of_audit"])
def test_it_reaches_no_other_process(engine: Path, function: str) -> None:
    with pytest.raises(EngineError, match="PermissionError"):
        call(engine, function)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("abort", "its process was ended by SIGABRT"),
        ("segfault", "its process was ended by SIGSEGV"),
        ("leave", "its process ended with exit code 3 (terminate called after throwing an instance of something)"),
        ("run_out_of_memory", "ran out of memory (terminate called after throwing an instance of 'std::bad_alloc')"),
        ("hang", "no output within 1 s: it hangs or is too slow; raise --limit-seconds"),
        ("stop_in_the_middle", "no output within 1 s: it hangs or is too slow; raise --limit-seconds"),
        ("fill_memory", "takes more than 200 MiB of memory; raise --limit-memory"),
        ("fill_disk", "writes more than 256 MiB into a temporary file"),
        ("answer_much", "at most 16,777,216 are read"),
        ("answer_escapes", "without control characters"),
    ],
)
def test_what_goes_wrong_is_one_line_that_names_the_cause(engine: Path, function: str, message: str) -> None:
    seconds = 1 if function in ("hang", "stop_in_the_middle") else 30
    with pytest.raises(SkinauditError) as error:
        call(engine, function, limits=Limits(seconds=seconds, memory=200 * 2**20))
    assert str(error.value).startswith(f"{engine}: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert "\x1b" not in str(error.value)


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (OSError(errno.EAGAIN, "Resource temporarily unavailable"), "ulimit -u"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "free some memory"),
        (OSError(errno.EACCES, "Permission denied", sys.executable), "may not run this Python"),
        (OSError(errno.ENOSPC, "No space left on device"), "set TMPDIR"),
    ],
)
def test_where_no_process_can_be_started_the_words_fit_the_cause(
    error: OSError, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("skinaudit.engines.isolation.launching.subprocess.Popen", refuse)
    with pytest.raises(EngineStoppedError, match=remedy):
        Server()
