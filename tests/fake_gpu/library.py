"""The modules `tensorrt` and `tensorrt_rtx` of the fake machine: enums, parsers, networks and loggers are the real ones."""

from __future__ import annotations

import importlib
from enum import IntEnum
from types import ModuleType
from typing import Any

from fake_gpu import engine, plan_bytes
from fake_gpu.finder import RTX
from fake_gpu.settings import machine

_RTX_ALONE = ("DynamicShapesKernelSpecializationStrategy", "CudaGraphStrategy", "IRuntimeCache", "IRuntimeConfig")


class _CreationFlag(IntEnum):
    """TensorRT 10 still has it."""

    EXPLICIT_BATCH = 0
    STRONGLY_TYPED = 1


def module(name: str) -> ModuleType:
    """A library whose runtime is the fake; `tensorrt` has a builder that writes plans of the fake, too."""
    real = importlib.import_module("tensorrt_rtx_bindings")
    fake = ModuleType(name)
    is_rtx = name == RTX
    fake.__dict__.update(
        {key: value for key, value in vars(real).items() if not key.startswith("_") and (is_rtx or key not in _RTX_ALONE)}
    )
    fake.__dict__["__version__"] = real.__version__ if is_rtx else machine().tensorrt
    if not is_rtx and machine().tensorrt.startswith("10."):
        fake.__dict__["NetworkDefinitionCreationFlag"] = _CreationFlag
    fake.__dict__["Runtime"] = type("Runtime", (engine.Runtime,), {"library": fake})
    fake.__dict__["init_libnvinfer_plugins"] = lambda logger, namespace: True
    graphs: dict[int, bytes] = {}
    fake.__dict__["Builder"] = type("Builder", (_Builder,), {"real": real, "graphs": graphs, "is_rtx": is_rtx})
    fake.__dict__["OnnxParser"] = lambda network, logger: _Parser(real, network, logger, graphs)
    return fake


class _Parser:
    """The real parser; it remembers the graph of each network."""

    def __init__(self, real: ModuleType, network: Any, logger: Any, graphs: dict[int, bytes]) -> None:
        self._parser, self._network, self._graphs = real.OnnxParser(network, logger), network, graphs

    def parse(self, model: bytes) -> bool:
        self._graphs[id(self._network)] = model
        return bool(self._parser.parse(model))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parser, name)


class _Builder:
    """The real builder; `tensorrt` takes its networks and profiles and writes a plan of the fake."""

    real: ModuleType
    graphs: dict[int, bytes]
    is_rtx: bool

    def __init__(self, logger: Any) -> None:
        self._builder = self.real.Builder(logger)
        self._profiles: list[Any] = []

    def create_network(self, flags: int = 0) -> Any:
        return self._builder.create_network(0)

    def create_optimization_profile(self) -> Any:
        self._profiles.append(self._builder.create_optimization_profile())
        return self._profiles[-1]

    def build_serialized_network(self, network: Any, config: Any) -> Any:
        inputs = [network.get_input(index).name for index in range(network.num_inputs)]
        profiles = tuple(
            {name: tuple(tuple(shape) for shape in profile.get_shape(name)) for name in inputs} for profile in self._profiles
        )
        style = "rtx" if self.is_rtx else machine().tensorrt.partition(".")[0]
        content = plan_bytes.Content(self.graphs[id(network)], profiles, inspector=style)
        if not self.is_rtx:
            return plan_bytes.packed(content)
        plan = self._builder.build_serialized_network(network, config)
        if plan is not None:
            plan_bytes.note(bytes(plan), content)
        return plan

    def __getattr__(self, name: str) -> Any:
        return getattr(self._builder, name)
