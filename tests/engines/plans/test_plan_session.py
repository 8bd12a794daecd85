"""A session over the fake GPU, which keeps to the rules of the real one and is checked for leaks at each test's end."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fake_gpu.cuda_world import world
from onnx import TensorProto

from skinaudit.engines.engine import BatchRange
from skinaudit.engines.plans.open_plan import open_plan
from skinaudit.engines.plans.options import PlanOptions
from skinaudit.engines.plans.plan_session import PlanSession
from skinaudit.errors import EngineError
from skinaudit.tests.engines.plans.conftest import images

pytestmark = pytest.mark.usefixtures("fake_gpu", "opened_here_alone")


@pytest.fixture
def opened_here_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No process that opens each plan first: test_open_plan has tests of that."""
    monkeypatch.setattr("skinaudit.engines.plans.open_plan.try_plan", lambda *_, **__: None)


Write = Callable[..., Path]


def opened(path: Path, **options: object) -> PlanSession:
    return open_plan(path, provider="cuda", threads=None, library="tensorrt", options=PlanOptions(**options))  # type: ignore[arg-type]


def run_all(session: PlanSession, *counts: int) -> None:
    for count in counts:
        batch = images(count, seed=count)
        answer = session.run(batch, input="image", output="logits")
        np.testing.assert_array_equal(answer, 2 * batch.reshape(count, -1))


def test_batches_of_any_size_are_split_and_buffers_grow(write_plan: Write) -> None:
    session = opened(write_plan((1, 4, 8)))
    run_all(session, 2, 5, 3, 8, 9, 129, 1)
    assert session.description.batches == (BatchRange(1, 4, 8),)
    assert world().leaks() == {"host": 2, "device": 2, "streams": 1}
    session.close()
    assert world().leaks() == {}
    session.close()
    with pytest.raises(EngineError, match="the engine was closed"):
        session.run(images(1), input="image", output="logits")


@pytest.mark.parametrize("batches", [[(8, 16, 64)], [(5, 5, 5)], [(1, 1, 1), (4, 8, 8), (16, 16, 16)]])
def test_a_smallest_batch_a_fixed_one_and_several_profiles(write_plan: Write, batches: list[tuple[int, ...]]) -> None:
    session = opened(write_plan(*batches))
    run_all(session, 1, 2, 4, 5, 7, 8, 15, 16, 17, 65, 100)
    assert session.description.batches == tuple(BatchRange(*limits) for limits in batches)


def test_a_batch_that_the_graph_fixes(write_plan: Write) -> None:
    session = opened(write_plan((4, 4, 4), batch=4))
    assert session.inputs[0].shape == (None, 3, 2, 2)
    run_all(session, 1, 4, 6)


def test_images_of_another_size_are_refused_in_one_line(write_plan: Write) -> None:
    session = opened(write_plan())
    with pytest.raises(EngineError, match=r"does not accept \(2, 3, 9, 9\), at most \(8, 3, 2, 2\)"):
        session.run(np.zeros((2, 3, 9, 9), np.float32), input="image", output="logits")


@pytest.mark.parametrize(("kind", "bits"), [("BF16", 8), ("FP8", 4), ("HALF", 11)])
def test_types_that_numpy_lacks_are_float32_outside(write_plan: Write, kind: str, bits: int) -> None:
    session = opened(write_plan(types={"image": kind, "logits": kind}))
    batch = images(6) if kind != "HALF" else images(6).astype(np.float16)
    answer = session.run(batch, input="image", output="logits")
    assert answer.dtype == batch.dtype
    np.testing.assert_allclose(answer, 2 * batch.reshape(6, -1), rtol=2.0**-bits, atol=2e-3)
    converted = {} if kind == "HALF" else {"converted": f"image {kind.lower()}, logits {kind.lower()}"}
    assert session.description.settings == converted


@pytest.mark.parametrize(
    ("planted", "message"),
    [
        ({"formats": {"image": "CHW32"}}, "tensor image has the vectorised format CHW32"),
        ({"types": {"logits": "INT4"}}, "tensor logits is INT4"),
    ],
)
def test_tensors_that_are_no_plain_arrays_are_refused(write_plan: Write, planted: dict[str, object], message: str) -> None:
    with pytest.raises(EngineError, match=message):
        opened(write_plan(**planted))
    assert world().leaks() == {}


def test_a_session_that_is_forgotten_frees_all(write_plan: Write) -> None:
    session = opened(write_plan())
    run_all(session, 3)
    del session
    assert world().leaks() == {}


