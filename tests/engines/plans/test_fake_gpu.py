"""The fake GPU notices what the real one would punish; otherwise the tests over it could not fail."""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_gpu.cuda_world import world

from skinaudit.engines.plans.cuda_device import BINDINGS
from skinaudit.engines.plans.error_log import ErrorLog

Write = Callable[..., Path]


@pytest.fixture
def cuda(fake_gpu: Callable[..., None]) -> Any:
    return importlib.import_module(BINDINGS)


def got(answer: tuple[Any, ...]) -> Any:
    assert int(answer[0]) == 0, answer
    return answer[1] if len(answer) > 1 else None


@pytest.fixture
def opened(fake_gpu: Callable[..., None], write_plan: Write) -> tuple[Any, Any]:
    """The library and an engine that takes 1 to 8 images."""
    trt = importlib.import_module("tensorrt")
    return trt, trt.Runtime(ErrorLog(trt).logger).deserialize_cuda_engine(write_plan().read_bytes())


def test_enums_and_nptype_are_those_of_the_installed_bindings(opened: tuple[Any, Any]) -> None:
    trt, engine = opened
    real = importlib.import_module("tensorrt_rtx_bindings")
    assert engine.get_tensor_dtype("image") is real.DataType.FLOAT
    assert engine.get_tensor_mode("image") is real.TensorIOMode.INPUT
    with pytest.raises(TypeError):
        trt.nptype(trt.DataType.BF16)
    cuda = importlib.import_module(BINDINGS)
    assert cuda.cudaError_t.__module__ == BINDINGS
    assert cuda.cudaGetDeviceCount()[0] is cuda.cudaError_t.cudaSuccess


def test_a_copy_to_the_host_is_garbage_until_its_stream_is_synchronised(cuda: Any) -> None:
    stream, host, device = got(cuda.cudaStreamCreate()), got(cuda.cudaMallocHost(4)), got(cuda.cudaMalloc(4))
    memory = (ctypes.c_ubyte * 4).from_address(host)
    memory[:] = [1, 2, 3, 4]
    kinds = cuda.cudaMemcpyKind
    got(cuda.cudaMemcpyAsync(device, host, 4, kinds.cudaMemcpyHostToDevice, stream))
    got(cuda.cudaMemcpyAsync(host, device, 4, kinds.cudaMemcpyDeviceToHost, stream))
    assert list(memory) == [0xCD] * 4
    got(cuda.cudaStreamSynchronize(stream))
    assert list(memory) == [0xCD] * 4  # the first copy read what the second had spoiled before it ran
    got(cuda.cudaMemcpyAsync(device, host, 4, kinds.cudaMemcpyHostToDevice, stream))
    memory[:] = [5, 6, 7, 8]
    got(cuda.cudaStreamSynchronize(stream))
    assert list(world().view(device, 4, "device")) == [5, 6, 7, 8]
    with pytest.raises(AssertionError, match="not device memory that is held"):
        cuda.cudaMemcpyAsync(device + 1, host, 4, kinds.cudaMemcpyHostToDevice, stream)
    got(cuda.cudaFree(device))
    with pytest.raises(AssertionError, match="freed twice"):
        cuda.cudaFree(device)
    with pytest.raises(AssertionError, match="host memory was freed as device"):
        cuda.cudaFree(host)
    assert world().leaks() == {"host": 1, "streams": 1}
    world().forget()


def test_memory_is_not_freed_under_a_stream_that_works(cuda: Any) -> None:
    stream, host, device = got(cuda.cudaStreamCreate()), got(cuda.cudaMallocHost(4)), got(cuda.cudaMalloc(4))
    got(cuda.cudaMemcpyAsync(device, host, 4, cuda.cudaMemcpyKind.cudaMemcpyHostToDevice, stream))
    with pytest.raises(AssertionError, match="still has work"):
        cuda.cudaFree(device)
    world().forget()


def test_a_context_takes_nothing_out_of_order(opened: tuple[Any, Any], cuda: Any) -> None:
    _, engine = opened
    stream = int(got(cuda.cudaStreamCreate()))
    context = engine.create_execution_context()
    assert context.get_tensor_shape("image") == (-1, 3, 2, 2)
    assert not context.execute_async_v3(stream)  # no shape
    assert not context.set_input_shape("image", (9, 3, 2, 2))
    assert not context.set_input_shape("image", (4, 3, 2))
    assert context.set_input_shape("image", (4, 3, 2, 2))
    assert context.get_tensor_shape("logits") == (4, 12)
    assert not context.execute_async_v3(stream)  # no addresses
    image, logits = got(cuda.cudaMalloc(192)), got(cuda.cudaMalloc(100))
    assert context.set_tensor_address("image", image)
    assert context.set_tensor_address("logits", logits)
    assert not context.execute_async_v3(stream + 1)
    assert context.execute_async_v3(stream)
    with pytest.raises(AssertionError, match="not device memory that is held"):  # logits need 192 bytes
        cuda.cudaStreamSynchronize(stream)
    assert context.set_optimization_profile_async(0, stream)
    assert not context.set_optimization_profile_async(1, stream)
    assert context.get_tensor_shape("image") == (-1, 3, 2, 2)  # a switch forgets the shapes
    world().forget()


def test_what_never_ran_cannot_be_captured(opened: tuple[Any, Any], cuda: Any) -> None:
    _, engine = opened
    stream = got(cuda.cudaStreamCreate())
    context = engine.create_execution_context()
    assert context.set_input_shape("image", (1, 3, 2, 2))
    for name in ("image", "logits"):
        assert context.set_tensor_address(name, got(cuda.cudaMalloc(48)))
    got(cuda.cudaStreamBeginCapture(stream, cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal))
    assert not context.execute_async_v3(int(stream))
    assert cuda.cudaStreamSynchronize(stream)[0] is cuda.cudaError_t.cudaErrorStreamCaptureUnsupported
    world().forget()


def test_lazy_kernels_answer_otherwise_the_second_time(fake_gpu: Callable[..., None], write_plan: Write) -> None:
    trt = importlib.import_module("tensorrt_rtx")
    engine = trt.Runtime(ErrorLog(trt).logger).deserialize_cuda_engine(write_plan().read_bytes())
    config = engine.create_runtime_config()
    assert config.dynamic_shapes_kernel_specialization_strategy is trt.DynamicShapesKernelSpecializationStrategy.LAZY
    images = np.random.default_rng(0).normal(size=(2, 3, 2, 2)).astype(np.float32)
    lazy = engine.create_execution_context(config)
    first, second = (lazy._answer(images, "image", "logits", ()) for _ in range(2))
    assert first.tobytes() != second.tobytes()
    np.testing.assert_allclose(first, second, rtol=1e-5)
