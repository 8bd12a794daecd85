"""Hands out the fake modules in place of the real ones."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import ModuleType

CUDA, TENSORRT, RTX = "cuda.bindings.runtime", "tensorrt", "tensorrt_rtx"
FAKED = (CUDA, TENSORRT, RTX)


class _Finder(MetaPathFinder):
    def find_spec(self, name: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
        return spec_from_loader(name, _Loader()) if name in FAKED else None


class _Loader(Loader):
    def create_module(self, spec: ModuleSpec) -> ModuleType:
        from fake_gpu import cuda_world, library

        return cuda_world.module() if spec.name == CUDA else library.module(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is left to do."""


_FINDER = _Finder()


def put_first() -> None:
    """From now on the names of FAKED are the fakes."""
    for name in FAKED:
        sys.modules.pop(name, None)
    sys.meta_path.insert(0, _FINDER)


def take_out() -> None:
    """The real modules are back."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not _FINDER]
    for name in FAKED:
        sys.modules.pop(name, None)


@contextmanager
def real_modules() -> Iterator[None]:
    """Where the fakes themselves need the real module of a name."""
    positions = [index for index, finder in enumerate(sys.meta_path) if finder is _FINDER]
    for index in reversed(positions):
        del sys.meta_path[index]
    try:
        yield
    finally:
        for index in positions:
            sys.meta_path.insert(index, _FINDER)


def real_cuda() -> ModuleType:
    """The installed cuda-python: the enums of the fake are its own."""
    with real_modules():
        fake = sys.modules.pop(CUDA, None)
        try:
            return importlib.import_module(CUDA)
        finally:
            sys.modules.pop(CUDA, None)
            if fake is not None:
                sys.modules[CUDA] = fake
