"""Three causes of no device have three messages."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from skinaudit.engines.doctor import examine
from skinaudit.engines.plans.cuda_device import BINDINGS, cuda_devices, start_cuda
from skinaudit.errors import EngineError, MissingDependencyError, NoDeviceError, UnusableDeviceError

Change = Callable[..., None]


def asked() -> tuple[str, ...]:
    return cuda_devices(purpose="a.plan: running a plan", extra="rtx")[1]


def test_the_names_of_all_devices(fake_gpu: Change) -> None:
    fake_gpu(devices=("NVIDIA RTX 4000 Ada Generation", "NVIDIA L4"))
    assert asked() == ("NVIDIA RTX 4000 Ada Generation", "NVIDIA L4")
    reports = {report.name: report for report in examine()}
    assert reports["cuda-python"].devices == ("cuda:0 NVIDIA RTX 4000 Ada Generation", "cuda:1 NVIDIA L4")


def test_no_cuda_python(fake_gpu: Change, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, BINDINGS, None)  # what the import system makes of a module that is not there
    with pytest.raises(MissingDependencyError) as error:
        asked()
    assert str(error.value) == (
        "a.plan: running a plan needs cuda-python 12.6.2 or newer, which is not installed: pip install 'skinaudit[rtx]'"
    )


def test_a_driver_that_is_too_old(fake_gpu: Change) -> None:
    fake_gpu(driver=12040)
    with pytest.raises(UnusableDeviceError) as error:
        asked()
    assert not isinstance(error.value, NoDeviceError)  # or an export would emulate in silence
    assert str(error.value) == (
        "a.plan: running a plan is not possible: the NVIDIA driver supports CUDA 12.4 and cuda-python needs 13.5; "
        "update the driver, or pip install 'cuda-python<13'"
    )


@pytest.mark.parametrize(
    ("machine", "reason"),
    [({"devices": ()}, "cudaErrorNoDevice"), ({"driver": 0, "devices": ()}, "no NVIDIA driver")],
)
def test_no_device(fake_gpu: Change, machine: dict[str, object], reason: str) -> None:
    fake_gpu(**machine)
    with pytest.raises(NoDeviceError) as error:
        asked()
    assert str(error.value) == f"a.plan: running a plan needs a CUDA device, but there is none ({reason})"


def test_another_failure_of_cuda(fake_gpu: Change, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    cuda = importlib.import_module(BINDINGS)
    monkeypatch.setattr(cuda, "cudaGetDeviceCount", lambda: (cuda.cudaError_t.cudaErrorSystemDriverMismatch, None))
    with pytest.raises(EngineError, match=r"a\.plan: running a plan: CUDA failed: cudaErrorSystemDriverMismatch"):
        asked()


def test_cuda_is_started_on_the_device_that_is_named(fake_gpu: Change, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_gpu(devices=("first", "second"))
    calls: list[tuple[str, int]] = []
    cuda = SimpleNamespace(
        cudaSetDevice=lambda device: calls.append(("device", device)),
        cudaFree=lambda address: calls.append(("free", address)),
    )
    monkeypatch.setitem(sys.modules, BINDINGS, cuda)
    start_cuda(1)
    assert calls == [("device", 1), ("free", 0)]


def test_what_keeps_cuda_from_starting_is_left_to_the_runtime(fake_gpu: Change, monkeypatch: pytest.MonkeyPatch) -> None:
    start_cuda(5)
    monkeypatch.setitem(sys.modules, BINDINGS, None)
    start_cuda(0)
