"""What compiling for CUDA needs besides g++: headers and the driver's library, even without an installed CUDA toolkit.

The wheels that come with torch contain the headers. The driver is installed as libcuda.so.1, a name that linkers do not
search for.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_HEADERS = ("cuda.h", "cuda_runtime_api.h")
_DRIVER = "libcuda.so"


@contextmanager
def cuda_toolkit() -> Iterator[None]:
    """Let torch's compiler find a toolkit and the driver inside this block. torch must already have used its device."""
    from torch.utils import cpp_extension

    module: Any = cpp_extension
    before, home = module.CUDA_HOME, _toolkit(module.CUDA_HOME)
    with tempfile.TemporaryDirectory() as folder:
        driver = _driver(Path("/proc/self/maps"))
        if driver is not None and not driver.with_name(_DRIVER).exists():
            (Path(folder) / _DRIVER).symlink_to(driver)
        paths = [folder, *filter(None, [os.environ.get("LIBRARY_PATH")])]
        settings = {"LIBRARY_PATH": os.pathsep.join(paths), **({"CUDA_HOME": str(home)} if home else {})}
        kept = {name: os.environ.get(name) for name in settings}
        module.CUDA_HOME = str(home) if home else before
        os.environ.update(settings)
        try:
            yield
        finally:
            module.CUDA_HOME = before
            for name, value in kept.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


def _toolkit(installed: str | None) -> Path | None:
    """The installed toolkit if it has the headers, else the folder of a wheel with the headers."""
    wheels = find_spec("nvidia")
    places = [] if wheels is None else [Path(place) for place in wheels.submodule_search_locations or ()]
    candidates = [folder for place in places for folder in sorted(place.iterdir(), reverse=True)]
    if installed:
        candidates.insert(0, Path(installed))
    complete = (folder for folder in candidates if all((folder / "include" / name).is_file() for name in _HEADERS))
    return next(complete, None)


def _driver(maps: Path) -> Path | None:
    """The file of the driver's library that this process has loaded."""
    try:
        lines = maps.read_text().splitlines()
    except OSError:
        return None
    loaded = (line.split(maxsplit=5)[-1] for line in lines if f"/{_DRIVER}" in line)
    return next((Path(path) for path in loaded), None)
