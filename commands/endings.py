"""How the program ends: every error is one line on stderr and an exit code, and a crash never has the code of FAIL.

Imported before everything else, so it imports nothing that takes time.
"""

from __future__ import annotations

import atexit
import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn

from skinaudit.artifacts.printable import printable
from skinaudit.errors import DEBUG, SkinauditError, about_memory, debugging, in_one_line

FAILED_TO_RUN = 2
INTERRUPTED = 130
TERMINATED = 143
BROKEN_PIPE = 141

_INTERRUPTED = "interrupted; no partial file was left"
_TERMINATED = "terminated; no partial file was left"
_COMMANDS = ("skinaudit.commands.", "skinaudit.__main__", "__main__")
_RESUME = " (--resume continues an interrupted training)"


class Terminated(KeyboardInterrupt):
    """Another program asked this one to end (SIGTERM), as batch systems and containers do. Handled like an interrupt."""


def run(program: Callable[[], int]) -> NoReturn:
    """Call the program and exit with the code that it returns; every exception becomes a line and an exit code.

    Codes: 2 for an error that skinaudit raises on purpose and for any other exception, 130 for an interrupt, 143 for
    SIGTERM, 141 if nobody reads the output any more. The traceback is printed too if `errors.debugging()` says so.
    """
    _open_closed_streams()
    try:
        try:
            with _listening():
                _check_memory()
                code = program()
                if sys.stdout is not None:  # None if it was closed before the start
                    sys.stdout.flush()  # so that a full disk is reported here, not by Python when it ends
        except BaseException as error:
            code = _report(error)
    except KeyboardInterrupt:  # a second one, while the first was being reported
        code = INTERRUPTED
    except BaseException:  # the report itself failed: Python's exit code would be that of FAIL
        code = FAILED_TO_RUN
        _print(f"{_command_name()} stopped with an unexpected error")
    _settle_output()
    atexit.register(_die_of_interrupts)
    sys.exit(code)


