"""What can be known of plans without a GPU: whose they are, whether they are whole, that none is opened in this process."""

# ruff: noqa: N802, N815 (names as cuda-python spells them)

from __future__ import annotations

import ctypes
import gc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from skinaudit.engines import tensorrt_ as trt
from skinaudit.engines.open import open_engine, runtime_of
from skinaudit.engines.session import SessionDescription
from skinaudit.errors import EngineError, NoDeviceError


def rtx_plan(path: Path, *, size: int = 64, written: int | None = None) -> Path:
    """Bytes that look like a plan of TensorRT-RTX: its magic and its length."""
    content = bytearray(b"vtrt" + bytes(size - 4))
    content[0x10:0x18] = size.to_bytes(8, "little")
    path.write_bytes(bytes(content[:written]))
    return path


@pytest.fixture
def without_device(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(path: Path) -> None:
        raise NoDeviceError(f"{path}: a plan needs a CUDA device")

    monkeypatch.setattr(trt, "_device", absent)


def test_a_plan_is_opened_by_the_library_that_made_it(tmp_path: Path) -> None:
    assert runtime_of(rtx_plan(tmp_path / "one.plan")) == "tensorrt-rtx"
    other = tmp_path / "two.engine"
    other.write_bytes(b"ftrt" + bytes(60))
    assert runtime_of(other) == "tensorrt"


def test_without_a_device_the_answer_is_one_line_that_offers_the_emulation(tmp_path: Path) -> None:
    with pytest.raises(EngineError) as error:  # with a device, the library itself must refuse these bytes
        open_engine(rtx_plan(tmp_path / "one.plan"))
    offered = "--emulate" if isinstance(error.value, NoDeviceError) else "cannot open it"
    assert offered in str(error.value)
    assert "\n" not in str(error.value)


def test_the_device_is_asked_for_before_the_library_is_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without_device: None
) -> None:
    monkeypatch.setattr(trt.importlib, "import_module", lambda name: pytest.fail(f"{name} was imported"))
    with pytest.raises(NoDeviceError):
        open_engine(rtx_plan(tmp_path / "one.plan"))


@pytest.mark.parametrize("written", [0, 3, 20, 63])
def test_a_truncated_plan_is_refused_before_anything_else(tmp_path: Path, without_device: None, written: int) -> None:
    path = rtx_plan(tmp_path / "one.plan", written=written)
    with pytest.raises(EngineError, match="truncated") as error:
        open_engine(path, runtime="tensorrt-rtx")
    assert not isinstance(error.value, NoDeviceError)


def test_a_plan_of_the_other_library_a_missing_one_and_another_provider_are_refused(
    tmp_path: Path, without_device: None
) -> None:
    path = rtx_plan(tmp_path / "one.plan")
    with pytest.raises(EngineError, match="not a plan of tensorrt but of TensorRT-RTX"):
        open_engine(path, runtime="tensorrt")
    with pytest.raises(EngineError, match="no such engine"):
        open_engine(tmp_path / "absent.plan")
    with pytest.raises(EngineError, match="a plan runs on a GPU only"):
        open_engine(path, provider="cpu")


