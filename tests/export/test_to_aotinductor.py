"""The run compiled ahead of time: its answers, what it says of itself, and that it is opened on request alone."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")
if shutil.which("g++") is None:
    pytest.skip("AOTInductor needs a C++ compiler", allow_module_level=True)

from skinaudit.artifacts.adversarial_set import open_set  # noqa: E402
from skinaudit.artifacts.manifest import read_engine_manifest  # noqa: E402
from skinaudit.engines.aotinductor_ import METADATA, Contents, found_in  # noqa: E402
from skinaudit.engines.engine import Engine  # noqa: E402
from skinaudit.engines.isolation.launching import engine_processes  # noqa: E402
from skinaudit.engines.open import open_emulated, open_engine, runtime_of  # noqa: E402
from skinaudit.errors import EngineError, EngineStoppedError, InvalidInputError, NoDeviceError  # noqa: E402
from skinaudit.export.build import BuildOptions  # noqa: E402
from skinaudit.export.export import export_run  # noqa: E402
from skinaudit.export.run_build import Exported  # noqa: E402
from skinaudit.export.to_aotinductor import _typed  # noqa: E402
from skinaudit.trainer.checkpoint import load_run_model  # noqa: E402
from skinaudit.trainer.models import folded  # noqa: E402


@pytest.fixture(scope="module")
def run(exported_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(exported_run, tmp_path_factory.mktemp("runs") / "tiny"))


@pytest.fixture(scope="module")
def package(run: Path) -> Exported:
    """A package in fp32; compiling one takes 25 s of a CPU."""
    (exported,) = export_run(run, precisions=["fp32"], formats=["aotinductor"], threads=1)
    return exported


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A package with all that is read before its code is loaded, and no code."""
    names = tuple(f"layer_{number}.weight" for number in range(28))
    constants = "".join(
        f"constants_info_[{number}].{field} = {value};\n"
        for number, name in enumerate(names)
        for field, value in (("dtype", "cached_torch_dtype_float32"), ("original_fqn", f'"{name}"'))
    )
    contents = Contents(device="cpu", processor="DEFAULT", size=32, classes=7, weighted=names)
    path = tmp_path / "written.aoti.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("written/data/aotinductor/model/model.wrapper.cpp", constants)
        archive.writestr(
            "written/data/aotinductor/model/model_metadata.json", json.dumps({METADATA: json.dumps(asdict(contents))})
        )
    return path


def opened(path: Path) -> Engine:
    return open_engine(path, threads=1, allow_code=True)


