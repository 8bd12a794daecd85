"""The memory that a command keeps, in a process of its own, because the setting is the process's."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest
import torch

from skinaudit.trainer import cpu

NEW_PAGES = """
import ctypes, resource
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
library.free.argtypes = [ctypes.c_void_p]
library.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
{prepare}
def fill():
    taken = [library.malloc(20 << 20) for _ in range(4)]
    for memory in taken:
        library.memset(memory, 1, 20 << 20)
    for memory in taken:
        library.free(memory)
for _ in range(2):
    fill()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
fill()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def new_pages(prepare: str) -> int:
    """Pages that the system gave to a process which fills 80 MiB for the third time."""
    code = NEW_PAGES.format(prepare=prepare)
    return int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has this setting")
def test_freed_memory_is_used_again() -> None:
    assert new_pages("import skinaudit.trainer.cpu; skinaudit.trainer.cpu.prepare(1)") < 100
    assert new_pages("") > 10_000


def test_the_number_of_threads_is_set() -> None:
    before = torch.get_num_threads()
    try:
        cpu.prepare(2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("name", cpu.VARIABLES)
def test_what_the_user_has_set_is_left_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    monkeypatch.setattr(cpu.ctypes, "CDLL", lambda name: pytest.fail("asked for a C library"))
    cpu.prepare(torch.get_num_threads())


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu.sys, "platform", "darwin")
    monkeypatch.setattr(cpu.ctypes, "CDLL", lambda name: pytest.fail("asked for a C library"))
    cpu.prepare(torch.get_num_threads())
