"""What the bytes of a plan tell without a GPU: which library made it, and whether it is complete."""

from __future__ import annotations

from pathlib import Path

from skinaudit.errors import NO_ENGINE, EngineError, no_such_file

SUFFIXES = (".plan", ".engine")
_RTX_MAGIC = b"vtrt"
_RTX_LENGTH = slice(0x10, 0x18)
"""Position at which TensorRT-RTX 1.7 writes the number of bytes; undocumented."""


def is_rtx(path: Path) -> bool:
    """Whether a plan starts with the bytes of TensorRT-RTX (undocumented; seen in 1.7)."""
    try:
        with path.open("rb") as stream:
            return stream.read(len(_RTX_MAGIC)) == _RTX_MAGIC
    except OSError as error:
        raise EngineError(f"{path}: cannot be read ({error.strerror})") from error


def check_plan_file(path: Path, *, library: str) -> None:
    """Raise EngineError for a plan that is missing or truncated, or was made by a library other than `library`."""
    if not path.is_file():
        raise EngineError(no_such_file(path, "engine", NO_ENGINE))
    if (library == "tensorrt_rtx") != is_rtx(path):
        maker = "TensorRT-RTX" if library == "tensorrt" else "something else"
        raise EngineError(f"{path}: this is a plan of {maker}, not of {library}, or it is truncated; choose its --runtime")
    if library == "tensorrt_rtx":
        with path.open("rb") as stream:
            size = int.from_bytes(stream.read(_RTX_LENGTH.stop)[_RTX_LENGTH], "little")
        if size != path.stat().st_size:
            raise EngineError(f"{path}: truncated: {path.stat().st_size:,} bytes of {size:,}; export it again")
