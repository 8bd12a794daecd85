"""The run itself as a program: the control engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

import torch

from skinaudit.artifacts.adversarial_set import open_set
from skinaudit.artifacts.manifest import read_engine_manifest
from skinaudit.engines.open import open_engine
from skinaudit.errors import EngineError
from skinaudit.export.export import export_run
from skinaudit.export.run_build import Exported
from skinaudit.export.to_pytorch import trace


@pytest.fixture(scope="module")
def program(make_exported_run: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Exported:
    run = make_exported_run(tmp_path_factory.mktemp("runs") / "noise")
    (exported,) = export_run(run, precisions=["fp32"], formats=["pytorch"], threads=1)
    return exported


def test_it_answers_with_the_stored_logits_at_any_batch(program: Exported) -> None:
    manifest = read_engine_manifest(program.path)
    assert (manifest.runtime, manifest.found) == ("pytorch", {"fp32": 28})
    engine = open_engine(program.path, threads=1)
    clean = open_set(program.path.parents[1] / "sets" / "clean.safetensors")
    for size in (1, 7, 60):
        logits = np.concatenate([engine.logits(batch) for batch in clean.batches(size)])
        np.testing.assert_allclose(logits, clean.source_logits, rtol=1e-4, atol=1e-4)
    assert engine.description.provider == "cpu"


def test_a_damaged_program_and_an_absent_device_are_one_line(program: Exported, tmp_path: Path) -> None:
    import torch

    broken = tmp_path / "broken.pt2"
    broken.write_bytes(program.path.read_bytes()[:500])
    with pytest.raises(EngineError, match=r"broken\.pt2: not a readable exported program") as error:
        open_engine(broken)
    assert "\n" not in str(error.value)
    if not torch.cuda.is_available():
        with pytest.raises(EngineError, match="torch finds no device"):
            open_engine(program.path, provider="cuda")


def test_a_program_with_pickled_payloads_is_refused_unopened(program: Exported, tmp_path: Path) -> None:
    import json
    import zipfile

    hostile = tmp_path / "hostile.pt2"
    with zipfile.ZipFile(program.path) as source, zipfile.ZipFile(hostile, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name.endswith("model_weights_config.json"):
                config = json.loads(content)
                next(iter(config["config"].values()))["use_pickle"] = True
                content = json.dumps(config).encode()
            target.writestr(name, content)
    with pytest.raises(EngineError, match="contains pickled objects, which may run code"):
        open_engine(hostile)


def test_a_program_for_a_gpu_is_traced_on_the_cpu_with_any_batch() -> None:
    """Moved to `meta` here, which every machine has: kernels of a GPU would bound the batch."""
    request = SimpleNamespace(calibration=SimpleNamespace(images=np.zeros((1, 3, 8, 8), np.uint8)))
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3), torch.nn.Flatten(), torch.nn.Linear(72, 2))
    program = trace(torch, model, request, device="meta")
    (bounds,) = program.range_constraints.values()
    assert (int(bounds.lower), str(bounds.upper)) == (1, "int_oo")
    assert {weight.device.type for weight in program.state_dict.values()} == {"meta"}
    assert {weight.device.type for weight in model.parameters()} == {"cpu"}
