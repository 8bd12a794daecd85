from __future__ import annotations

import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnxruntime.capi import onnxruntime_pybind11_state

from skinaudit.engines import onnxruntime_
from skinaudit.engines.onnxruntime_ import open_bytes
from skinaudit.engines.open import open_engine
from skinaudit.engines.session import SessionEngine, check_logits
from skinaudit.errors import EngineError, MissingDependencyError

Write = Callable[..., Path]


def images(count: int, size: int = 8) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 3, size, size), dtype=np.uint8)


def test_describes_the_file_and_the_session(write_model: Write) -> None:
    description = open_engine(write_model(), threads=1).description
    assert (description.runtime, description.provider, description.threads) == ("onnxruntime", "CPUExecutionProvider", 1)
    assert (description.size, description.classes, description.found) == (8, 7, {"fp32": 2})
    assert description.version == onnxruntime.__version__


def test_threads_default_to_all_granted_cpus(write_model: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 1, 2}, raising=False)
    assert open_engine(write_model()).description.threads == 3


def test_answers_as_a_plain_session_does_and_repeats_exactly(write_model: Write) -> None:
    path = write_model()
    engine, batch = open_engine(path, threads=2), images(9)
    plain = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (expected,) = plain.run(None, {"image": batch.astype(np.float32) / np.float32(255)})
    logits = engine.logits(batch)
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)
    assert np.array_equal(engine.logits(batch), logits)


def test_a_smaller_batch_after_a_larger_one_reuses_the_buffer_without_leftovers(write_model: Write) -> None:
    engine, batch = open_engine(write_model(), threads=1), images(9)
    all_logits = engine.logits(batch)
    parts = [engine.logits(batch[start:stop]) for start, stop in ((0, 2), (2, 9))]
    np.testing.assert_allclose(np.concatenate(parts), all_logits, rtol=1e-6, atol=1e-6)


def test_pixels_enter_with_the_values_of_torch(write_model: Write) -> None:
    torch = pytest.importorskip("torch")
    fed: dict[str, np.ndarray] = {}
    engine = open_engine(write_model(), threads=1)

    def run(tensor: np.ndarray, *, input: str, output: str) -> np.ndarray:
        fed[input] = tensor
        return np.zeros((2, 7), np.float32)

    engine._session = types.SimpleNamespace(run=run)
    all_values = np.resize(np.arange(256, dtype=np.uint8), (2, 3, 8, 8))
    engine.logits(all_values)
    assert np.array_equal(fed["image"], (torch.from_numpy(all_values).float() / 255).numpy())
    assert np.unique(fed["image"]).size == 256


@pytest.mark.parametrize(
    ("batch", "shape"),
    [
        (np.zeros((1, 3, 8, 8), np.float64), "float64 (1, 3, 8, 8)"),
        (np.zeros((1, 3, 9, 9), np.uint8), "(1, 3, 9, 9)"),
        (np.zeros((3, 8, 8), np.uint8), "(3, 8, 8)"),
        (np.zeros((0, 3, 8, 8), np.uint8), "(0, 3, 8, 8)"),
    ],
)
def test_images_of_another_form_are_refused(write_model: Write, batch: np.ndarray, shape: str) -> None:
    with pytest.raises(EngineError) as error:
        open_engine(write_model(), threads=1).logits(batch)
    assert "needs uint8 images (B, 3, 8, 8)" in str(error.value)
    assert shape in str(error.value)


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        ({"input_name": "pixels"}, "has (pixels) -> (logits), expected image -> logits"),
        ({"output_name": "scores"}, "has (image) -> (scores), expected image -> logits"),
        ({"channels": 1}, "found image float32 (batch, 1, 8, 8), expected (batch, 3, size, size)"),
        ({"height": 6}, "found image float32 (batch, 3, 6, 8), expected (batch, 3, size, size)"),
        ({"batch": 1}, "the batch is fixed at 1"),
        ({"dtype": 10}, "image is float16 and logits float16, expected float32 for both"),
    ],
)
def test_another_interface_is_one_line(write_model: Write, faults: dict[str, object], message: str) -> None:
    path = write_model(**faults)
    with pytest.raises(EngineError) as error:
        open_engine(path, threads=1)
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("spoil", [np.nan, np.inf])
def test_logits_that_are_not_finite_are_refused(write_model: Write, spoil: float) -> None:
    engine = open_engine(write_model(spoil=spoil), threads=1)
    with pytest.raises(EngineError, match=r"small\.onnx: NaN or infinite logits for 4 of 4 images"):
        engine.logits(images(4))