def test_a_device_without_memory_leaves_nothing_behind(write_plan: Write, fake_gpu: Callable[..., None]) -> None:
    fake_gpu(memory=600)  # two tensors of 4 images take 384 bytes, of 8 images 768
    session = opened(write_plan())
    run_all(session, 4)
    with pytest.raises(EngineError, match="CUDA failed: cudaErrorMemoryAllocation"):
        run_all(session, 8)
    run_all(session, 2)
    session.close()
    assert world().leaks() == {}


def test_an_interrupted_run_waits_for_what_it_enqueued(write_plan: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    session = opened(write_plan())
    run_all(session, 4)
    with monkeypatch.context() as patch:
        patch.setattr(session._context, "execute_async_v3", lambda stream: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run_all(session, 4)
    assert not any(stream.waiting for stream in world().streams.values())
    run_all(session, 8)


def test_a_plan_for_another_device_runs_there(write_plan: Write, fake_gpu: Callable[..., None]) -> None:
    fake_gpu(devices=("first", "second"))
    session, usual = opened(write_plan(), device=1), opened(write_plan())
    for _ in range(2):
        run_all(session, 3)
        run_all(usual, 9)
    assert (session.description.device, usual.description.device) == ("second", "first")
    with pytest.raises(EngineError, match="there is no CUDA device 2; choose --device among 0 first, 1 second"):
        opened(write_plan(), device=2)


def test_a_repeated_batch_is_recorded_once_and_replayed(write_plan: Write) -> None:
    session = opened(write_plan(), cuda_graphs=True)
    world().calls.clear()
    run_all(session, 4, 4, 4, 4)
    order = [call for call in world().calls if not call.startswith("allocate")]
    whole_call = ["copy to device", "execute", "copy to host"]
    recorded = ["begin capture", *whole_call, "end capture", "instantiate", "launch", "synchronise"]
    assert order == [*whole_call, "synchronise", *recorded, *["launch", "synchronise"] * 2]
    run_all(session, 4, 8, 8, 8, 4, 4, 4, 19)
    assert session.description.settings == {"cuda_graphs": "on"}


def test_what_cannot_be_recorded_is_said(write_plan: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    session = opened(write_plan(), cuda_graphs=True)
    run_all(session, 4)
    with monkeypatch.context() as patch:
        patch.setattr(session._context, "execute_async_v3", lambda stream: False)
        with pytest.raises(EngineError, match="leave --cuda-graphs out"):
            run_all(session, 4)
    run_all(session, 4, 4)


def test_half_precision_is_computed_in_it(write_plan: Write) -> None:
    session = opened(write_plan(dtype=TensorProto.FLOAT16))
    answer = session.run(images(3).astype(np.float16), input="image", output="logits")
    np.testing.assert_array_equal(answer, 2 * images(3).astype(np.float16).reshape(3, -1))


def test_plugins_are_registered_before_the_plan_is_read(write_plan: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    library = importlib.import_module("tensorrt")
    order: list[str] = []
    deserialize = library.Runtime.deserialize_cuda_engine

    def register(logger: object, namespace: str) -> bool:
        order.append(f"plugins {namespace!r}")
        return True

    def read(runtime: object, plan: bytes) -> object:
        order.append("plan")
        return deserialize(runtime, plan)

    monkeypatch.setattr(library, "init_libnvinfer_plugins", register)
    monkeypatch.setattr(library.Runtime, "deserialize_cuda_engine", read)
    run_all(opened(write_plan()), 3)
    assert order == ["plugins ''", "plan"]
    monkeypatch.setattr(library, "init_libnvinfer_plugins", lambda logger, namespace: False)
    with pytest.raises(EngineError, match="the plugins of tensorrt cannot be registered"):
        opened(write_plan())
    monkeypatch.delattr(library, "init_libnvinfer_plugins")  # as in the lean library
    run_all(opened(write_plan()), 3)


def test_a_context_that_cannot_be_made_leaves_nothing_behind(write_plan: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    from fake_gpu.engine import Engine

    monkeypatch.setattr(Engine, "create_execution_context", lambda engine, config=None: None)
    with pytest.raises(EngineError, match="no execution context could be created; the device may have too little memory"):
        opened(write_plan())
    assert world().leaks() == {}


def test_a_run_that_fails_says_why_and_can_be_repeated(write_plan: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    session = opened(write_plan())
    with monkeypatch.context() as patch:
        patch.setattr(session._context, "set_tensor_address", lambda name, address: True)  # nothing is set
        with pytest.raises(EngineError, match=r"failed to run a batch of shape \(3, 3, 2, 2\): .*not specified"):
            run_all(session, 3)
    run_all(session, 3)
