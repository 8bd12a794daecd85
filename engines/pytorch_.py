"""Runs exported PyTorch programs (.pt2). The only file here that needs torch, and only once such a file is opened."""

from __future__ import annotations

import json
import platform
import warnings
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinaudit.engines.engine import Provider
from skinaudit.engines.runtime import Runtime
from skinaudit.engines.session import OUTPUT, Port, SessionDescription
from skinaudit.errors import EngineError, missing

LIBRARIES = ("torch",)
_WEIGHTED = ("conv1d", "conv2d", "conv3d", "convolution", "linear", "addmm")
_NAMES = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16", "float64": "fp64"}


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
        with self._torch.no_grad():
            answer: NDArray[Any] = self._module(self._torch.from_numpy(tensor).to(self._device)).cpu().numpy()
        return answer


def open_session(path: Path, *, provider: Provider = "cpu", threads: int | None = None) -> PytSession:
    """Open a program with torch.export.load.

    Files with pickled payloads, which could run code, are refused unopened; for the rest torch's own advice holds, to load
    programs of known origin only. For the whole process, this sets torch's threads and switches TF32 off. Raises EngineError
    for a damaged file, a program of several inputs or outputs, or a CUDA provider where torch finds no device;
    MissingDependencyError without torch.
    """
    try:
        import torch
    except ImportError as error:
        raise missing("torch", "train", f"{path}: running a .pt2 program") from error
    if not path.is_file():
        raise EngineError(f"{path}: no such engine; `skinaudit export` prints the paths that it writes")
    if provider == "cuda" and not torch.cuda.is_available():
        raise EngineError(f"{path}: provider cuda was asked for and torch finds no device; pass --provider cpu")
    _check_payloads(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on versions of its own format: what cannot be read raises
            program = torch.export.load(path)
    except Exception as error:  # the reader meets arbitrary bytes, and says so in as many ways
        raise EngineError(f"{path}: not a readable exported program ({_one_line(error)}); export it again") from error
    if threads is not None:
        torch.set_num_threads(threads)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    device = torch.device(provider)
    description = SessionDescription(
        runtime="pytorch",
        version=torch.__version__,
        provider=provider,
        device=f"{platform.machine()} CPU" if provider == "cpu" else torch.cuda.get_device_name(0),
        threads=torch.get_num_threads(),
        found=found_precisions(program),
        settings={"mode": "eager"},
    )
    ports = _ports(program, where=path)
    return PytSession(program.module().to(device), torch, device, description, ports)


def found_precisions(program: Any) -> dict[str, int]:
    """Counts of convolutions and linear layers by the type of their weights."""
    counts: Counter[str] = Counter()
    for node in program.graph.nodes:
        name = str(node.target).split(".")[1:2]  # of aten.conv2d.default
        if node.op == "call_function" and name and name[0] in _WEIGHTED:
            weights = node.args[2 if name[0] == "addmm" else 1]
            kind = str(weights.meta["val"].dtype).removeprefix("torch.")
            counts[_NAMES.get(kind, kind)] += 1
    return dict(sorted(counts.items()))


def _check_payloads(path: Path) -> None:
    """Raise EngineError unless every weight and constant of the archive is a plain tensor."""
    try:
        with zipfile.ZipFile(path) as archive:
            configs = [name for name in archive.namelist() if name.endswith("_config.json")]
            payloads = [payload for name in configs for payload in json.loads(archive.read(name))["config"].values()]
            plain = [
                not payload["use_pickle"] and payload["path_name"].startswith(("weight_", "tensor_")) for payload in payloads
            ]
    except (OSError, zipfile.BadZipFile, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EngineError(f"{path}: not a readable exported program ({_one_line(error)}); export it again") from error
    if not configs or not all(plain):
        raise EngineError(f"{path}: holds pickled objects, which could run code; export it again with plain tensors only")


def _one_line(error: Exception) -> str:
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


RUNTIME = Runtime((".pt2",), "cpu", open_session)