def changed(source: Path, target: Path, change: Callable[[str, bytes], bytes | None]) -> Path:
    """The archive with the content of its members changed; None leaves one out."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = change(name, old.read(name))
            if content is not None:
                new.writestr(name, content)
    return target


def described(path: Path, target: Path, **entries: object) -> Path:
    """The package with another description of itself."""

    def change(name: str, content: bytes) -> bytes:
        if not name.endswith("_metadata.json"):
            return content
        metadata: Mapping[str, str] = json.loads(content)
        return json.dumps({**metadata, METADATA: json.dumps({**json.loads(metadata[METADATA]), **entries})}).encode()

    return changed(path, target, change)


@pytest.mark.slow
def test_it_answers_with_the_stored_logits_at_any_batch(package: Exported) -> None:
    manifest = read_engine_manifest(package.path)
    assert package.path.name == "fp32.aoti.pt2"
    assert (manifest.runtime, manifest.found, manifest.settings["program"]) == ("aotinductor", {"fp32": 28}, "AOTInductor")
    assert manifest.parity["measured_on"] == "the engine"
    engine = opened(package.path)
    clean = open_set(package.path.parents[1] / "sets" / "clean.safetensors")
    for size in (1, 7, 60):
        logits = np.concatenate([engine.logits(batch) for batch in clean.batches(size)])
        np.testing.assert_allclose(logits, clean.source_logits, rtol=1e-4, atol=1e-4)
    description = engine.description
    assert (description.provider, description.threads, description.size, description.classes) == ("cpu", 1, 32, 7)
    assert description.found == {"fp32": 28}


def test_half_precision_begins_behind_the_normalisation(run: Path) -> None:
    """So the program that is compiled rounds as the ONNX graph of that precision does, and by no less."""
    (half,) = export_run(run, precisions=["fp16"], formats=["onnx"], threads=1)
    clean = open_set(run / "sets" / "clean.safetensors")
    images = next(clean.batches(60))
    with torch.no_grad():
        program = _typed(torch, folded(load_run_model(run)), "fp16")
        logits = program(torch.from_numpy(images).float() / 255).numpy()
    assert logits.dtype == np.float32
    scale = np.abs(clean.source_logits).max()
    difference = np.abs(logits - clean.source_logits[: len(images)]).max() / scale
    emulated = open_emulated(half.path, threads=1).logits(images)
    expected = np.abs(emulated - clean.source_logits[: len(images)]).max() / scale
    assert expected / 5 < difference < 5 * expected


@pytest.mark.slow
def test_the_number_of_threads_is_not_compiled_in(package: Exported) -> None:
    with zipfile.ZipFile(package.path) as archive:
        code = b"".join(archive.read(name) for name in archive.namelist() if name.endswith(".cpp"))
    assert b"num_threads(" not in code


def test_a_package_and_a_program_are_told_apart_by_their_content(written: Path, tmp_path: Path) -> None:
    renamed = Path(shutil.copy(written, tmp_path / "renamed.pt2"))
    program = tmp_path / "program.pt2"
    torch.export.save(torch.export.export(torch.nn.Flatten(), (torch.zeros(2, 3),)), program)
    assert (runtime_of(renamed), runtime_of(program), runtime_of(Path("absent.pt2"))) == (
        "aotinductor",
        "pytorch",
        "pytorch",
    )


@pytest.fixture
def of_a_stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here was exported by this user."""
    monkeypatch.setenv("SKINAUDIT_CACHE", str(tmp_path / "another-users-cache"))


