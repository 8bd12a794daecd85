"""Runs exported PyTorch programs (.pt2). Needs torch, but only once such a file is opened."""

from __future__ import annotations

import platform
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.program_structure import structure_of
from skinaudit.engines.engine import Provider
from skinaudit.engines.networks.layers import Layer
from skinaudit.engines.networks.of_program import ambiguous
from skinaudit.engines.networks.of_structure import network_of
from skinaudit.engines.program_file import harmless_program
from skinaudit.engines.runtime import Runtime
from skinaudit.engines.session import OUTPUT, Port, SessionDescription
from skinaudit.errors import NO_ENGINE, EngineError, no_such_file, not_imported
from skinaudit.true_fp32 import true_fp32

LIBRARIES = ("torch",)
_MODEL = "model."
"""Start of the names that the exporter gives to the weights of a program."""
_WEIGHTED = ("conv1d", "conv2d", "conv3d", "convolution", "linear", "addmm")
_NAMES = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16", "float64": "fp64"}


def precision_name(dtype: str) -> str:
    """`fp32` for torch's float32; a type without a shorter name stays as it is."""
    kind = dtype.removeprefix("torch.")
    return _NAMES.get(kind, kind)


class PytSession:
    """A program on a device. Its one output is called `logits`, since programs do not name theirs."""

    labels: tuple[str, ...] | None = None

    def __init__(
        self, module: Any, torch: Any, device: Any, description: SessionDescription, ports: tuple[Port, Port]
    ) -> None:
        self.description = description
        self.inputs, self.outputs = ports[:1], ports[1:]
        self._module, self._torch, self._device = module, torch, device

    def run(self, tensor: NDArray[Any], *, input: str, output: str) -> NDArray[Any]:
        """See Session."""
        with self._torch.no_grad(), true_fp32():
            answer: NDArray[Any] = self._module(self._torch.from_numpy(tensor).to(self._device)).cpu().numpy()
        return answer


def open_session(path: Path, *, provider: Provider = "cpu", threads: int | None = None) -> PytSession:
    """Open a program with torch.export.load.

    torch reads a copy without anything that is known to run as code, see skinaudit.engines.program_file. It was not written
    for hostile files, so the process should be confined: see Runtime.confined. This sets torch's threads for the whole
    process. Raises EngineError for a damaged file, a program of several inputs or outputs, or a CUDA provider where torch
    finds no device; MissingDependencyError without torch.
    """
    torch = import_torch(path)
    if provider == "cuda" and not torch.cuda.is_available():
        raise EngineError(f"{path}: provider cuda was requested, but torch finds no device; pass --provider cpu")
    program = _load(torch, path)
    if threads is not None:
        torch.set_num_threads(threads)
    device = torch.device(provider)
    description = SessionDescription(
        runtime="pytorch",
        version=torch.__version__,
        provider=provider,
        device=device_name(torch, provider),
        threads=torch.get_num_threads(),
        found=found_precisions(program),
        settings={"mode": "eager"},
    )
    ports = _ports(program, where=path)
    return PytSession(program.module().to(device), torch, device, description, ports)


def network_of_file(path: Path) -> Layer:
    """The layer that makes the answers of a program; raises as open_session."""
    program = _load(import_torch(path), path)
    image, _ = _ports(program, where=path)
    doubt = ambiguous(program, prefix=_MODEL)
    if doubt:
        return Layer("other", (), (), doubt, (doubt,))
    structure = structure_of(program, size=image.shape[-1] or 0, prefix=_MODEL)
    weights = {name.removeprefix(_MODEL): value.detach().numpy() for name, value in program.state_dict.items()}
    return network_of(structure, weights)


def _load(torch: Any, path: Path) -> Any:
    program = harmless_program(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on versions of its own format: what cannot be read raises
            return torch.export.load(program)
    except Exception as error:  # the reader meets arbitrary bytes, and says so in as many ways
        raise EngineError(f"{path}: not a readable exported program ({one_line(error)}); export it again") from error


def import_torch(path: Path) -> Any:
    """torch, to open the file at `path`; raises EngineError where there is no file, MissingDependencyError without torch."""
    try:
        import torch
    except ImportError as error:
        raise not_imported(error, "torch", "train", f"{path}: running a .pt2 file") from error
    if not path.is_file():
        raise EngineError(no_such_file(path, "engine", NO_ENGINE))
    return torch


def device_name(torch: Any, provider: Provider) -> str:
    """The device that torch computes on."""
    return f"{platform.machine()} CPU" if provider == "cpu" else str(torch.cuda.get_device_name(0))


def found_precisions(program: Any) -> dict[str, int]:
    """Counts of convolutions and linear layers by the type of their weights."""
    counts = Counter(precision_name(str(weights.meta["val"].dtype)) for weights in weights_of(program))
    return dict(sorted(counts.items()))


def weights_of(program: Any) -> Iterator[Any]:
    """The graph's nodes that are weights of a convolution or a linear layer, once a layer."""
    for node in program.graph.nodes:
        name = str(node.target).split(".")[1:2]  # of aten.conv2d.default
        if node.op == "call_function" and name and name[0] in _WEIGHTED:
            yield node.args[2 if name[0] == "addmm" else 1]


def one_line(error: Exception) -> str:
    """The start of a library's message, without its line breaks."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def _ports(program: Any, *, where: Path) -> tuple[Port, Port]:
    inputs, outputs = program.graph_signature.user_inputs, program.graph_signature.user_outputs
    if len(inputs) != 1 or len(outputs) != 1:
        raise EngineError(f"{where}: has {len(inputs)} inputs and {len(outputs)} outputs, expected one of each")
    values = {node.name: node.meta["val"] for node in program.graph.nodes if "val" in node.meta}
    image, answer = values[inputs[0]], values[outputs[0]]
    return _port(inputs[0], image), _port(OUTPUT, answer)


def _port(name: str, value: Any) -> Port:
    shape = tuple(side if isinstance(side, int) else None for side in value.shape)
    return Port(name, shape, np.dtype(str(value.dtype).removeprefix("torch.")).name)


RUNTIME = Runtime((".pt2",), "cpu", open_session, confined=True, networks={".pt2": network_of_file})
