"""Runs packages compiled by AOTInductor (.aoti.pt2): machine code for one kind of device, loaded by torch.

Source: https://docs.pytorch.org/docs/stable/torch.compiler_aot_inductor.html
"""

from __future__ import annotations

import logging
import re
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from skinaudit.artifacts.engine_contract import CHANNELS
from skinaudit.artifacts.plain_values import parse_json
from skinaudit.artifacts.typed_json import build
from skinaudit.engines.engine import Provider
from skinaudit.engines.pytorch_ import device_name, import_torch, one_line, precision_name
from skinaudit.engines.runtime import Runtime
from skinaudit.engines.session import INPUT, OUTPUT, Port, SessionDescription
from skinaudit.errors import EngineError, NoDeviceError
from skinaudit.true_fp32 import true_fp32

METADATA = "skinaudit"
"""Key of the package's metadata whose value is the JSON of Contents."""

_COMPILED = "/data/aotinductor/"
_CONSTANT = re.compile(r'constants_info_\[(\d+)\]\.(dtype|original_fqn) = (?:static_cast<int32_t>\()?"?([\w.]+)"?\)?;')
"""A line in the source of the compiled code. torch 2.9 casts the type; later versions do not."""
_CPUS = ("DEFAULT", "AVX2", "AVX512")
_LONGEST = 1_000_000
_AGAIN = "export it again on this machine"


@dataclass(frozen=True)
class Contents:
    """What the metadata of a package says.

    device: the device that it was compiled for. processor: name of the GPU, or torch's name for the vector instructions of
    the CPU. size: side of the images in pixels. classes: number of logits. weighted: names of the weights of convolutions
    and linear layers.
    """

    device: Literal["cpu", "cuda"]
    processor: str
    size: int
    classes: int
    weighted: tuple[str, ...]


class AotSession:
    """A loaded package. Packages do not name their output, so its one output is called `logits` here."""

    labels: tuple[str, ...] | None = None

    def __init__(self, model: Any, torch: Any, contents: Contents, description: SessionDescription) -> None:
        self.description = description
        self.inputs = (Port(INPUT, (None, CHANNELS, contents.size, contents.size), "float32"),)
        self.outputs = (Port(OUTPUT, (None, contents.classes), "float32"),)
        self._model, self._torch, self._device = model, torch, contents.device

    def run(self, tensor: NDArray[Any], *, input: str, output: str) -> NDArray[Any]:
        """See Session."""
        with self._torch.no_grad(), true_fp32():
            answer: NDArray[Any] = self._model(self._torch.from_numpy(tensor).to(self._device)).cpu().numpy()
        return answer


def open_package(path: Path, *, provider: Provider | None, threads: int | None, allow_code: bool = False) -> AotSession:
    """Open a package. This runs machine code from the file, so it needs `allow_code`.

    The code of a damaged file, or of a file made for another machine, may end the process.
    provider: None for the device that the package was compiled for. This function sets the number of torch's threads for the
    whole process. Raises EngineError without `allow_code`, for a damaged package, for one that skinaudit did not export, and
    for one made for another device or CPU. Raises NoDeviceError for a CUDA package if torch finds no device,
    MissingDependencyError without torch.
    """
    torch = import_torch(path)
    contents, precisions = read_contents(path), found_in(path)
    if not allow_code:
        raise EngineError(
            f"{path}: a compiled package is machine code and runs with your rights as soon as it is opened; pass "
            "--allow-code if you trust its origin"
        )
    _check_device(torch, contents, provider, where=path)
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        with quiet(), true_fp32():
            model = torch._inductor.aoti_load_package(str(path))
    except Exception as error:  # the system's loader and torch raise many different types
        raise EngineError(f"{path}: torch {torch.__version__} cannot load it ({one_line(error)}); {_AGAIN}") from error
    description = SessionDescription(
        runtime="aotinductor",
        version=torch.__version__,
        provider=contents.device,
        device=device_name(torch, contents.device),
        threads=torch.get_num_threads(),
        found=precisions,
        settings={"mode": "compiled", "compiled_for": contents.processor},
    )
    return AotSession(model, torch, contents, description)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the compiler's remarks about the machine, in warnings and in the log. Real failures raise errors."""
    before = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)


def is_package(path: Path) -> bool:
    """Whether a .pt2 file holds compiled code; False for a file that is not a readable archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(_COMPILED in name for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def read_contents(path: Path) -> Contents:
    """Read the metadata of a package without loading its code; raises EngineError if skinaudit did not write the package."""
    with _archive(path) as archive:
        for _, text in _read(archive, "_metadata.json", where=path):
            entries = parse_json(text, where=str(path), kind="metadata", again=_AGAIN, text_limit=_LONGEST)
            own = entries.get(METADATA) if isinstance(entries, dict) else None
            if isinstance(own, str):
                plain = parse_json(own, where=str(path), kind=f"metadata {METADATA}", again=_AGAIN)
                contents: Contents = build(Contents, plain, where=str(path), again=_AGAIN)
                return contents
    raise EngineError(f"{path}: does not describe its input and output, so skinaudit did not export it; {_AGAIN}")


def found_in(path: Path) -> dict[str, int]:
    """Count the weighted layers by the type of their weights in the compiled code, as the source stored beside it says."""
    constants: dict[tuple[str, str], dict[str, str]] = {}
    with _archive(path) as archive:
        for name, text in _read(archive, ".cpp", where=path):
            for number, field, value in _CONSTANT.findall(text):
                constants.setdefault((name, number), {})[field] = value
    types = {entry.get("original_fqn"): entry.get("dtype", "unknown") for entry in constants.values()}
    weighted = read_contents(path).weighted
    counts = Counter(precision_name(types.get(name, "unknown").removeprefix("cached_torch_dtype_")) for name in weighted)
    return dict(sorted(counts.items()))


def _check_device(torch: Any, contents: Contents, provider: Provider | None, *, where: Path) -> None:
    if provider not in (None, contents.device):
        raise EngineError(
            f"{where}: compiled for {contents.device}; leave --provider {provider} out, or export it with that option"
        )
    if contents.device == "cuda" and not torch.cuda.is_available():
        raise NoDeviceError(
            f"{where}: compiled for a CUDA device ({contents.processor}), but torch finds none; audit it on a machine with "
            "that device, or run its graph with --emulate"
        )
    capability = torch.backends.cpu.get_cpu_capability()
    known = contents.processor in _CPUS and capability in _CPUS
    if contents.device == "cpu" and known and _CPUS.index(contents.processor) > _CPUS.index(capability):
        raise EngineError(f"{where}: compiled for CPUs with {contents.processor}, this one has {capability}; {_AGAIN}")


def _archive(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise EngineError(f"{path}: not a readable package ({one_line(error)}); {_AGAIN}") from error


def _read(archive: zipfile.ZipFile, ending: str, *, where: Path) -> Iterator[tuple[str, str]]:
    """Name and text of the compiled code's files whose names end in `ending`."""
    for name in archive.namelist():
        if _COMPILED in name and name.endswith(ending):
            try:
                yield name, archive.read(name).decode(errors="replace")
            except (OSError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError) as error:
                raise EngineError(f"{where}: not a readable package ({one_line(error)}); {_AGAIN}") from error


RUNTIME = Runtime((".pt2",), None, open_package, recognises=is_package, runs_code=True)
