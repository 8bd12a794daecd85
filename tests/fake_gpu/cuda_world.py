"""CUDA's runtime over host memory: allocations, streams whose work happens when they are synchronised, graphs.

Device memory has addresses that no host code can read. Copies and kernels wait in their stream; until then the target of a
copy to the host holds garbage, so that an answer read too early is wrong.
"""

# ruff: noqa: N802 (names as cuda-python spells them)

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fake_gpu.finder import CUDA, real_cuda
from fake_gpu.settings import machine

_DEVICE_BASE = 0x7F00_0000_0000
_ALIGNMENT = 256
_GARBAGE = 0xCD
Work = Callable[[], None]


@dataclass
class Allocation:
    """`content` of device memory is a bytearray, of pinned host memory a ctypes buffer at its real address."""

    kind: str
    size: int
    device: int
    content: Any


@dataclass
class Stream:
    """Work that waits. recorded: what is being captured instead of enqueued; None outside a capture."""

    device: int
    waiting: list[Work] = field(default_factory=list)
    recorded: list[Work] | None = None


class World:
    """All that CUDA holds in this process."""

    def __init__(self) -> None:
        real = real_cuda()
        self.error, self.copy_kinds, self.real = real.cudaError_t, real.cudaMemcpyKind, real
        self.allocations: dict[int, Allocation] = {}
        self.streams: dict[int, Stream] = {}
        self.graphs: dict[int, list[Work]] = {}
        self.runnable: dict[int, list[Work]] = {}
        self.calls: list[str] = []
        self.current, self._next = 0, 1

    # Devices

    def cudaGetDeviceCount(self) -> tuple[Any, ...]:
        if machine().driver < 13000:
            return self.error.cudaErrorInsufficientDriver, None
        if not machine().devices:
            return self.error.cudaErrorNoDevice, None
        return self.error.cudaSuccess, len(machine().devices)

    def cudaDriverGetVersion(self) -> tuple[Any, ...]:
        return self.error.cudaSuccess, machine().driver

    def cudaRuntimeGetVersion(self) -> tuple[Any, ...]:
        return self.error.cudaSuccess, 13050

    def cudaGetDeviceProperties(self, device: int) -> tuple[Any, ...]:
        return self.error.cudaSuccess, SimpleNamespace(name=machine().devices[device].encode().ljust(256, b"\0"))

    def cudaSetDevice(self, device: int) -> tuple[Any, ...]:
        if not 0 <= device < len(machine().devices):
            return (self.error.cudaErrorInvalidDevice,)
        self.current = device
        return (self.error.cudaSuccess,)

    # Memory

    def cudaMallocHost(self, size: int) -> tuple[Any, ...]:
        content = ctypes.create_string_buffer(bytes([_GARBAGE]) * size, size)
        return self._hold(ctypes.addressof(content), Allocation("host", size, self.current, content))

    def cudaMalloc(self, size: int) -> tuple[Any, ...]:
        used = sum(
            allocation.size
            for allocation in self.allocations.values()
            if allocation.kind == "device" and allocation.device == self.current
        )
        if used + size > machine().memory:
            return self.error.cudaErrorMemoryAllocation, None
        address = _DEVICE_BASE + self._next * _ALIGNMENT
        self._next += size // _ALIGNMENT + 1
        return self._hold(address, Allocation("device", size, self.current, bytearray([_GARBAGE]) * size))

    def cudaFreeHost(self, address: int) -> tuple[Any, ...]:
        return self._release(address, "host")

    def cudaFree(self, address: int) -> tuple[Any, ...]:
        return self._release(address, "device") if address else (self.error.cudaSuccess,)

    def view(self, address: int, size: int, kind: str) -> NDArray[np.uint8]:
        """The bytes at an address, which has to lie in an allocation of this kind that is still held."""
        for start, allocation in self.allocations.items():
            if start <= address and address + size <= start + allocation.size:
                assert allocation.kind == kind, f"{kind} memory was meant, this is {allocation.kind}"
                offset = address - start
                return np.frombuffer(allocation.content, np.uint8)[offset : offset + size]
        raise AssertionError(f"{size} bytes at {address:#x} are not {kind} memory that is held")

    def _handle(self) -> int:
        self._next += 1
        return 0x1000 + 0x10 * self._next

    def _hold(self, address: int, allocation: Allocation) -> tuple[Any, ...]:
        self.calls.append(f"allocate {allocation.kind}")
        self.allocations[address] = allocation
        return self.error.cudaSuccess, address

    def _release(self, address: int, kind: str) -> tuple[Any, ...]:
        assert address in self.allocations, f"{kind} memory at {address:#x} was freed twice or never allocated"
        assert self.allocations[address].kind == kind, f"{self.allocations[address].kind} memory was freed as {kind}"
        busy = [stream for stream in self.streams.values() if stream.waiting]
        assert not busy, "memory was freed while a stream still has work"
        del self.allocations[address]
        self.calls.append(f"free {kind}")
        return (self.error.cudaSuccess,)

    # Streams

    def cudaStreamCreate(self) -> tuple[Any, ...]:
        handle = self._handle()
        self.streams[handle] = Stream(self.current)
        self.calls.append("create stream")
        return self.error.cudaSuccess, self.real.cudaStream_t(handle)

    def cudaStreamDestroy(self, stream: Any) -> tuple[Any, ...]:
        assert int(stream) in self.streams, "a stream was destroyed twice or never created"
        del self.streams[int(stream)]
        self.calls.append("destroy stream")
        return (self.error.cudaSuccess,)

    def cudaStreamSynchronize(self, stream: Any) -> tuple[Any, ...]:
        state = self.streams[int(stream)]
        if state.recorded is not None:
            return (self.error.cudaErrorStreamCaptureUnsupported,)
        waiting, state.waiting = state.waiting, []
        for work in waiting:
            work()
        self.calls.append("synchronise")
        return (self.error.cudaSuccess,)

    def enqueue(self, stream: int, work: Work) -> None:
        """Put work on a stream of the current device, or into the graph that it captures."""
        state = self.streams[stream]
        assert state.device == self.current, "a stream was used on another device than its own"
        (state.waiting if state.recorded is None else state.recorded).append(work)

    def cudaMemcpyAsync(self, target: int, source: int, size: int, kind: Any, stream: Any) -> tuple[Any, ...]:
        to_device = kind == self.copy_kinds.cudaMemcpyHostToDevice
        assert to_device or kind == self.copy_kinds.cudaMemcpyDeviceToHost, kind
        kinds = ("device", "host") if to_device else ("host", "device")
        written, _ = self.view(target, size, kinds[0]), self.view(source, size, kinds[1])
        if not to_device:
            written[:] = _GARBAGE

        def copy() -> None:
            self.view(target, size, kinds[0])[:] = self.view(source, size, kinds[1])

        self.calls.append(f"copy to {kinds[0]}")
        self.enqueue(int(stream), copy)
        return (self.error.cudaSuccess,)

    # Graphs

    def cudaStreamBeginCapture(self, stream: Any, mode: Any) -> tuple[Any, ...]:
        state = self.streams[int(stream)]
        assert not state.waiting, "a capture begins on a stream that still has work"
        state.recorded = []
        self.calls.append("begin capture")
        return (self.error.cudaSuccess,)

    def cudaStreamEndCapture(self, stream: Any) -> tuple[Any, ...]:
        state = self.streams[int(stream)]
        work, state.recorded = state.recorded, None
        if work is None:
            return self.error.cudaErrorIllegalState, None
        handle = self._handle()
        self.graphs[handle] = work
        self.calls.append("end capture")
        return self.error.cudaSuccess, self.real.cudaGraph_t(handle)

    def cudaGraphInstantiate(self, graph: Any, flags: int) -> tuple[Any, ...]:
        handle = self._handle()
        self.runnable[handle] = list(self.graphs[int(graph)])
        self.calls.append("instantiate")
        return self.error.cudaSuccess, self.real.cudaGraphExec_t(handle)

    def cudaGraphLaunch(self, runnable: Any, stream: Any) -> tuple[Any, ...]:
        for work in self.runnable[int(runnable)]:
            self.enqueue(int(stream), work)
        self.calls.append("launch")
        return (self.error.cudaSuccess,)

    def cudaGraphDestroy(self, graph: Any) -> tuple[Any, ...]:
        del self.graphs[int(graph)]
        return (self.error.cudaSuccess,)

    def cudaGraphExecDestroy(self, runnable: Any) -> tuple[Any, ...]:
        del self.runnable[int(runnable)]
        return (self.error.cudaSuccess,)

    def leaks(self) -> dict[str, int]:
        """What is still held, by kind; empty if nothing is."""
        kinds = [allocation.kind for allocation in self.allocations.values()]
        counts = {kind: kinds.count(kind) for kind in set(kinds)}
        handles_by_kind = {"streams": self.streams, "graphs": self.graphs, "runnable graphs": self.runnable}
        return {**counts, **{name: len(handles) for name, handles in handles_by_kind.items() if handles}}

    def forget(self) -> None:
        """Drop everything, as the end of a process does."""
        for table in (self.allocations, self.streams, self.graphs, self.runnable):
            table.clear()


_worlds: list[World] = []


def world() -> World:
    """CUDA in this process."""
    if not _worlds:
        _worlds.append(World())
    return _worlds[0]


def start_anew() -> World:
    """Forget all that was held."""
    _worlds.clear()
    return world()


def module() -> ModuleType:
    """cuda-python's module with the fake in place of its functions."""
    current_world = world()
    fake = ModuleType(CUDA)
    fake.__dict__.update(
        {name: value for name, value in vars(current_world.real).items() if not callable(value) or isinstance(value, type)}
    )
    fake.__dict__.update({name: getattr(current_world, name) for name in dir(current_world) if name.startswith("cuda")})
    return fake
