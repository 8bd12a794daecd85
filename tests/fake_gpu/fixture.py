"""The fixture that puts the fake GPU in place; a plugin of all tests."""

from __future__ import annotations

import gc
import importlib.util
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

_START = Path(__file__).resolve().parent / "start"


@pytest.fixture
def fake_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """A machine with a GPU in this process and its children; call it to change what the machine has (see Machine).

    At the end nothing may be held on the device.
    """
    for needed in ("cuda.bindings", "tensorrt_rtx_bindings"):
        if importlib.util.find_spec(needed.partition(".")[0]) is None or importlib.util.find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed")
    from fake_gpu import cuda_world
    from fake_gpu.finder import put_first, take_out
    from fake_gpu.settings import VARIABLE, Machine

    plans = tmp_path / "fake-gpu-plans"
    plans.mkdir()
    monkeypatch.setenv(VARIABLE, "")
    paths = [str(_START), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    here = replace(Machine(), plans=str(plans))
    here.write()
    world = cuda_world.start_anew()
    put_first()
    try:
        yield lambda **changes: replace(here, **changes).write()
        gc.collect()
        assert world.leaks() == {}
    finally:
        take_out()