class Cuda:
    """cuda-python's runtime in host memory: what is allocated, and what is freed twice or never. `budget`: bytes on the
    device, after which it fails."""

    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)

    def __init__(self, budget: int = 1 << 20) -> None:
        self.held: dict[int, tuple[str, Any]] = {}
        self.streams: set[int] = set()
        self.budget = budget

    def _allocate(self, kind: str, size: int) -> tuple[int, int]:
        memory = ctypes.create_string_buffer(size)
        self.held[ctypes.addressof(memory)] = (kind, memory)
        return 0, ctypes.addressof(memory)

    def _release(self, kind: str, pointer: int) -> tuple[int]:
        assert self.held.pop(pointer)[0] == kind
        return (0,)

    def cudaMallocHost(self, size: int) -> tuple[int, int]:
        return self._allocate("host", size)

    def cudaMalloc(self, size: int) -> tuple[int, int]:
        return (2, 0) if size > self.budget else self._allocate("device", size)

    def cudaFreeHost(self, pointer: int) -> tuple[int]:
        return self._release("host", pointer)

    def cudaFree(self, pointer: int) -> tuple[int]:
        return self._release("device", pointer)

    def cudaStreamCreate(self) -> tuple[int, int]:
        self.streams.add(7)
        return 0, 7

    def cudaStreamSynchronize(self, stream: int) -> tuple[int]:
        assert stream in self.streams
        return (0,)

    def cudaStreamDestroy(self, stream: int) -> tuple[int]:
        self.streams.remove(stream)
        return (0,)

    def cudaMemcpyAsync(self, target: int, source: int, size: int, kind: int, stream: int) -> tuple[int]:
        ctypes.memmove(target, source, size)
        return (0,)


class Doubler:
    """An engine and its context: float32 `image` (batch, 2) -> `logits`, twice the input."""

    num_io_tensors = 2

    def __init__(self) -> None:
        self.shape, self.address = (1, 2), {}

    def create_execution_context(self) -> Doubler:
        return self

    def get_tensor_name(self, index: int) -> str:
        return ("image", "logits")[index]

    def get_tensor_mode(self, name: str) -> str:
        return {"image": "in", "logits": "out"}[name]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shape

    def get_tensor_dtype(self, name: str) -> str:
        return "float32"

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shape = shape
        return True

    def set_tensor_address(self, name: str, address: int) -> None:
        self.address[name] = address

    def execute_async_v3(self, stream: int) -> bool:
        count = self.shape[0] * self.shape[1]
        image, logits = ((ctypes.c_float * count).from_address(self.address[name]) for name in ("image", "logits"))
        for index in range(count):
            logits[index] = 2 * image[index]
        return True


def session(cuda: Cuda) -> trt.TrtSession:
    library = SimpleNamespace(TensorIOMode=SimpleNamespace(INPUT="in"), nptype=np.dtype)
    about = SessionDescription("tensorrt", "1", "cuda", "fake", 1, {})
    return trt.TrtSession(Path("one.plan"), library, cuda, about, Doubler())


def run(opened: trt.TrtSession, batch: int) -> None:
    images = np.random.default_rng(batch).normal(size=(batch, 2)).astype(np.float32)
    np.testing.assert_array_equal(opened.run(images, input="image", output="logits"), 2 * images)


def test_buffers_grow_are_kept_and_are_freed_with_the_stream_once() -> None:
    cuda = Cuda()
    opened = session(cuda)
    for batch in (2, 5, 3):
        run(opened, batch)
        assert sorted(kind for kind, _ in cuda.held.values()) == ["device", "device", "host", "host"]
    opened.close()
    assert (cuda.held, cuda.streams) == ({}, set())
    opened.close()


def test_a_session_that_is_forgotten_frees_all() -> None:
    cuda = Cuda()
    opened = session(cuda)
    run(opened, 4)
    del opened
    gc.collect()
    assert (cuda.held, cuda.streams) == ({}, set())


def test_a_device_without_memory_leaves_nothing_behind() -> None:
    cuda = Cuda(budget=100)
    opened = session(cuda)
    run(opened, 4)
    with pytest.raises(EngineError, match="CUDA failed"):
        run(opened, 400)
    opened.close()
    assert (cuda.held, cuda.streams) == ({}, set())


def test_a_session_that_could_not_be_opened_has_nothing_to_free() -> None:
    engine = SimpleNamespace(create_execution_context=lambda: None)
    with pytest.raises(EngineError, match="no execution context"):
        trt.TrtSession(Path("one.plan"), None, Cuda(), SessionDescription("tensorrt", "1", "cuda", "fake", 1, {}), engine)
