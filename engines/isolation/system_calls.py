"""The system calls that an engine's process may not make, as a filter that the kernel runs."""

from __future__ import annotations

import errno
import platform
import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_OLD_32_BIT = 0x40000000
_THREAD = 0x10000  # CLONE_THREAD

DENIED: Mapping[str, tuple[int, int]] = {
    # the network, and sockets of other programs
    "socket": (41, 198), "io_uring_setup": (425, 425),
    # other processes
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424), "tkill": (200, 130), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240), "execve": (59, 221), "execveat": (322, 281), "fork": (57, -1), "vfork": (58, -1),
    # attributes of files, which Landlock does not restrict
    "chmod": (90, -1), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, -1),
    "fchown": (93, 55), "lchown": (94, -1), "fchownat": (260, 54), "utime": (132, -1), "utimes": (235, -1),
    "futimesat": (261, -1), "utimensat": (280, 88), "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16),
    # system administration, in case an audit runs as root
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "unshare": (272, 97),
    "setns": (308, 268), "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "keyctl": (250, 219),
    "add_key": (248, 217), "request_key": (249, 218), "init_module": (175, 105), "finit_module": (313, 273),
    "delete_module": (176, 106), "kexec_load": (246, 104), "reboot": (169, 142), "swapon": (167, 224), "swapoff": (168, 225),
    "open_by_handle_at": (304, 265), "settimeofday": (164, 170), "clock_settime": (227, 112), "sethostname": (170, 161),
}  # fmt: skip
"""Number of each call on x86_64 and on aarch64; -1 if the processor does not have the call."""
_OWN_ONLY: Mapping[str, tuple[int, int]] = {"kill": (62, 129), "tgkill": (234, 131)}
"""Allowed only with this process itself as target, because abort() needs them."""
_LIMITS = {"prlimit64": (302, 261)}
_SOCKET, _LOCAL = "socket", 1  # AF_UNIX
_PROCESSES = ("execve", "execveat", "fork", "vfork")
_CLONE, _CLONE3 = (56, 220), (435, 435)


@dataclass(frozen=True)
class _Processor:
    column: int
    architecture: int


_PROCESSORS = {"x86_64": _Processor(0, 0xC000003E), "aarch64": _Processor(1, 0xC00000B7)}


def known_processor() -> bool:
    """Whether the filter knows this processor's numbers of the system calls."""
    return sys.platform.startswith("linux") and platform.machine() in _PROCESSORS


def filter_program(process: int, *, for_gpu: bool = False) -> bytes:
    """The BPF filter for the process with this number: calls of DENIED fail with EPERM; new threads are allowed.

    for_gpu: also allow new programs and sockets of this machine. New programs inherit the filter.
    """
    processor = _PROCESSORS[platform.machine()]
    column = processor.column
    program = [
        _step(_LOAD, _ARCHITECTURE),
        _step(_EQUAL, processor.architecture, 1, 0),
        _step(_RETURN, _KILL),
        _step(_LOAD, _NUMBER),
        _step(_AT_LEAST, _OLD_32_BIT, 0, 1),
        _step(_RETURN, _ERRNO | errno.EPERM),
    ]
    for name, numbers in DENIED.items():
        if numbers[column] >= 0 and not (for_gpu and name in (_SOCKET, *_PROCESSES)):
            program += [_step(_EQUAL, numbers[column], 0, 1), _step(_RETURN, _ERRNO | errno.EPERM)]
    # glibc falls back to clone if clone3 is absent; a filter cannot see the arguments of clone3
    program += [_step(_EQUAL, _CLONE3[column], 0, 1), _step(_RETURN, _ERRNO | errno.ENOSYS)]
    if for_gpu:
        program += _conditional(DENIED[_SOCKET][column], _step(_EQUAL, _LOCAL, 0, 1))
    else:
        program += _conditional(_CLONE[column], _step(_ANY_BIT, _THREAD, 0, 1))
        for numbers in _OWN_ONLY.values():
            program += _conditional(numbers[column], _step(_EQUAL, process, 0, 1))
    for numbers in _LIMITS.values():
        program += _conditional(numbers[column], _step(_EQUAL, 0, 0, 1))
    program.append(_step(_RETURN, _ALLOW))
    return b"".join(program)


def _conditional(number: int, condition: bytes) -> list[bytes]:
    """Allow a call only if its first argument meets a condition."""
    return [
        _step(_EQUAL, number, 0, 4),
        _step(_LOAD, _FIRST_ARGUMENT),
        condition,
        _step(_RETURN, _ALLOW),
        _step(_RETURN, _ERRNO | errno.EPERM),
    ]


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)
