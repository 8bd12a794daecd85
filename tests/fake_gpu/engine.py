"""Runtime, engine and context of the fake libraries: they keep to profiles, shapes and order, and compute."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from fake_gpu import inspector
from fake_gpu.cuda_world import world
from fake_gpu.plan_bytes import Content, unpacked
from skinaudit.engines.emulation import emulated
from skinaudit.engines.half import has_half
from skinaudit.engines.onnxruntime_ import open_bytes
from skinaudit.engines.plans.tensor_types import tensor_type

_ONNX_TYPES = {
    TensorProto.FLOAT: "FLOAT", TensorProto.FLOAT16: "HALF", TensorProto.BFLOAT16: "BF16", TensorProto.INT8: "INT8",
    TensorProto.UINT8: "UINT8", TensorProto.INT32: "INT32", TensorProto.INT64: "INT64", TensorProto.FLOAT8E4M3FN: "FP8",
}  # fmt: skip
_SWAPPED = np.float32(1 + 1e-6)
"""By how much another kernel for the same layer answers otherwise."""


class Runtime:
    """Opens plans. `library` is set by skinaudit's tests to the module that it belongs to."""

    library: ModuleType

    def __init__(self, logger: Any) -> None:
        self.logger, self.engine_host_code_allowed = logger, False

    def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
        """None, and an error in the log, for what is no plan or needs code to be allowed."""
        content = unpacked(bytes(plan))
        if content is None:
            self.error("IRuntime::deserializeCudaEngine: Error Code 1: Serialization (Serialization assertion failed.)")
            return None
        if content.host_code and not self.engine_host_code_allowed:
            self.error("Cannot deserialize engine with lean runtime since IRuntime::getEngineHostCodeAllowed() is false.")
            return None
        return Engine(self, content)

    def error(self, text: str) -> None:
        """Say it through the logger."""
        self.logger.log(self.library.ILogger.ERROR, text)


class RuntimeConfig:
    """How a context of TensorRT-RTX chooses its kernels."""

    def __init__(self, library: ModuleType) -> None:
        self.dynamic_shapes_kernel_specialization_strategy = library.DynamicShapesKernelSpecializationStrategy.LAZY
        self.cuda_graph_strategy = library.CudaGraphStrategy.DISABLED
        self.cache: RuntimeCache | None = None

    def create_runtime_cache(self) -> RuntimeCache:
        return RuntimeCache()

    def set_runtime_cache(self, cache: RuntimeCache | None = None) -> bool:
        self.cache = cache
        return True


class RuntimeCache:
    """Compiled kernels: here the shapes for which there is one."""

    _MAGIC = b"rtxcache "

    def __init__(self) -> None:
        self.shapes: set[str] = set()

    def serialize(self) -> bytes:
        return self._MAGIC + ";".join(sorted(self.shapes)).encode()

    def deserialize(self, blob: bytes) -> bool:
        if not blob.startswith(self._MAGIC):
            return False
        self.shapes = set(blob.removeprefix(self._MAGIC).decode().split(";")) - {""}
        return True


class Engine:
    """An opened plan."""

    def __init__(self, runtime: Runtime, content: Content) -> None:
        self.runtime, self.content, self.library = runtime, content, runtime.library
        graph = onnx.load_from_string(content.graph).graph
        weights = {tensor.name for tensor in graph.initializer}
        self._inputs = [value for value in graph.input if value.name not in weights]
        self._values = {value.name: value for value in (*self._inputs, *graph.output)}
        self.session = _session(content.computed or content.graph)

    @property
    def num_io_tensors(self) -> int:
        return len(self._values)

    @property
    def num_optimization_profiles(self) -> int:
        return len(self.content.profiles)

    def get_tensor_name(self, index: int) -> str:
        return list(self._values)[index]

    def get_tensor_mode(self, name: str) -> Any:
        modes = self.library.TensorIOMode
        return modes.INPUT if name in [value.name for value in self._inputs] else modes.OUTPUT

    def get_tensor_location(self, name: str) -> Any:
        return self.library.TensorLocation.DEVICE

    def get_tensor_dtype(self, name: str) -> Any:
        kind = self.content.types.get(name) or _ONNX_TYPES[self._values[name].type.tensor_type.elem_type]
        return getattr(self.library.DataType, kind)

    def get_tensor_format(self, name: str, profile: int = 0) -> Any:
        return getattr(self.library.TensorFormat, self.content.formats.get(name, "LINEAR"))

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        sides = self._values[name].type.tensor_type.shape.dim
        return tuple(-1 if side.dim_param or not side.HasField("dim_value") else side.dim_value for side in sides)

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        return list(self.content.profiles[profile][name])

    def create_engine_inspector(self) -> Any:
        dynamic = any(-1 in self.get_tensor_shape(value.name) for value in self._inputs)
        graph, style = self.content.computed or self.content.graph, self.content.inspector

        class Inspector:
            def get_engine_information(self, form: Any) -> str:
                return inspector.information(graph, style=style, dynamic=dynamic)

        return Inspector()

    def create_runtime_config(self) -> RuntimeConfig:
        return RuntimeConfig(self.library)

    def create_execution_context(self, config: RuntimeConfig | None = None) -> Context:
        if config is None and hasattr(self.library, "CudaGraphStrategy"):
            config = RuntimeConfig(self.library)  # TensorRT-RTX chooses for itself
        return Context(self, config)


