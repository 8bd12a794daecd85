"""One small torch model, exported once, and a run directory made of a real one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

from safetensors.numpy import save_file as save_arrays  # noqa: E402
from safetensors.torch import save_file as save_tensors  # noqa: E402

from skinaudit.artifacts.adversarial_set import SetInfo, write_set  # noqa: E402
from skinaudit.artifacts.contract import CLASSES, InputContract  # noqa: E402
from skinaudit.artifacts.manifest import RunManifest, read_run, record, write_run  # noqa: E402
from skinaudit.artifacts.structure import write_structure  # noqa: E402
from skinaudit.export.calibration import Calibration  # noqa: E402
from skinaudit.export.export import export_run  # noqa: E402
from skinaudit.export.to_onnx import to_onnx  # noqa: E402
from skinaudit.tests.shared import built_once  # noqa: E402
from skinaudit.trainer.checkpoint import load_run_model  # noqa: E402
from skinaudit.trainer.models import build, recorded_structure  # noqa: E402

SIZE = 32


class Normalise(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (images - 0.5) / 0.25


def small_model() -> torch.nn.Module:
    """Two ordinary convolutions, a depthwise one, batch norm with real statistics, a linear layer: four weighted layers."""
    nn = torch.nn
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            Normalise(),
            *(nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU()),
            *(nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False), nn.BatchNorm2d(8), nn.ReLU6()),
            *(nn.Conv2d(8, 16, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(16, len(CLASSES))),
        )
        with torch.no_grad():
            for _ in range(10):
                model(torch.rand(8, 3, SIZE, SIZE))
            model[-1].weight *= 5
    return model.eval()


def some_images(count: int, seed: int = 0) -> NDArray[np.uint8]:
    """Images that differ in brightness and contrast, so that a classifier tells them apart."""
    rng = np.random.default_rng(seed)
    base = rng.uniform(0, 255, (count, 3, 1, 1)) + rng.normal(
        0, rng.uniform(5, 60, (count, 1, 1, 1)), (count, 3, SIZE, SIZE)
    )
    return base.clip(0, 255).astype(np.uint8)


def torch_logits(model: torch.nn.Module, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    with torch.no_grad():
        logits: NDArray[np.float32] = model(torch.from_numpy(images).float() / 255).numpy()
    return logits


@pytest.fixture(scope="session")
def source() -> torch.nn.Module:
    return small_model()


@pytest.fixture(scope="session")
def graph(source: torch.nn.Module) -> ModelProto:
    """The small model exported; tests copy what they change."""
    return to_onnx(source, size=SIZE)


@pytest.fixture(scope="session")
def calibration() -> Calibration:
    return Calibration(some_images(40, seed=1), "sha256:0")


@pytest.fixture(scope="session")
def make_exported_run(make_run: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """The same with its recorded structure and its fp32 engine: tracing takes seconds, and further exports do without."""

    def build_once(folder: Path) -> None:
        run = make_run(folder / "noise")
        write_structure(run / "structure.json", recorded_structure(load_run_model(run), size=SIZE))
        write_run(run, replace(read_run(run), structure=record(run / "structure.json", relative_to=run)))
        export_run(run, precisions=["fp32"], threads=1)

    built = built_once(tmp_path_factory, "exported-noise", build_once) / "noise"
    return lambda folder: Path(shutil.copytree(built, folder))


@pytest.fixture(scope="session")
def make_run() -> Callable[[Path], Path]:
    """Write a finished run of an untrained narrow MobileNet into a folder."""

    def make(folder: Path) -> Path:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = build("mobilenet", width=0.01, classes=len(CLASSES), size=SIZE)
            with torch.no_grad():
                for seed in range(5):
                    model.train()(torch.from_numpy(some_images(16, seed)).float() / 255)
                model[1][-1].weight *= 20
        model.eval()
        folder.mkdir(parents=True)
        save_tensors(model.state_dict(), folder / "weights.safetensors")
        save_arrays({"images": some_images(40, seed=1)}, folder / "calibration.safetensors")
        weights = record(folder / "weights.safetensors", relative_to=folder)
        contract, images = InputContract(SIZE), some_images(60, seed=2)
        count = np.arange(len(images))
        write_set(
            folder / "sets" / "clean.safetensors",
            SetInfo("clean", "clean", None, {}, 0, weights.digest, "", contract, "noise", True, {}),
            images=images,
            labels=count % len(CLASSES),
            group=count,
            ids=tuple(map(str, count)),
            source_logits=torch_logits(model, images),
        )
        files = {
            name: record(folder / name, relative_to=folder) for name in ("calibration.safetensors", "sets/clean.safetensors")
        }
        manifest = RunManifest(
            name="noise",
            contract=contract,
            model={"arch": "mobilenet", "width": 0.01},
            data={"title": "noise", "digest": "sha256:d"},
            synthetic=True,
            training={},
            results={},
            weights=weights,
            calibration=files["calibration.safetensors"],
            sets={"clean": files["sets/clean.safetensors"]},
            created_with={},
        )
        write_run(folder, manifest)
        return folder

    return make