def test_answers_of_another_shape_or_kind_are_refused() -> None:
    with pytest.raises(EngineError, match=r"e: returned float32 \(2, 3\) instead of float32 \(2, 7\)"):
        check_logits(np.zeros((2, 3), np.float32), rows=2, classes=7, where="e")
    with pytest.raises(EngineError, match=r"returned int64 \(2, 7\)"):
        check_logits(np.zeros((2, 7), np.int64), rows=2, classes=7, where="e")


def test_half_and_double_answers_become_float32_and_trailing_sides_of_one_go() -> None:
    for dtype in (np.float16, np.float32, np.float64):
        logits = check_logits(np.ones((2, 7, 1, 1), dtype), rows=2, classes=7, where="e")
        assert (logits.dtype, logits.shape) == (np.float32, (2, 7))


@pytest.mark.parametrize("keep", [0, 10, 200])
def test_a_truncated_file_is_one_line(write_model: Write, keep: int) -> None:
    path = write_model()
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(EngineError, match=r"small\.onnx: truncated or not an ONNX file") as error:
        open_engine(path)
    assert "\n" not in str(error.value)


def test_a_missing_file_and_an_unknown_suffix_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"no\.onnx: no such engine; `skinaudit export`"):
        open_engine(tmp_path / "no.onnx")
    with pytest.raises(EngineError, match=r"e\.bin: no runtime here opens \.bin; supported: .*\.onnx"):
        open_engine(tmp_path / "e.bin")


def test_a_graph_that_the_runtime_refuses_is_one_line(write_model: Write) -> None:
    path = write_model()
    content = path.read_bytes().replace(b"GlobalAveragePool", b"GlobalAveragePoul")
    path.write_bytes(content)
    with pytest.raises(EngineError, match=r"small\.onnx: ONNX Runtime cannot open it: .*GlobalAveragePoul") as error:
        open_engine(path)
    assert "\n" not in str(error.value)


def test_bytes_open_as_the_file_does_and_errors_name_the_place(write_model: Write) -> None:
    path = write_model()
    batch = images(3)
    from_bytes = SessionEngine(open_bytes(path.read_bytes(), where="engines/e.onnx", threads=1), where="engines/e.onnx")
    assert np.array_equal(from_bytes.logits(batch), open_engine(path, threads=1).logits(batch))
    with pytest.raises(EngineError, match=r"engines/e\.onnx: truncated"):
        open_bytes(path.read_bytes()[:99], where="engines/e.onnx")


