"""An open plan on a CUDA device. Memory and streams come from cuda-python, not from torch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinaudit.engines.plans.captured_call import CapturedCall
from skinaudit.engines.plans.cuda_device import checked
from skinaudit.engines.plans.device_buffers import DeviceBuffers
from skinaudit.engines.plans.plan_batches import calls, unused
from skinaudit.engines.plans.plan_tensors import read_tensors
from skinaudit.engines.session import SessionDescription
from skinaudit.errors import EngineError

_Call = tuple[str, str, int, tuple[int, ...]]
"""Input, output, profile and the shape of the input."""


class PlanSession:
    """A deserialised plan with a context, a stream, and buffers that grow with the batch; see Session.

    Any number of images is split into calls that the plan's optimisation profiles accept. A batch that is too small is
    padded with copies of the last image, and the answers for the copies are dropped. Not thread-safe.
    """

    labels: tuple[str, ...] | None = None
    _stream: Any = None  # until it is set, there is nothing to free
    _buffers: DeviceBuffers | None = None
    _captured: CapturedCall | None = None

    def __init__(
        self,
        engine: Any,
        *,
        trt: Any,
        cuda: Any,
        description: SessionDescription,
        where: str,
        make_context: Callable[[Any], Any] | None = None,
        after_new_shape: Callable[[], None] | None = None,
        device: int = 0,
        graphs: bool = False,
        keep: tuple[Any, ...] = (),
        last_error: Callable[[], str] = lambda: "it gave no reason",
    ) -> None:
        """Create the context and the stream.

        engine: from the library's Runtime. trt: the library's module. cuda: cuda-python's runtime bindings. make_context: by
        default the engine's own `create_execution_context`. after_new_shape: called after a batch of a new shape has run.
        device: index of the CUDA device, which must be the current one. graphs: replay repeated calls as CUDA graphs. keep:
        objects that must outlive the engine, such as its Runtime and logger. last_error: returns the library's last message.
        Raises EngineError if the plan's tensors cannot be exchanged as plain arrays, or if the device lacks memory.
        """
        self._where, self._cuda, self._engine, self._keep = where, cuda, engine, keep
        self._device, self._graphs, self._after_new_shape = device, graphs, after_new_shape
        self._last_error = last_error
        # not a method: a reference cycle would keep the memory until the next collection
        self._check = partial(checked, where=where)
        self._tensors = read_tensors(engine, trt, where=where)
        self.inputs, self.outputs = self._tensors.inputs, self._tensors.outputs
        self.description = self._described(description)
        self._profile = 0
        self._last_call: _Call | None = None
        self._calls: set[_Call] = set()
        try:
            self._context = (make_context or _plain_context)(engine)
            if self._context is None:
                raise EngineError(
                    f"{where}: no execution context could be created; the device may have too little memory: {last_error()}"
                )
            self._stream = self._check(cuda.cudaStreamCreate())
            self._buffers = DeviceBuffers(cuda, self._check)
        except BaseException:
            self.close()
            raise

    def run(self, tensor: NDArray[Any], *, input: str, output: str) -> NDArray[Any]:
        """See Session. A plan's bfloat16 and 8-bit floats are converted from and to float32."""
        if self._stream is None:
            raise EngineError(f"{self._where}: the engine was closed")
        tensor = np.asarray(tensor)
        planned = list(calls(len(tensor), tensor.shape[1:], self._tensors.profiles[input]))
        if not planned:
            largest = self._tensors.profiles[input][-1].largest
            raise EngineError(
                f"{self._where}: does not accept {tensor.shape}, at most {largest}; export it for images of this size"
            )
        self._check(self._cuda.cudaSetDevice(self._device))
        answers = []
        for call in planned:
            images = tensor[call.start : call.stop]
            filling = np.repeat(images[-1:], call.batch - len(images), axis=0)
            batch = np.concatenate([images, filling]) if len(filling) else images
            answers.append(self._run_batch(batch, input, output, call.profile)[: len(images)])
        return np.concatenate(answers) if len(answers) > 1 else answers[0]

    def close(self) -> None:
        """Free context, buffers and stream; nothing may run afterwards. A second call does nothing."""
        stream, self._stream = self._stream, None
        if stream is not None:
            self._cuda.cudaSetDevice(self._device)
            self._cuda.cudaStreamSynchronize(stream)
        if self._captured is not None:
            self._captured.free()
        self._context = None  # it holds the addresses
        if self._buffers is not None:
            self._buffers.free()
        if stream is not None:
            self._cuda.cudaStreamDestroy(stream)
        self._engine = None  # freed after its context, and before the runtime that made it
        self._keep = ()

    def __del__(self) -> None:
        # When the interpreter exits, the bindings may already be gone, and the driver frees what is left.
        with contextlib.suppress(Exception):
            self.close()

    def _run_batch(self, batch: NDArray[Any], input: str, output: str, profile: int) -> NDArray[Any]:
        assert self._buffers is not None
        call = (input, output, profile, batch.shape)
        bits = self._tensors.types[input].encoded(batch)
        try:
            repeated = call == self._last_call
            if not repeated:
                self._prepare(call)
            host, _ = self._memory(input, bits.shape)
            host[...] = bits
            answer = self._launch(call, repeated=repeated)
            self._check(self._cuda.cudaStreamSynchronize(self._stream))
        except BaseException:  # also for Ctrl-C: work on the stream still uses the buffers
            self._last_call = None
            self._cuda.cudaStreamSynchronize(self._stream)
            raise
        if call not in self._calls:
            self._calls.add(call)
            if self._after_new_shape is not None:
                self._after_new_shape()
        if answer.shape[:1] != batch.shape[:1]:
            raise EngineError(
                f"{self._where}: {output} has shape {answer.shape} for {len(batch)} images, not one row per image"
            )
        return np.array(self._tensors.types[output].decoded(answer))

    def _prepare(self, call: _Call) -> None:
        """Set profile, shape and addresses in the order that the library requires; the stream must be idle."""
        assert self._buffers is not None
        input, _, profile, shape = call
        self._last_call = None
        if self._captured is not None:
            self._captured.free()
            self._captured = None
        if profile != self._profile:
            if not self._context.set_optimization_profile_async(profile, int(self._stream)):
                raise EngineError(f"{self._where}: optimisation profile {profile} could not be set")
            self._check(self._cuda.cudaStreamSynchronize(self._stream))
            self._profile = profile
        if not self._context.set_input_shape(input, shape):
            raise EngineError(f"{self._where}: the plan refuses a batch of shape {shape}: {self._last_error()}")
        for port in (*self.inputs, *self.outputs):
            sides = shape if port.name == input else self._shape(port.name)
            dtype = np.dtype(self._tensors.types[port.name].memory)
            _, device = self._buffers.reserve(port.name, sides, dtype)
            if not self._context.set_tensor_address(port.name, device):
                raise EngineError(f"{self._where}: the plan refuses the memory for {port.name}")

    def _launch(self, call: _Call, *, repeated: bool) -> NDArray[Any]:
        """Enqueue one call. The answer's memory is valid when the stream is idle.

        With CUDA graphs, the first call of a shape runs directly, because the library prepares itself during it. The second
        one is recorded; it and all later ones launch the recording.
        """
        input, output, _, shape = call
        if not (self._graphs and repeated):
            answer = self._enqueue(input, output, shape)
            self._last_call = call
            return answer
        if self._captured is None:
            self._captured = self._capture(input, output, shape)
        self._captured.launch()
        return self._memory(output, self._shape(output))[0]

    def _capture(self, input: str, output: str, shape: tuple[int, ...]) -> CapturedCall:
        try:
            return CapturedCall(
                self._cuda, self._stream, lambda: self._enqueue(input, output, shape), self._check
            )  # fmt: skip
        except EngineError as error:
            raise EngineError(f"{error}; this plan cannot be recorded as a CUDA graph: leave --cuda-graphs out") from error

    def _enqueue(self, input: str, output: str, shape: tuple[int, ...]) -> NDArray[Any]:
        cuda = self._cuda
        to_device, to_host = cuda.cudaMemcpyKind.cudaMemcpyHostToDevice, cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        images, device = self._memory(input, shape)
        self._check(cuda.cudaMemcpyAsync(device, images.ctypes.data, images.nbytes, to_device, self._stream))
        if not self._context.execute_async_v3(int(self._stream)):
            raise EngineError(f"{self._where}: TensorRT failed to run a batch of shape {shape}: {self._last_error()}")
        answer, device = self._memory(output, self._shape(output))
        self._check(cuda.cudaMemcpyAsync(answer.ctypes.data, device, answer.nbytes, to_host, self._stream))
        return answer

    def _memory(self, name: str, shape: tuple[int, ...]) -> tuple[NDArray[Any], int]:
        assert self._buffers is not None
        return self._buffers.reserve(name, shape, np.dtype(self._tensors.types[name].memory))

    def _shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor after the shape of the input is set."""
        shape = tuple(int(side) for side in self._context.get_tensor_shape(name))
        if min(shape, default=0) < 0:
            raise EngineError(f"{self._where}: the size of {name} depends on the data {shape}; export it with a fixed size")
        return shape

    def _described(self, description: SessionDescription) -> SessionDescription:
        """The description, with the batches that the plan accepts and the tensors that the session converts."""
        converted = self._tensors.converted
        settings = {**description.settings, **({"converted": converted} if converted else {})}
        profiles = next(iter(self._tensors.profiles.values()), ())
        ranges = tuple(dict.fromkeys(profile.batches for profile in profiles if profile.largest))
        return replace(description, settings=settings, batches=ranges, unused=unused(profiles))


def _plain_context(engine: Any) -> Any:
    return engine.create_execution_context()
