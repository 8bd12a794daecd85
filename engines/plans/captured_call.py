"""A call recorded as a CUDA graph, so that many kernel launches become one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class CapturedCall:
    """Work recorded from a stream. It is launched again with the same addresses and shapes."""

    def __init__(
        self, cuda: Any, stream: Any, enqueue: Callable[[], object], check: Callable[[tuple[Any, ...]], Any]
    ) -> None:
        """Record the work that `enqueue` puts on the stream, without running it. Raises the errors of `check`."""
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
        """Launch the recorded work once more."""
        self._check(self._cuda.cudaGraphLaunch(self._runnable, self._stream))

    def free(self) -> None:
        """Free the recording; the stream must be idle. A second call does nothing."""
        runnable, self._runnable = self._runnable, None
        if runnable is not None:
            self._cuda.cudaGraphExecDestroy(runnable)
