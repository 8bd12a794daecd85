"""What a plan's bytes tell without a GPU: which library made it, and whether it is whole."""

from __future__ import annotations

from pathlib import Path

from skinaudit.errors import NO_ENGINE, EngineError, no_such_file

SUFFIXES = (".plan", ".engine")
_RTX_MAGIC = b"vtrt"
_RTX_LENGTH = slice(0x10, 0x18)
"""Where TensorRT-RTX 1.7 writes the number of bytes; it is not documented."""


def is_rtx(path: Path) -> bool:
    """Whether a plan's first bytes are those of TensorRT-RTX (undocumented; seen in 1.7)."""
    try:
        with path.open("rb") as stream:
            return stream.read(len(_RTX_MAGIC)) == _RTX_MAGIC
    except OSError as error:
        raise EngineError(f"{path}: cannot be read ({error.strerror})") from error


def check_plan_file(path: Path, *, library: str) -> None:
    """Raise EngineError for a missing or truncated plan, or one that another library than `library` made."""
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
