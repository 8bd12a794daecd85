"""Confine this process: no network, no other processes, and only the files in a few folders.

This needs Linux: Landlock (files) and seccomp (system calls). Both apply until the process ends, and to all threads that
it starts. Sources: https://docs.kernel.org/userspace-api/landlock.html and
https://docs.kernel.org/userspace-api/seccomp_filter.html
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from skinaudit.artifacts.outside import real
from skinaudit.engines.isolation.system_calls import filter_program, known_processor

Confinement = Literal["whole", "gpu", "none"]
"""whole: see `confine`. gpu: the same plus the access that CUDA needs. none: for code that the user allowed."""
UNCONFINED_GPU = "SKINAUDIT_UNCONFINED_GPU"
"""The environment variable that turns confinement off for engines on a GPU, in case a driver cannot work with it."""

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on all processors
_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER, _DEATH_SIGNAL = 38, 22, 2, 1
_VERSION_FLAG = 1
_BENEATH = 1  # LANDLOCK_RULE_PATH_BENEATH
_EXECUTE, _WRITE, _READ, _LIST = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_CHANGES = sum(1 << bit for bit in range(4, 13))  # remove and create files of all kinds
_REFER, _TRUNCATE = 1 << 13, 1 << 14
_TCP = 0b11  # bind and connect
_SCOPES = 0b11  # abstract sockets and signals beyond the process
_SYSTEM = (
    "/usr",
    "/lib",
    "/lib64",
    "/opt",
    "/nix/store",
    "/proc",
    "/sys",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/OpenCL",
    "/etc/vulkan",
)
_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random", "/dev/shm", "/dev/dri", "/dev/kfd", "/dev/dxg")


def landlock_version() -> int:
    """The version of Landlock that this kernel offers; 0 if it offers none, or if the system is not Linux."""
    if not sys.platform.startswith("linux"):
        return 0
    return max(0, int(_libc().syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION_FLAG)))


def missing_confinement() -> str:
    """The parts of the confinement that this machine lacks, listed for a sentence; empty if nothing is missing."""
    missing = []
    if not landlock_version():
        missing.append("Landlock (files)")
    if not known_processor():
        missing.append("a seccomp filter for this processor (network and other processes)")
    return " and ".join(missing)


def gpu_nodes() -> list[Path]:
    """Device files of NVIDIA's driver on this machine."""
    return sorted(Path("/dev").glob("nvidia*"))


def confine(*, reads: Iterable[Path], writes: Sequence[Path], for_gpu: bool = False) -> None:
    """Restrict this process: it may read `reads` and the folders of Python and the system, and write into `writes`.

    It can open no socket, and cannot start, stop or inspect other processes. for_gpu: still allow sockets of this machine
    and new processes with the same restrictions, because CUDA and the trial of a plan need them. With UNCONFINED_GPU set, a
    GPU process is not restricted at all. Restrictions that the kernel does not offer are left out; see
    `missing_confinement`. Raises OSError if the kernel refuses a restriction that it offers.
    """
    if for_gpu and os.environ.get(UNCONFINED_GPU, "") not in ("", "0"):
        return
    libc = _libc()
    _check_result(libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0), "no_new_privs")
    version = landlock_version()
    if version:
        further = _of_gpu() if for_gpu else []
        runs = _EXECUTE if for_gpu else 0
        _restrict_files(libc, version, reads=[*reads, *_own_folders(), *further], writes=writes, runs=runs)
    if known_processor():
        program = filter_program(os.getpid(), for_gpu=for_gpu)
        buffer = ctypes.create_string_buffer(program, len(program))
        attribute = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer)))
        _check_result(libc.prctl(_SET_SECCOMP, _FILTER, attribute, 0, 0), "seccomp")


def end_with_parent(parent: int) -> None:
    """Let the kernel end this process when its parent ends. parent: process number; the parent may already have ended."""
    if sys.platform.startswith("linux"):
        _check_result(_libc().prctl(_DEATH_SIGNAL, 9, 0, 0, 0), "parent death signal")
    if os.getppid() != parent:
        os._exit(1)


def _of_gpu() -> list[Path]:
    """Folders outside the system's own in which a GPU driver and its libraries may be installed."""
    named = [os.environ.get(name, "") for name in ("CUDA_HOME", "CUDA_PATH")]
    searched = os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    return [Path(entry) for entry in (*named, *searched, "/etc/nvidia", "/run/nvidia-persistenced") if entry]


def _restrict_files(
    libc: ctypes.CDLL, version: int, *, reads: Iterable[Path], writes: Sequence[Path], runs: int
) -> None:  # fmt: skip
    handled = _EXECUTE | _WRITE | _READ | _LIST | _CHANGES
    handled |= (_REFER if version >= 2 else 0) | (_TRUNCATE if version >= 3 else 0)
    attribute = struct.pack("QQQ", handled, _TCP, _SCOPES)[: 8 if version < 4 else 16 if version < 6 else 24]
    ruleset = _check_result(
        libc.syscall(_CREATE_RULESET, attribute, ctypes.c_size_t(len(attribute)), 0), "landlock_create_ruleset"
    )
    try:
        for path in (*map(Path, _SYSTEM), *reads):
            _allow(libc, ruleset, path, _READ | _LIST | runs)
        for path in (*map(Path, _DEVICES), *gpu_nodes()):
            _allow(libc, ruleset, path, _READ | _LIST | _WRITE)
        for path in writes:
            _allow(libc, ruleset, path, handled & ~_EXECUTE)
        _check_result(libc.syscall(_RESTRICT_SELF, ruleset, 0), "landlock_restrict_self")
    finally:
        os.close(ruleset)


def _allow(libc: ctypes.CDLL, ruleset: int, path: Path, rights: int) -> None:
    """Grant rights below a path; a path that does not exist is skipped."""
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= _EXECUTE | _WRITE | _READ | _TRUNCATE
        rule = struct.pack("=Qi", rights, descriptor)
        _check_result(libc.syscall(_ADD_RULE, ruleset, _BENEATH, rule, 0), f"landlock_add_rule {path}")
    finally:
        os.close(descriptor)


def _own_folders() -> list[Path]:
    """Folders that contain Python and the modules that it imports."""
    package = Path(__file__).resolve().parents[2]
    return [Path(sys.prefix), Path(sys.base_prefix), package, *(real(entry) for entry in sys.path if entry)]


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check_result(result: int, operation: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{operation}: {os.strerror(number)}")
    return result
