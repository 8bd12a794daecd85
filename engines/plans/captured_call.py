"""A call recorded as a CUDA graph: many launches become one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class CapturedCall:
    """What was enqueued on a stream, to be launched again with the same addresses and shapes."""

    def __init__(
        self, cuda: Any, stream: Any, enqueue: Callable[[], object], check: Callable[[tuple[Any, ...]], Any]
    ) -> None:
        """Record what `enqueue` puts on the stream; nothing of it runs yet. Raises as `check` does."""
        self._cuda, self._stream, self._check = cuda, stream, check
        self._runnable: Any = None
        check(cuda.cudaStreamBeginCapture(stream, cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal))
        try:
            enqueue()
        except BaseException:
            _, *graphs = cuda.cudaStreamEndCapture(stream)  # the stream must not stay in capture mode
            if graphs and int(graphs[0] or 0):
                cuda.cudaGraphDestroy(graphs[0])
            raise
        graph = check(cuda.cudaStreamEndCapture(stream))
        try:
            self._runnable = check(cuda.cudaGraphInstantiate(graph, 0))
        finally:
            cuda.cudaGraphDestroy(graph)

    def launch(self) -> None:
        """Enqueue all of it once more."""
        self._check(self._cuda.cudaGraphLaunch(self._runnable, self._stream))

    def free(self) -> None:
        """Give it back; the stream must be idle. A second call does nothing."""
        runnable, self._runnable = self._runnable, None
        if runnable is not None:
            self._cuda.cudaGraphExecDestroy(runnable)
