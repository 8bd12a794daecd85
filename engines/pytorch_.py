"""Runs exported PyTorch programs (.pt2). torch is imported only when such a file is opened."""

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
"""Prefix of the names that the exporter gives to a program's weights."""
_WEIGHTED = ("conv1d", "conv2d", "conv3d", "convolution", "linear", "addmm")
_NAMES = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16", "float64": "fp64"}


def precision_name(dtype: str) -> str:
    """`fp32` for torch's float32; a type without a short name keeps its name."""
    kind = dtype.removeprefix("torch.")
    return _NAMES.get(kind, kind)


class PytSession:
    """A program on a device. Programs do not name their output, so its one output is called `logits` here."""

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

    torch reads a copy without anything that is known to run as code; see skinaudit.engines.program_file. torch's reader was
    not written for hostile files, so the process should be confined; see Runtime.confined. This function sets the number of
    torch's threads for the whole process. Raises EngineError for a damaged file, a program with several inputs or outputs,
    or a CUDA provider if torch finds no device; MissingDependencyError without torch.
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
    """The output layer of a program; raises the errors of open_session."""
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
            # warnings about versions of the format; a file that cannot be read raises an error
            warnings.simplefilter("ignore")
            return torch.export.load(program)
    except Exception as error:  # arbitrary bytes make the reader fail with many different types
        raise EngineError(f"{path}: not a readable exported program ({one_line(error)}); export it again") from error


def import_torch(path: Path) -> Any:
    """Import torch to open `path`; raises EngineError if there is no file, MissingDependencyError without torch."""
    try:
        import torch
    except ImportError as error:
        raise not_imported(error, "torch", "train", f"{path}: running a .pt2 file") from error
    if not path.is_file():
        raise EngineError(no_such_file(path, "engine", NO_ENGINE))
    return torch


def device_name(torch: Any, provider: Provider) -> str:
    """Name of the device on which torch computes."""
    return f"{platform.machine()} CPU" if provider == "cpu" else str(torch.cuda.get_device_name(0))


def found_precisions(program: Any) -> dict[str, int]:
    """Count convolutions and linear layers by the type of their weights."""
    counts = Counter(precision_name(str(weights.meta["val"].dtype)) for weights in weights_of(program))
    return dict(sorted(counts.items()))


def weights_of(program: Any) -> Iterator[Any]:
    """The nodes that are weights of a convolution or linear layer, one entry per layer."""
    for node in program.graph.nodes:
        name = str(node.target).split(".")[1:2]  # for aten.conv2d.default
        if node.op == "call_function" and name and name[0] in _WEIGHTED:
            yield node.args[2 if name[0] == "addmm" else 1]


def one_line(error: Exception) -> str:
    """Start of a library's message, without line breaks."""
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