class Context:
    """Runs an engine in the order that the library asks for: profile, shapes, addresses, enqueue."""

    def __init__(self, engine: Engine, config: RuntimeConfig | None) -> None:
        self.engine, self.config = engine, config
        self._profile = 0
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._warm: set[tuple[Any, ...]] = set()
        self._runs: dict[tuple[Any, ...], int] = {}

    def set_optimization_profile_async(self, profile: int, stream: int) -> bool:
        assert stream in world().streams, "no such stream"
        if not 0 <= profile < self.engine.num_optimization_profiles:
            return False
        self._profile, self._shapes = profile, {}
        self._warm.clear()
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        declared = self.engine.get_tensor_shape(name)
        low, _, high = self.engine.get_tensor_profile_shape(name, self._profile) if -1 in declared else (declared,) * 3
        inside = len(shape) == len(declared) and all(a <= side <= b for side, a, b in zip(shape, low, high, strict=True))
        if not inside:
            self.engine.runtime.error(f"IExecutionContext::setInputShape: Error Code 3: {shape} is not in [{low}, {high}]")
            return False
        if self._shapes.get(name) != shape:
            self._warm.clear()
        self._shapes[name] = tuple(shape)
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        declared = self.engine.get_tensor_shape(name)
        if name in self._shapes:
            return self._shapes[name]
        batches = [shape[0] for shape in self._shapes.values()]
        if not batches or declared[:1] != (-1,):
            return declared
        return (batches[0], *declared[1:])

    def set_tensor_address(self, name: str, address: int) -> bool:
        if name not in self.engine._values:
            return False
        assert address % 256 == 0, "addresses have to be aligned to 256 bytes"
        self._addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        """Enqueue the run; what is missing is in the log."""
        engine, current_world = self.engine, world()
        inputs = [value.name for value in engine._inputs]
        unset = [name for name in inputs if -1 in self.get_tensor_shape(name)]
        lacking = [name for name in engine._values if not self._addresses.get(name)]
        stream_state = current_world.streams.get(stream)
        if unset or lacking or stream_state is None:
            engine.runtime.error(f"IExecutionContext::enqueueV3: Error Code 3: not specified: {unset or lacking or stream}")
            return False
        key = (self._profile, tuple(sorted(self._shapes.items())))
        if stream_state.recorded is not None and key not in self._warm:
            engine.runtime.error(
                "IExecutionContext::enqueueV3: Error Code 1: Cuda Runtime (operation not permitted when stream is capturing)"
            )
            return False
        self._warm.add(key)
        current_world.calls.append("execute")
        current_world.enqueue(
            stream, self._kernel(dict(self._addresses), {name: self.get_tensor_shape(name) for name in engine._values}, key)
        )
        return True

    def _kernel(
        self, addresses: dict[str, int], shapes: dict[str, tuple[int, ...]], key: tuple[Any, ...]
    ) -> Callable[[], None]:
        engine = self.engine

        def compute() -> None:
            (image,) = (value.name for value in engine._inputs)
            for name in engine._values:
                if name != image:
                    values = self._answer(_read(engine, image, addresses, shapes), image, name, key)
                    _write(engine, name, addresses, shapes, values)

        return compute

    def _answer(self, images: NDArray[Any], image: str, output: str, key: tuple[Any, ...]) -> NDArray[Any]:
        values = self.engine.session.run(images, input=image, output=output)
        self._runs[key] = self._runs.get(key, 0) + 1
        if self.config is not None:
            lazy = self.config.dynamic_shapes_kernel_specialization_strategy.name == "LAZY"
            if self.config.cache is not None:
                self.config.cache.shapes.add(str(key))
            if lazy and self._runs[key] > 1:
                values = values * _SWAPPED
        if self.engine.content.batch_bias:
            values = values + np.float32(self.engine.content.batch_bias * len(images)) * np.eye(values.shape[1])[0]
        return values


def _session(graph: bytes) -> Any:
    """The graph in ONNX Runtime on the CPU, half precision rounded between the layers as on a GPU."""
    model = onnx.load_from_string(graph)
    if has_half(model):
        graph = emulated(model).SerializeToString()
    return open_bytes(graph, where="the fake GPU", threads=1, as_graph=True)


def _read(engine: Engine, name: str, addresses: dict[str, int], shapes: dict[str, tuple[int, ...]]) -> NDArray[Any]:
    kind = tensor_type(engine.get_tensor_dtype(name).name, tensor=name, where="fake")
    dtype = np.dtype(kind.memory)
    raw = world().view(addresses[name], int(np.prod(shapes[name])) * dtype.itemsize, "device")
    values = kind.decoded(raw.view(dtype).reshape(shapes[name]).copy())
    declared = np.dtype({port.name: port.dtype for port in engine.session.inputs}[name])
    return np.asarray(values).astype(declared)


def _write(
    engine: Engine, name: str, addresses: dict[str, int], shapes: dict[str, tuple[int, ...]], values: NDArray[Any]
) -> None:
    kind = tensor_type(engine.get_tensor_dtype(name).name, tensor=name, where="fake")
    assert values.shape == shapes[name], f"{name} is {values.shape}, the context said {shapes[name]}"
    bits = np.ascontiguousarray(kind.encoded(values.astype(kind.outside)))
    world().view(addresses[name], bits.nbytes, "device")[:] = bits.view(np.uint8).reshape(-1)
