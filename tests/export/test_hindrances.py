"""An engine that does not run where it is built is compared by its graph, and that is said with its cause."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

from skinaudit.errors import EngineError, MissingDependencyError, NoDeviceError, SkinauditError, UnusableDeviceError
from skinaudit.export.build import Built, Request
from skinaudit.export.export import export_run
from skinaudit.export.formats import FORMATS
from skinaudit.export.run_build import Exported
from skinaudit.export.write_engine import EMULATED

BUILT = Built(found={"fp32": 28})


@pytest.fixture(scope="module")
def run(make_exported_run: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_exported_run(tmp_path_factory.mktemp("runs") / "noise")


def export(
    run: Path, monkeypatch: pytest.MonkeyPatch, *, error: SkinauditError | None = None, built: Built = BUILT
) -> tuple[Exported, list[str]]:
    """Export a plan whose opening ends in `error`; the engine and the lines that were said."""

    def build(order: Request) -> Built:
        order.target.write_bytes(b"plan")
        return built

    def open_engine(path: Path, **_: object) -> None:
        assert error is not None, "it was opened"
        raise type(error)(f"{path}: {error}")

    lines: list[str] = []
    monkeypatch.setattr("skinaudit.export.write_engine.open_engine", open_engine)
    monkeypatch.setattr(
        "skinaudit.export.asked.FORMATS", {**FORMATS, "tensorrt": replace(FORMATS["tensorrt"], build=build, check=None)}
    )
    (exported,) = export_run(run, precisions=["fp32"], formats=["tensorrt"], threads=1, progress=lines.append)
    return exported, lines


CAUSES = [
    MissingDependencyError("running a plan needs cuda-python, which is not installed: pip install 'skinaudit[gpu]'"),
    UnusableDeviceError("the driver is for CUDA 12.2, the bindings need 13.0; update the driver"),
]


@pytest.mark.parametrize("error", CAUSES, ids=["no bindings", "old driver"])
def test_a_device_that_cannot_be_used_is_said(run: Path, monkeypatch: pytest.MonkeyPatch, error: SkinauditError) -> None:
    exported, lines = export(run, monkeypatch, error=error)
    assert exported.manifest.parity["measured_on"] == f"{EMULATED}: {error}"
    assert f"fp32 tensorrt: not run here, its graph is emulated instead: {error}" in lines


def test_without_a_device_nothing_is_to_be_done(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exported, lines = export(run, monkeypatch, error=NoDeviceError("a plan needs a CUDA device"))
    assert exported.manifest.parity["measured_on"] == EMULATED
    assert not [line for line in lines if "not run here" in line]


def test_a_plan_without_its_weights_is_not_run(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exported, lines = export(run, monkeypatch, built=replace(BUILT, incomplete="it lacks its weights"))
    assert exported.manifest.parity["measured_on"] == f"{EMULATED}: it lacks its weights"
    assert "fp32 tensorrt: not run here, its graph is emulated instead: it lacks its weights" in lines


def test_a_plan_that_does_not_open_on_its_device_is_not_written(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (run / "engines" / "fp32.plan").unlink(missing_ok=True)
    with pytest.raises(EngineError, match=r"fp32\.plan: damaged"):
        export(run, monkeypatch, error=EngineError("damaged"))
    assert not (run / "engines" / "fp32.plan").exists()
