"""However the program ends: one line, an exit code that is never that of FAIL, and the traceback for those who ask."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from skinaudit import cli
from skinaudit.commands import endings
from skinaudit.errors import InvalidInputError

INTERRUPTED = "skinaudit: interrupted; no partial file was left"


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


FAULTS = [
    (RecursionError("maximum depth"), "RecursionError: maximum depth"),
    (KeyError("absent"), "KeyError: 'absent'"),
    (ValueError("two\n  lines"), "ValueError: two lines"),
    (AssertionError(), "AssertionError"),
    (ImportError("numpy._core: undefined symbol"), "ImportError: numpy._core: undefined symbol"),
    (OSError(5, "Input/output error"), "OSError: [Errno 5] Input/output error"),
    (SystemExit(1), "SystemExit: 1"),  # of a library: it would read as FAIL
    (SystemExit(0), "SystemExit: 0"),  # and this one as PASS
    (SystemExit(), "SystemExit"),
    (SystemExit("gone"), "SystemExit: gone"),
    (GeneratorExit("why"), "GeneratorExit: why"),
    (BrokenPipeError(32, "Broken pipe"), "BrokenPipeError: [Errno 32] Broken pipe"),  # of a process that was started
    (UnspeakableError(), "UnspeakableError"),
]


def raising(error: BaseException) -> Callable[[], int]:
    def program() -> int:
        raise error

    return program


def ended(program: Callable[[], int], capsys: pytest.CaptureFixture[str]) -> tuple[object, list[str]]:
    """(exit code, lines on stderr)."""
    with pytest.raises(SystemExit) as stopped:
        endings.run(program)
    out, err = capsys.readouterr()
    assert out == ""
    return stopped.value.code, err.splitlines()


@pytest.mark.parametrize(("error", "description"), FAULTS, ids=lambda value: type(value).__name__)
def test_any_other_exception_is_one_line_that_names_it_and_exit_code_2(
    error: BaseException, description: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["skinaudit", "audit", "a.onnx"])
    line = f"skinaudit: audit stopped with an unexpected {description}; --debug or SKINAUDIT_DEBUG=1 shows the traceback"
    assert ended(raising(error), capsys) == (2, [line])
    monkeypatch.setenv("SKINAUDIT_DEBUG", "0")
    assert ended(raising(error), capsys) == (2, [line])
    monkeypatch.setenv("SKINAUDIT_DEBUG", "1")
    code, lines = ended(raising(error), capsys)
    assert (code, lines[0], lines[-1]) == (2, "Traceback (most recent call last):", line)
    assert any("in program" in text for text in lines)


def test_long_messages_are_cut(capsys: pytest.CaptureFixture[str]) -> None:
    _, (line,) = ended(raising(RuntimeError("word " * 1000)), capsys)
    assert len(line) < 500


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (InvalidInputError("a.onnx: no such engine"), "a.onnx: no such engine"),
        (FileNotFoundError(2, "No such file", "a.npz"), "a.npz: No such file; check the path, rights and free space"),
        (RuntimeError("Could not determine home directory."), "audit: this user has no home folder"),
        (ModuleNotFoundError("no", name="torchvision.ops"), "audit needs torchvision, which is not installed: pip"),
    ],
)
def test_what_a_user_can_mend_says_how(
    error: Exception, line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["skinaudit", "--debug", "audit", "a.onnx"])
    code, (message,) = ended(raising(error), capsys)
    assert code == 2
    assert message.startswith(f"skinaudit: {line}")


def test_a_current_folder_that_was_deleted_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    code, (line,) = ended(lambda: len(str(Path("a.onnx").absolute())), capsys)
    assert code == 2
    assert line.endswith("the current folder was deleted; change to another one, and run again")


def test_an_error_that_cannot_be_described_is_no_verdict(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(error: BaseException) -> str:
        raise KeyError("no words")

    monkeypatch.setattr(endings, "_line", broken)
    monkeypatch.setattr("sys.argv", ["skinaudit", "audit", "a.onnx"])
    assert ended(raising(ValueError("x")), capsys) == (2, ["skinaudit: audit stopped with an unexpected error"])


@pytest.mark.parametrize(("returned", "code"), [(0, 0), (1, 1), (2, 2), (3, 3)])
def test_the_program_s_own_codes_stay(returned: int, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(lambda: returned, capsys) == (code, [])


@pytest.mark.parametrize("command", ["train", "audit", "export"])
def test_only_a_training_is_told_to_go_on(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["skinaudit", command])
    code, (line,) = ended(raising(KeyboardInterrupt()), capsys)
    assert code == 130
    assert line.startswith(INTERRUPTED)
    assert ("--resume" in line) == (command == "train")


@pytest.mark.parametrize("name", sorted(cli.commands.commands))
def test_no_command_ends_in_fail_without_memory(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> NoReturn:
        raise MemoryError

    command = cli.commands.commands[name]
    monkeypatch.setattr(command, "params", [])
    monkeypatch.setattr(command, "callback", full)
    monkeypatch.setattr("sys.argv", ["skinaudit", name])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2
    assert capsys.readouterr().err == (
        f"skinaudit: {name}: not enough memory (MemoryError); free some, or raise its limit (ulimit -v)\n"
    )


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 3 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried"),
        OSError(12, "Cannot allocate memory"),
    ],
)
def test_too_little_memory_is_named_as_the_cause(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    code, (line,) = ended(raising(error), capsys)
    assert code == 2
    assert f"not enough memory ({type(error).__name__}: {error}); free some" in line


@pytest.mark.parametrize("arguments", [["--debug", "report", "absent.json"], ["report", "absent.json", "--debug"]])
def test_debug_is_taken_before_and_behind_the_command(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SKINAUDIT_DEBUG", "")
    monkeypatch.setattr("sys.argv", ["skinaudit", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1].startswith("skinaudit: absent.json: no such")


def program(code: str) -> subprocess.CompletedProcess[str]:
    """A process of its own that defines `program` and ends by it; interrupts reach it as they do from a terminal."""
    start = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    end = "\nfrom skinaudit.commands.endings import run\nrun(program)"
    return subprocess.run(
        [sys.executable, "-c", start + code + end], capture_output=True, text=True, timeout=100, check=False
    )


COMMAND_THAT_IMPORTS = """
import sys
sys.path.insert(0, {folder!r})
names = {{"__name__": {name!r}}}
exec("def program():\\n    import interrupted\\n    print('went on')\\n    return 0", names)
program = names["program"]
"""


@pytest.mark.parametrize("name", ["skinaudit.commands.training", "skinaudit.audit.audit"])
def test_an_interrupt_while_a_command_imports_ends_it_at_once(name: str, tmp_path: Path) -> None:
    """A library that swallows the exception, or dies of it, cannot stand in the way; elsewhere it is an exception."""
    swallowing = "import signal\ntry:\n    signal.raise_signal(signal.SIGINT)\nexcept KeyboardInterrupt:\n    pass\n"
    (tmp_path / "interrupted.py").write_text(swallowing)
    process = program(COMMAND_THAT_IMPORTS.format(folder=str(tmp_path), name=name))
    if "commands" in name:
        assert (process.returncode, process.stdout, process.stderr) == (130, "", f"{INTERRUPTED}\n")
    else:
        assert (process.returncode, process.stdout, process.stderr) == (0, "went on\n", "")
    (tmp_path / "interrupted.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)\n")
    process = program(COMMAND_THAT_IMPORTS.format(folder=str(tmp_path), name=name))
    assert (process.returncode, process.stdout, process.stderr) == (130, "", f"{INTERRUPTED}\n")


def test_an_interrupt_in_a_destructor_is_not_lost() -> None:
    process = program("""
