"""TensorRT-RTX compiles its kernels on the machine that runs the plan: when it does so, and where it keeps them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from skinaudit.artifacts.files import can_be_written, write_bytes
from skinaudit.artifacts.outside import MAX_MODEL, read_regular
from skinaudit.engines.plans.options import PlanOptions
from skinaudit.errors import EngineError


class KernelChoice:
    """RuntimeConfig of a context: kernels that do not change between runs, and the file that keeps them.

    By default TensorRT-RTX replaces a general kernel by a specialised one as soon as a background thread has compiled it. A
    second run of a batch then gives other bits than the first one.
    """

    def __init__(self, trt: Any, options: PlanOptions, *, where: str) -> None:
        """Raises EngineError if the cache file cannot be written, or is not a regular file."""
        self._trt, self._options, self._where = trt, options, where
        self._cache: Any = None
        cache = options.runtime_cache
        if cache is not None and (not can_be_written(cache) or (cache.exists() and not cache.is_file())):
            raise EngineError(f"{cache}: cannot be written as a file; name another file as --runtime-cache")

    def make_context(self, engine: Any) -> Any:
        """An execution context of `engine`; None if the library fails to make one."""
        trt, config = self._trt, engine.create_runtime_config()
        strategy = trt.DynamicShapesKernelSpecializationStrategy
        chosen = {"eager": strategy.EAGER, "none": strategy.NONE}[self._options.specialisation]
        config.dynamic_shapes_kernel_specialization_strategy = chosen
        if self._options.cuda_graphs:
            config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        if self._options.runtime_cache is not None:
            self._cache = self._read(config, self._options.runtime_cache)
        return engine.create_execution_context(config)

    def save(self) -> None:
        """Write the compiled kernels atomically. Called after a batch of a new shape has run."""
        if self._cache is not None and self._options.runtime_cache is not None:
            write_bytes(self._options.runtime_cache, bytes(memoryview(self._cache.serialize())))

    def _read(self, config: Any, path: Path) -> Any:
        cache = config.create_runtime_cache()
        content = read_regular(path, kind="runtime cache", limit=MAX_MODEL) if path.is_file() else b""
        if content and not cache.deserialize(content):
            raise EngineError(
                f"{path}: not a runtime cache of this library, GPU and driver; it was not changed; name another file with "
                "--runtime-cache"
            )
        if not config.set_runtime_cache(cache):
            raise EngineError(f"{self._where}: {self._trt.__name__} has no runtime cache; leave --runtime-cache out")
        return cache
