"""The fixture that puts the fake GPU in place; a plugin of all tests."""

from __future__ import annotations

import gc
import importlib.util
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fake_gpu.settings import VARIABLE, Machine

_START = Path(__file__).resolve().parent / "start"


def absent_library() -> str | None:
    """The first of the bindings that the fake needs and that is not installed."""
    needed = ("cuda.bindings.runtime", "tensorrt_rtx_bindings")
    for name in needed:
        try:
            installed = importlib.util.find_spec(name) is not None
        except ModuleNotFoundError:
            installed = False
        if not installed:
            return name
    return None


def environment(plans: Path, **changes: Any) -> dict[str, str]:
    """What gives a process a fake GPU; plans and changes: see Machine."""
    paths = [str(_START), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(paths), VARIABLE: Machine(plans=str(plans), **changes).text()}


@contextmanager
def fake_machine(plans: Path, **changes: Any) -> Iterator[None]:
    """A machine with a GPU in this process and its children, see Machine; at the end nothing may be held on the device."""
    from fake_gpu import cuda_world
    from fake_gpu.finder import put_first, take_out

    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(plans, **changes).items():
            patch.setenv(name, value)
        world = cuda_world.start_anew()
        put_first()
        gc.collect()  # what earlier tests left, so that the next line does not keep it
        gc.freeze()  # or the search for garbage below takes half a second: it would go through all of torch
        try:
            yield
            gc.collect()
            assert world.leaks() == {}
        finally:
            take_out()


@pytest.fixture
def fake_gpu(tmp_path: Path) -> Iterator[Callable[..., None]]:
    """A fake_machine; call it to change what the machine has."""
    if absent := absent_library():
        pytest.skip(f"{absent} is not installed")
    plans = tmp_path / "fake-gpu-plans"
    plans.mkdir()
    with fake_machine(plans), pytest.MonkeyPatch.context() as patch:  # undone before the machine, or its variable would stay
        yield lambda **changes: patch.setenv(VARIABLE, Machine(plans=str(plans), **changes).text())