import time

class Held:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)

def program():
    held = Held()
    del held
    while True:  # an interrupt that is lost keeps this going until the test gives up
        time.sleep(0.001)
""")
    assert (process.returncode, process.stdout, process.stderr) == (130, "", f"{INTERRUPTED}\n")


def test_another_fault_in_a_destructor_is_still_shown() -> None:
    process = program("""
class Held:
    def __del__(self):
        raise KeyError("why")

def program():
    held = Held()
    del held
    return 3
""")
    assert process.returncode == 3
    assert "KeyError: 'why'" in process.stderr


def test_an_interrupt_while_python_ends_shows_no_traceback() -> None:
    process = program("""
import atexit
atexit.register(lambda: signal.raise_signal(signal.SIGINT))

def program():
    print("PASS")
    return 0
""")
    assert process.stderr == ""
    assert process.returncode == -2  # ended by the signal, which shells show as 130


def test_an_interrupt_that_is_ignored_at_the_start_stays_ignored() -> None:
    process = program("""
signal.signal(signal.SIGINT, signal.SIG_IGN)

def program():
    signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    return 3
""")
    assert (process.returncode, process.stderr) == (3, "")


@pytest.mark.parametrize(
    ("module", "error"),
    [
        ("skinaudit.commands.endings", "KeyboardInterrupt"),
        ("skinaudit.cli", "KeyboardInterrupt"),
        ("click", "KeyboardInterrupt"),
        ("skinaudit.cli", "MemoryError"),
        ("click", "MemoryError"),
    ],
)
def test_what_happens_during_the_first_imports_is_one_line_too(module: str, error: str) -> None:
    process = subprocess.run(
        [sys.executable, "-c", f"""
import sys
class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == {module!r}:
            raise {error}
