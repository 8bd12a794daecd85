"""The session of plans on real CUDA memory, with torch in the place of TensorRT: its buffers, copies, streams and graphs."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from statistics import median
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from skinaudit.bench.gpu_parts.part import Answer, Keep, Settings
from skinaudit.bench.report import table
from skinaudit.bench.throughput import sets_of
from skinaudit.engines.plans.cuda_device import cuda_devices
from skinaudit.engines.plans.plan_session import PlanSession
from skinaudit.engines.session import INPUT, OUTPUT, SessionDescription
from skinaudit.trainer.checkpoint import load_run_model
from skinaudit.trainer.evaluate import to_pixels

TITLE = "The session of plans on CUDA memory, without TensorRT"
_COUNTS = (1, 7, 64, 128, 129, 300)
_PROFILES = {"1 to 128": (1, 32, 128), "8 to 64": (8, 32, 64), "64 only": (64, 64, 64)}
_CALLS = 50
_TYPE = SimpleNamespace(name="FLOAT")
_TRT = SimpleNamespace(
    TensorIOMode=SimpleNamespace(INPUT="input", OUTPUT="output"),
    TensorLocation=SimpleNamespace(DEVICE="device"),
    TensorFormat=SimpleNamespace(LINEAR="linear"),
)
"""What the session asks of the library's module."""


def measure(settings: Settings, keep: Keep) -> Answer:
    """Several counts of images under several profiles, with and without CUDA graphs, beside the same model called by torch.

    Each session must answer as the model does on the same batches, give back all its memory, and fail in one line after it
    was closed.
    """
    if settings.provider != "cuda":
        return Answer("Not run: it needs a CUDA device.\n")
    cuda, names = cuda_devices(purpose="the session of plans")
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
    model = load_run_model(settings.folder).cuda().eval()
    clean = next(sets_of(settings.folder)[0].batches(max(_COUNTS)))
    images = np.resize(to_pixels(clean, device=torch.device("cpu")).numpy(), (max(_COUNTS), *clean.shape[1:]))
    rows: list[list[str]] = []
    figures: dict[str, Any] = {"device": names[0]}

    def answer() -> Answer:
        columns = (
            "", f"largest difference from torch, {', '.join(map(str, _COUNTS))} images",
            "of what it reserved, not given back", "ms for a batch of 64", "torch alone, ms",
        )  # fmt: skip
        return Answer(f"On {names[0]}.\n\n{table(columns, rows)}", figures)

    for name, batches in _PROFILES.items():
        for graphs in (False, True):
            label = f"batches {name}{', CUDA graphs' if graphs else ''}"
            try:
                measured = _tried(cuda, model, images, batches=batches, graphs=graphs)
            except Exception as error:  # one setting that fails must not hide the others
                measured = {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]}
            figures[label] = measured
            rows.append([
                label, measured.get("error") or f"{measured['largest']:.1e}", f"{measured.get('not_freed', '-')}",
                f"{measured['milliseconds']:.2f}" if "milliseconds" in measured else "-",
                f"{measured['torch_milliseconds']:.2f}" if "torch_milliseconds" in measured else "-",
            ])  # fmt: skip
            keep(answer())
    return answer()


def _tried(
    cuda: Any, model: torch.nn.Module, images: NDArray[np.float32], *, batches: tuple[int, int, int], graphs: bool
) -> dict[str, Any]:
    counted = _Counted(cuda)
    session = PlanSession(
        _Engine(model, images.shape[1:], batches),
        trt=_TRT, cuda=counted, description=_DESCRIPTION, where="stand-in", graphs=graphs,
    )  # fmt: skip
    largest = 0.0
    for count in _COUNTS:
        for _ in range(3):  # run, recorded, replayed
            answer = session.run(images[:count], input=INPUT, output=OUTPUT)
            if answer.shape[0] != count:
                raise AssertionError(f"{count} images, {answer.shape[0]} answers")
            largest = max(largest, float(np.abs(answer - _by_torch(model, images[:count])).max()))
    milliseconds = _milliseconds(lambda: session.run(images[:64], input=INPUT, output=OUTPUT))
    session.close()
    return {
        "largest": largest,
        "reserved": counted.reservations,
        "not_freed": f"{len(counted.handles)} of {counted.reservations}",
        "milliseconds": milliseconds,
        "torch_milliseconds": _milliseconds(lambda: _by_torch(model, images[:64])),
    }