@pytest.mark.usefixtures("of_a_stranger")
def test_code_is_loaded_on_request_alone(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    monkeypatch.setattr(torch._inductor, "aoti_load_package", loaded.append)
    with pytest.raises(EngineError, match=r"machine code and runs .* as soon as it is opened; pass --allow-code"):
        open_engine(written)
    assert loaded == []


@pytest.mark.slow
def test_what_this_user_exported_needs_no_request_until_it_is_changed(package: Exported, tmp_path: Path) -> None:
    assert open_engine(package.path, threads=1).description.runtime == "aotinductor"
    rewritten = changed(package.path, tmp_path / "other.pt2", lambda name, content: content)
    with pytest.raises(EngineError, match="pass --allow-code"):
        open_engine(rewritten, threads=1)


@pytest.mark.slow
@pytest.mark.usefixtures("of_a_stranger")
def test_an_audit_opens_it_on_request_alone(package: Exported) -> None:
    from skinaudit.audit.audit import audit_engine

    with pytest.raises(EngineError, match="pass --allow-code"):
        audit_engine(package.path, threads=1)
    result = audit_engine(package.path, allow_code=True, threads=1)
    assert (result.description.runtime, result.description.provider) == ("aotinductor", "cpu")
    assert "--allow-code" in result.arguments
    reference = package.path.with_name("fp32.onnx")
    result = audit_engine(reference, control=package.path, allow_code=True, threads=1)
    assert result.control.startswith("the reference reproduces 3 of 3 sets")
    with pytest.raises(EngineError, match="pass --allow-code"):
        audit_engine(reference, control=package.path, threads=1)


def test_a_program_opened_as_a_package_and_the_reverse_are_refused(written: Path, tmp_path: Path) -> None:
    program = tmp_path / "program.pt2"
    torch.export.save(torch.export.export(torch.nn.Flatten(), (torch.zeros(2, 3),)), program)
    with pytest.raises(EngineError, match="so skinaudit did not export it"):
        open_engine(program, runtime="aotinductor", allow_code=True)
    with pytest.raises(EngineError, match="contains no exported program; a compiled package needs --runtime aotinductor"):
        open_engine(written, runtime="pytorch")


def test_the_precision_is_that_of_the_compiled_weights(written: Path, tmp_path: Path) -> None:
    single, half = b".dtype = cached_torch_dtype_float32", b".dtype = cached_torch_dtype_float16"
    assert found_in(written) == {"fp32": 28}
    halved = changed(written, tmp_path / "halved.pt2", lambda name, content: content.replace(single, half))
    assert found_in(halved) == {"fp16": 28}
    older = b".dtype = static_cast<int32_t>(cached_torch_dtype_bfloat16)"
    cast = changed(written, tmp_path / "cast.pt2", lambda name, content: content.replace(single, older))
    assert found_in(cast) == {"bf16": 28}
    silent = changed(written, tmp_path / "silent.pt2", lambda name, content: None if name.endswith(".cpp") else content)
    assert found_in(silent) == {"unknown": 28}


def test_another_device_is_one_line(written: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"compiled for cpu; leave --provider cuda out"):
        open_engine(written, provider="cuda", allow_code=True)
    elsewhere = described(written, tmp_path / "elsewhere.pt2", processor="AVX512")
    torch.backends.cpu, capability = Old(), torch.backends.cpu
    try:
        with pytest.raises(EngineError, match="compiled for CPUs with AVX512, this one has DEFAULT"):
            opened(elsewhere)
    finally:
        torch.backends.cpu = capability
    if not torch.cuda.is_available():
        with pytest.raises(NoDeviceError, match=r"compiled for a CUDA device \(NVIDIA H100\), but torch finds none"):
            opened(described(written, tmp_path / "gpu.pt2", device="cuda", processor="NVIDIA H100"))


class Old:
    """torch's account of a CPU without vector instructions."""

    def get_cpu_capability(self) -> str:
        return "DEFAULT"


def test_damage_is_one_line(written: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.pt2"
    broken.write_bytes(written.read_bytes()[:500])
    with pytest.raises(EngineError, match=r"broken\.pt2: not a readable package"):
        open_engine(broken, runtime="aotinductor", allow_code=True)
    with pytest.raises(InvalidInputError, match=r"wrong\.pt2: classes should be an integer"):
        opened(described(written, tmp_path / "wrong.pt2", classes="seven"))


@pytest.mark.isolated
@pytest.mark.slow
def test_damaged_code_ends_its_own_process_alone(package: Exported, tmp_path: Path) -> None:
    cut = changed(
        package.path, tmp_path / "cut.pt2", lambda name, content: content[:999] if name.endswith(".so") else content
    )
    with (
        engine_processes(),
        pytest.raises(EngineStoppedError, match=r"cut\.pt2: its process was ended by SIG[A-Z]+") as error,
    ):
        opened(cut)
    assert "\n" not in str(error.value)


def test_a_package_for_a_gpu_is_compiled_on_it_alone(run: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("a GPU is here")
    with pytest.raises(NoDeviceError, match=r"fp32\.aoti\.pt2: compiling for cuda needs the GPU"):
        export_run(run, precisions=["fp32"], formats=["aotinductor"], options=BuildOptions(provider="cuda"), threads=1)
    with pytest.raises(EngineError):
        open_engine(run / "engines" / "absent.aoti.pt2", allow_code=True)


def test_what_torch_cannot_compile_is_one_line(run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("No working\nC++ compiler")

    monkeypatch.setattr(torch._inductor, "aoti_compile_and_package", fail)
    with pytest.raises(InvalidInputError, match=r"cannot compile it \(No working C\+\+ compiler\); compiling needs"):
        export_run(run, precisions=["fp32"], formats=["aotinductor"], output=tmp_path / "one.pt2", threads=1)
    assert not (tmp_path / "one.pt2").exists()