sys.meta_path.insert(0, Finder)
sys.argv = ["skinaudit", "audit", "a.onnx"]
from skinaudit.__main__ import main
main()
"""],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    code, line = {
        "KeyboardInterrupt": (130, INTERRUPTED),
        "MemoryError": (
            2,
            "skinaudit: audit: not enough memory (MemoryError); free some",
        ),
    }[error]
    (message,) = process.stderr.splitlines()
    assert process.returncode == code
    assert message.startswith(line)


def test_a_reader_that_left_a_table_is_no_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    """rich puts another file in place of the broken pipe before it ends the program, so that nothing is broken any more."""

    def table() -> int:
        try:
            raise BrokenPipeError
        except BrokenPipeError:
            raise SystemExit(1)  # noqa: B904 (as rich does)

    with pytest.raises(SystemExit) as stop:
        endings.run(table)
    assert (stop.value.code, capsys.readouterr().err) == (141, "")


def test_a_reader_that_left_is_no_verdict() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.run(
        [sys.executable, "-m", "skinaudit", "policy"], stdout=writer, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writer)
    assert (process.returncode, process.stderr) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_told_and_no_verdict() -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "skinaudit", "policy"]
        process = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
        (line,) = process.stderr.splitlines()
        assert process.returncode == 2
        assert line == "skinaudit: policy: cannot write its output (No space left on device); free some space"
        command = [sys.executable, "-m", "skinaudit", "report", "absent.json"]
        assert subprocess.run(command, stderr=full, check=False).returncode == 2


def test_a_closed_stream_changes_no_exit_code() -> None:
    command = f'"{sys.executable}" -m skinaudit report absent.json 2>&-'
    process = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert (process.returncode, process.stdout) == (2, "")
    command = f'"{sys.executable}" -m skinaudit policy >&-'
    process = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert (process.returncode, process.stderr) == (0, "")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_no_file_gets_the_number_of_a_stream_that_is_closed(closed: str, tmp_path: Path) -> None:
    program = (
        "import os, sys\nfrom pathlib import Path\nfrom skinaudit.commands import endings\n"
        "def program():\n"
        "    with open(sys.argv[1], 'w') as file:\n"
        "        os.system('echo printed; echo printed >&2')\n"
        "        file.write(str(file.fileno() > 2))\n"
        "    return 0\n"
        "endings.run(program)"
    )
    command = f'"{sys.executable}" -c "{program}" "{tmp_path / "file"}" {closed}'
    assert subprocess.run(["sh", "-c", command], capture_output=True, check=False).returncode == 0
    assert (tmp_path / "file").read_text() == "True"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a full disk is /dev/full")
def test_a_traceback_that_cannot_be_written_changes_no_exit_code() -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123 (a device)
        command = [sys.executable, "-m", "skinaudit", "--debug", "audit", "absent.onnx"]
        assert subprocess.run(command, stderr=full, stdout=subprocess.DEVNULL, check=False).returncode == 2


def test_a_module_of_a_standard_name_in_the_folder_is_one_line_and_no_verdict(tmp_path: Path) -> None:
    (tmp_path / "signal.py").write_text("raise ValueError('not the one')")
    command = [sys.executable, "-m", "skinaudit", "audit", "absent.onnx"]
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert process.returncode == 2
    assert "Traceback" not in process.stderr


def test_a_program_that_is_told_to_end_says_so_in_one_line_and_cleans_up(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from skinaudit.artifacts import files\n"
        "from skinaudit.commands import endings\n"
        "files.at_step = lambda step, target: step == sys.argv[1] and os.kill(os.getpid(), signal.SIGTERM)\n"
        "endings.run(lambda: files.write_bytes(Path('kept'), b'new') or 0)\n"
    )
    for step, content in (("made", "old"), ("written", "old"), ("before it is renamed", "old"), ("renamed", "new")):
        (tmp_path / "kept").write_text("old")
        process = subprocess.run(
            [sys.executable, "-c", code, step], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert (process.returncode, process.stderr) == (143, "skinaudit: terminated; no partial file was left\n")
        assert [path.name for path in tmp_path.iterdir()] == ["kept"]
        assert (tmp_path / "kept").read_text() == content


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]) * 2**20,) * 2)
sys.argv[1:] = ["report", "absent"]
from skinaudit.__main__ import main
main()
"""


@pytest.mark.parametrize("mebibytes", [60, 100, 150])
def test_a_limit_of_memory_is_told_as_such_and_never_ends_as_a_fail(mebibytes: int, tmp_path: Path) -> None:
    pytest.importorskip("resource")
    ended = subprocess.run(
        [sys.executable, "-c", LIMITED, str(mebibytes)], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith("skinaudit: ")
    assert "ulimit -v" in line or "absent" in line  # the second where so little is enough