def _open_closed_streams() -> None:
    """Open /dev/null in place of a standard stream that was closed before the start.

    Otherwise the next file or socket gets its number: a library would print into it, and a process that is started would
    lose it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
            os.set_inheritable(number, True)


def _check_memory() -> None:
    """Raise SkinauditError if a limit (ulimit -v) leaves no memory for numpy's linear algebra library.

    Without memory, this library ends the process itself with exit code 1, which means FAIL. So it is first tried in a
    separate process, and then takes the needed memory here before anything else does. Only done under a limit.
    """
    try:
        import resource
    except ImportError:  # Windows
        return
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return
    process = os.fork()
    if not process:
        _try_algebra()
    _, status = os.waitpid(process, 0)
    if status:
        raise SkinauditError(f"not enough memory: its limit (ulimit -v) is {limit / 2**20:,.0f} MiB; raise it")
    with suppress(ImportError):  # the command that needs it reports this
        _multiply()


def _try_algebra() -> NoReturn:
    """Use numpy and end. The code is also 0 for problems other than memory, which are reported when numpy is needed."""
    code = 0
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        _multiply()
    except BaseException as error:
        code = int(isinstance(error, MemoryError) or about_memory(str(error)))
    os._exit(code)


def _multiply() -> None:
    """A product that uses all threads of the library, each in memory that it keeps."""
    import numpy as np

    np.ones((512, 512), np.float32) @ np.ones((512, 512), np.float32)


def _command_name() -> str:
    """The command with which the program was started. Options of the program itself have no values."""
    return next((word for word in sys.argv[1:] if not word.startswith("-")), "skinaudit")


def _report(error: BaseException) -> int:
    """Report this exception in one line; returns its exit code."""
    if isinstance(error, BrokenPipeError | SystemExit) and _nobody_reads():  # click converts the first to the second
        return BROKEN_PIPE
    # raised by rich, which closes the pipe
    if isinstance(error, SystemExit) and isinstance(error.__context__, BrokenPipeError):
        return BROKEN_PIPE
    if isinstance(error, KeyboardInterrupt):
        message, code = (_TERMINATED, TERMINATED) if isinstance(error, Terminated) else (_INTERRUPTED, INTERRUPTED)
        _print(message + _RESUME * (_command_name() == "train"))
        return code
    if debugging():
        import traceback

        with suppress(OSError, ValueError):  # if nobody reads it, the exit code still counts
            traceback.print_exc()
    _print(_line(error))
    return FAILED_TO_RUN


def _line(error: BaseException) -> str:
    if isinstance(error, SkinauditError):
        return str(error)
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError | OSError) and about_memory(str(error))):
        return f"{_command_name()}: not enough memory ({in_one_line(error)}); free some, or raise its limit (ulimit -v)"
    if isinstance(error, FileNotFoundError) and error.filename is None and _is_nowhere():
        return f"{_command_name()}: the current folder was deleted; change to another one, and run again"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror or error}; check the path, rights and free space"
    # the message of a file has its name, see above
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{_command_name()}: cannot write its output ({error.strerror}); free some space"
    if isinstance(error, ImportError):
        if about_memory(str(error)):
            remedy = "free some, or raise its limit (ulimit -v)"
            return f"{_command_name()}: not enough memory to load a library ({error}); {remedy}"
        from skinaudit.commands.library.optional import absent

        if (missing_library := absent(error, _command_name())) is not None:
            return str(missing_library)
    if isinstance(error, RuntimeError) and "home directory" in str(error):  # from pathlib, which some libraries use
        return f"{_command_name()}: this user has no home folder, and a library wants one; set HOME to a folder to write to"
    problem = in_one_line(error)
    return f"{_command_name()} stopped with an unexpected {problem}; --debug or {DEBUG}=1 shows the traceback"


def _is_nowhere() -> bool:
    """Whether the current folder does not exist any more."""
    try:
        os.getcwd()  # noqa: PTH109 (Path.cwd is the same, and imports more)
    except FileNotFoundError:
        return True
    return False


def _print(line: str) -> None:
    if sys.stderr is not None:
        with suppress(OSError, ValueError):  # if nobody reads it, the exit code still counts
            print(f"skinaudit: {printable(line)}", file=sys.stderr)


def _nobody_reads() -> bool:
    """Whether standard output or standard error is a pipe without a reader. The broken pipe may be another one."""
    import select

    if not hasattr(select, "poll"):  # Windows
        return True
    streams = select.poll()
    for number in (1, 2):
        streams.register(number, 0)
    return any(event & select.POLLERR for _, event in streams.poll(0))


def _settle_output() -> None:
    """Leave Python nothing to write at its end if writing fails: Python would replace the exit code."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            setattr(sys, name, open(os.devnull, "w"))  # noqa: PTH123, SIM115 (open until the end)


@contextmanager
def _listening() -> Iterator[None]:
    """Inside, interrupts are handled at any point, unless they were ignored at the start, as under nohup."""
    hook, sys.unraisablehook = sys.unraisablehook, _raise_lost_interrupts_again
    ours = (
        signal.getsignal(signal.SIGINT) is signal.default_int_handler
        and threading.current_thread() is threading.main_thread()
    )
    in_main = threading.current_thread() is threading.main_thread()
    ends = in_main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if ours:
        signal.signal(signal.SIGINT, _interrupt)
    if ends:
        signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if ends:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        sys.unraisablehook = hook


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt or Terminated. While a command imports modules, end the process, because nothing was begun.

    Libraries in machine code do not survive an exception during their import: the process would crash.
    """
    importer = None
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            importer = frame.f_back
        frame = frame.f_back
    if importer is not None and str(importer.f_globals.get("__name__")).startswith(_COMMANDS):
        with suppress(OSError):
            os.write(2, f"skinaudit: {_TERMINATED if number == signal.SIGTERM else _INTERRUPTED}\n".encode())
        os._exit(TERMINATED if number == signal.SIGTERM else INTERRUPTED)
    raise Terminated if number == signal.SIGTERM else KeyboardInterrupt


def _raise_lost_interrupts_again(unraisable: Any) -> None:
    """Python prints and drops an interrupt that comes inside a destructor. This raises it again."""
    if isinstance(unraisable.exc_value, KeyboardInterrupt):
        # A moment later, because this function cannot raise it either.
        again = threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGINT))
        again.daemon = True
        again.start()
    else:
        sys.__unraisablehook__(unraisable)


def _die_of_interrupts() -> None:
    """While Python ends, an interrupt ends the process at once, without tracebacks: all files are already written."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