_DESCRIPTION = SessionDescription("torch", torch.__version__, "cuda", "a stand-in", 1, {})


@dataclass
class _Context:
    """What the session asks of an execution context; it computes with torch on the session's own stream and memory."""

    model: torch.nn.Module
    classes: int

    def __post_init__(self) -> None:
        self.shape: tuple[int, ...] = ()
        self.addresses: dict[str, int] = {}

    def set_optimization_profile_async(self, _profile: int, _stream: int) -> bool:
        return True

    def set_input_shape(self, _name: str, shape: tuple[int, ...]) -> bool:
        self.shape = tuple(shape)
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shape if name == INPUT else (self.shape[0], self.classes)

    @torch.no_grad()
    def execute_async_v3(self, stream: int) -> bool:
        with torch.cuda.stream(torch.cuda.ExternalStream(stream)):
            image, logits = (_on_device(self.addresses[name], self.get_tensor_shape(name)) for name in (INPUT, OUTPUT))
            logits.copy_(self.model(image))
        return True


@dataclass
class _Engine:
    """What the session asks of a deserialised plan with one profile."""

    model: torch.nn.Module
    sides: tuple[int, ...]
    batches: tuple[int, int, int]
    num_io_tensors: int = 2
    num_optimization_profiles: int = 1

    def __post_init__(self) -> None:
        self.classes = int(_by_torch(self.model, np.zeros((1, *self.sides), np.float32)).shape[1])
        low, _, high = self.batches
        self.batch = low if low == high else -1

    def get_tensor_name(self, index: int) -> str:
        return (INPUT, OUTPUT)[index]

    def get_tensor_mode(self, name: str) -> str:
        return "input" if name == INPUT else "output"

    def get_tensor_dtype(self, _name: str) -> SimpleNamespace:
        return _TYPE

    def get_tensor_location(self, _name: str) -> str:
        return "device"

    def get_tensor_format(self, _name: str, _profile: int) -> str:
        return "linear"

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (self.batch, *self.sides) if name == INPUT else (self.batch, self.classes)

    def get_tensor_profile_shape(self, _name: str, _profile: int) -> list[tuple[int, ...]]:
        return [(batch, *self.sides) for batch in self.batches]

    def create_execution_context(self) -> _Context:
        return _Context(self.model, self.classes)


@torch.no_grad()
def _by_torch(model: torch.nn.Module, images: NDArray[np.float32]) -> NDArray[np.float32]:
    answer: NDArray[np.float32] = model(torch.from_numpy(images).cuda()).cpu().numpy()
    return answer


def _on_device(address: int, shape: tuple[int, ...]) -> torch.Tensor:
    """Device memory that somebody else holds, as a tensor."""
    interface = {"shape": shape, "typestr": "<f4", "data": (address, False), "version": 2}
    return torch.as_tensor(SimpleNamespace(__cuda_array_interface__=interface), device="cuda")


class _Counted:
    """cuda-python's bindings, with a record of the memory, streams and graphs that are held; a second free raises."""

    _FREES = MappingProxyType({
        "cudaFree": "cudaMalloc", "cudaFreeHost": "cudaMallocHost", "cudaStreamDestroy": "cudaStreamCreate",
        "cudaGraphExecDestroy": "cudaGraphInstantiate",
    })  # fmt: skip

    def __init__(self, cuda: Any) -> None:
        self._cuda = cuda
        self.handles: set[tuple[str, int]] = set()
        self.reservations = 0

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._cuda, name)
        if name in self._FREES.values():
            return partial(self._make, name, real)
        if name in self._FREES:
            return partial(self._free, self._FREES[name], real)
        return real

    def _make(self, name: str, real: Any, *arguments: Any) -> Any:
        answer = real(*arguments)
        self.handles.add((name, int(answer[1])))
        self.reservations += 1
        return answer

    def _free(self, name: str, real: Any, handle: Any) -> Any:
        self.handles.remove((name, int(handle)))
        return real(handle)


def _milliseconds(work: Any) -> float:
    seconds = []
    for _ in range(_CALLS):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return 1e3 * median(seconds)
