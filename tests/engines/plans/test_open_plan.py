"""What can be known of plans without a GPU: whose they are, whether they are whole, that none is opened in this process."""

from __future__ import annotations

from pathlib import Path

import pytest

from skinaudit.engines.open import open_engine, runtime_of
from skinaudit.engines.plans import open_plan
from skinaudit.errors import EngineError, NoDeviceError


def rtx_plan(path: Path, *, size: int = 64, written: int | None = None) -> Path:
    """Bytes that look like a plan of TensorRT-RTX: its magic and its length."""
    content = bytearray(b"vtrt" + bytes(size - 4))
    content[0x10:0x18] = size.to_bytes(8, "little")
    path.write_bytes(bytes(content[:written]))
    return path


@pytest.fixture
def without_device(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*, purpose: str, extra: str) -> None:
        raise NoDeviceError(f"{purpose} needs a CUDA device, but there is none")

    monkeypatch.setattr(open_plan, "cuda_devices", absent)


def test_a_plan_is_opened_by_the_library_that_made_it(tmp_path: Path) -> None:
    assert runtime_of(rtx_plan(tmp_path / "one.plan")) == "tensorrt-rtx"
    plan = tmp_path / "two.engine"
    plan.write_bytes(b"ftrt" + bytes(60))
    assert runtime_of(plan) == "tensorrt"


def test_without_a_device_the_answer_is_one_line_that_offers_the_emulation(tmp_path: Path) -> None:
    with pytest.raises(EngineError) as error:  # with a device, the library itself must refuse these bytes
        open_engine(rtx_plan(tmp_path / "one.plan"))
    offered = "--emulate" if isinstance(error.value, NoDeviceError) else "cannot open it"
    assert offered in str(error.value)
    assert "\n" not in str(error.value)


def test_the_device_is_asked_for_before_the_library_is_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without_device: None
) -> None:
    monkeypatch.setattr(open_plan.importlib, "import_module", lambda name: pytest.fail(f"{name} was imported"))
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
    with pytest.raises(EngineError, match="this is a plan of TensorRT-RTX, not of tensorrt"):
        open_engine(path, runtime="tensorrt")
    with pytest.raises(EngineError, match="no such engine"):
        open_engine(tmp_path / "absent.plan")
    with pytest.raises(EngineError, match="a plan runs only on a GPU"):
        open_engine(path, provider="cpu")
