"""Keeps what TensorRT logs: the last error explains a call that returned only None or False."""

from __future__ import annotations

from typing import Any

_LONGEST = 300


class ErrorLog:
    """A logger of the library that keeps errors instead of printing them. `logger` must outlive its users."""

    def __init__(self, trt: Any) -> None:
        lines: list[str] = []

        class Logger(trt.ILogger):  # type: ignore[misc]
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: Any, message: str) -> None:
                if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                    lines.append(message)

        self.logger, self._lines = Logger(), lines

    def last(self) -> str:
        """The last error in one line."""
        return " ".join(self._lines[-1].split())[:_LONGEST] if self._lines else "it gave no reason"