def test_a_provider_that_is_not_there_is_an_error(write_model: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(EngineError, match=r"provider cuda was requested.*'skinaudit\[gpu\]'.*--provider cpu"):
        open_engine(write_model(), provider="cuda")
    with pytest.raises(EngineError, match="provider 'tpu': choose cpu or cuda"):
        open_engine(write_model(), provider="tpu")  # type: ignore[arg-type]


def test_a_silent_fallback_to_the_cpu_is_an_error(write_model: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path, real = write_model(), onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *a, **_: real(*a, providers=["CPUExecutionProvider"]))
    with pytest.raises(EngineError, match="provider cuda was requested, but onnxruntime offers only CPUExecutionProvider"):
        open_engine(path, provider="cuda")


@pytest.fixture
def cuda_offered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A wheel that has the CUDA provider; what it loads is remembered a process, so it is forgotten before and after."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    onnxruntime_._load_cuda_libraries.cache_clear()
    yield
    onnxruntime_._load_cuda_libraries.cache_clear()


@pytest.mark.usefixtures("cuda_offered")
def test_cuda_libraries_are_loaded_before_the_session_and_failures_are_told(
    write_model: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, real, steps = write_model(), onnxruntime.InferenceSession, []

    def preload() -> None:
        steps.append("preload")
        print("Failed to load libcublas.so.13: no such file")

    def session(source: object, options: object, **_: object) -> object:
        steps.append("session")
        return real(source, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "preload_dlls", preload, raising=False)
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    for _ in range(2):
        with pytest.raises(EngineError, match=r"CPUExecutionProvider \(Failed to load libcublas.so.13: no such file\)"):
            open_engine(path, provider="cuda")
    assert steps == ["preload", "session", "session"]
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("cuda_offered")
def test_a_cuda_session_that_fails_is_an_error_and_prints_nothing(
    write_model: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The runtime's own fallback prints to standard output, where the report goes, and goes on with the CPU."""

    def session(*_: object, enable_fallback: int = 1, **__: object) -> object:
        if enable_fallback:
            print("*************** EP Error ***************")
        raise onnxruntime_pybind11_state.RuntimeException("CUDA failure 35: the driver is too old")

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    with pytest.raises(EngineError, match="cannot open it: CUDA failure 35: the driver is too old"):
        open_engine(write_model(), provider="cuda")
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("cuda_offered")
def test_a_cuda_error_is_told_from_its_cause_on(write_model: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on an NVIDIA H200: the types of a template come first, and fill more than a line."""
    types_first = "cuda_call.cc:154 std::conditional_t<THRW, void, onnxruntime::common::Status> onnxruntime::CudaCall " * 4

    def session(*_: object, **__: object) -> object:
        raise RuntimeError(f"{types_first}CUDA failure 304: OS call failed or operation not supported on this OS ; GPU=0")

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    with pytest.raises(EngineError, match="cannot open it: CUDA failure 304: OS call failed"):
        open_engine(write_model(), provider="cuda")


@pytest.mark.usefixtures("cuda_offered")
def test_the_gpu_is_called_by_its_name(write_model: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path, real = write_model(), onnxruntime.InferenceSession

    class OnCuda:
        """A session on the CPU that says that it is on the GPU."""

        def __init__(self, source: object, options: object, **_: object) -> None:
            self._session = real(source, options, providers=["CPUExecutionProvider"])

        def get_providers(self) -> list[str]:
            return ["CUDAExecutionProvider"]

        def __getattr__(self, name: str) -> object:
            return getattr(self._session, name)

    monkeypatch.setattr(onnxruntime, "InferenceSession", OnCuda)
    monkeypatch.setattr(onnxruntime_, "cuda_devices", lambda *, purpose: (None, ("NVIDIA Test 9000",)))
    assert open_engine(path, provider="cuda").description.device == "NVIDIA Test 9000"


def test_without_onnxruntime_the_extra_is_named(write_model: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_model()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'skinaudit\[cpu\]'"):
        open_engine(path)


def test_the_executed_precision_is_what_the_runtime_made_of_the_file(write_model: Write) -> None:
    assert open_engine(write_model(), threads=1).description.executed == {"fp32": 2}


def test_opening_and_running_an_engine_needs_no_torch(write_model: Write) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from pathlib import Path; import numpy as np\n"
        "from skinaudit.engines.open import open_engine\n"
        "assert 'onnxruntime' not in sys.modules\n"
        f"engine = open_engine(Path({str(write_model())!r}), threads=1)\n"
        "assert engine.logits(np.zeros((2, 3, 8, 8), np.uint8)).shape == (2, 7)\n"
        "assert not any(name.partition('.')[0] == 'torch' for name in sys.modules if sys.modules[name])\n"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (process.returncode, process.stderr) == (0, "")
