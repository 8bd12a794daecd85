"""Training state and finished weights as safetensors files, written atomically."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from skinaudit.artifacts.files import atomic_path
from skinaudit.artifacts.manifest import RunManifest, read_run, resolve
from skinaudit.artifacts.manifest_keys import RELU6
from skinaudit.artifacts.outside import check_regular
from skinaudit.artifacts.plain_values import parse_object
from skinaudit.artifacts.run_folder import RunFolder
from skinaudit.errors import InvalidInputError, reason_of
from skinaudit.trainer.int8_channels import limit
from skinaudit.trainer.models import build, contract_settings

_KEY, _DIGEST = "skinaudit.checkpoint", "digest"
_AGAIN = "delete it to train from the start"


def save(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write tensors and a JSON state as one file, atomically: after a kill, the file is the old one or the new one."""
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    signed = {**state, _DIGEST: _digest(plain, state)}
    with atomic_path(path) as temporary:  # a single entry, because safetensors writes several in any order
        save_file(plain, temporary, metadata={_KEY: json.dumps(signed, sort_keys=True)})


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a file written by `save`; raises InvalidInputError for a truncated, changed or foreign file.

    Files of earlier versions contain no digest and are read without this check.
    """
    check_regular(path, kind="checkpoint")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError) as error:
        raise InvalidInputError(f"{path}: not a readable checkpoint ({reason_of(error)}); {_AGAIN}") from error
    if _KEY not in metadata:
        raise InvalidInputError(f"{path}: not a checkpoint of skinaudit; {_AGAIN}")
    state = parse_object(metadata[_KEY], where=str(path), kind="state of a checkpoint", again=_AGAIN)
    if _DIGEST in state and state.pop(_DIGEST) != _digest(tensors, state):
        raise InvalidInputError(f"{path}: content and digest differ, so it was changed after it was written; {_AGAIN}")
    return tensors, state


def _digest(tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> str:
    """Digest of the state, and of each tensor with its name, type and shape."""
    value = hashlib.sha256(json.dumps(state, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        value.update(f"\0{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        value.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return f"sha256:{value.hexdigest()}"


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """The optimiser's state as named tensors, and its parameter groups as JSON values."""
    state = optimiser.state_dict()
    tensors = {
        f"optimiser.{index}.{name}": value
        for index, entries in state["state"].items()
        for name, value in entries.items()
        if isinstance(value, Tensor)
    }
    return tensors, state["param_groups"]


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor], groups: list[dict[str, Any]]) -> None:
    """The inverse of `optimiser_tensors`, into an optimiser over the same parameters."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimiser."):
            _, index, name = key.split(".", 2)
            state.setdefault(int(index), {})[name] = value
    optimiser.load_state_dict({"state": state, "param_groups": groups})


def load_weights(model: nn.Module, path: Path) -> None:
    """Load a run's weights into a model of the same shape; raises InvalidInputError if they do not fit."""
    check_regular(path, kind="file of weights")
    try:
        model.load_state_dict(load_file(path))
    except (SafetensorError, OSError, RuntimeError) as error:
        raise InvalidInputError(f"{path}: the weights do not fit the run's model ({reason_of(error)})") from error


def load_run_model(run: Path, *, manifest: RunManifest | None = None) -> nn.Module:
    """The finished model of a run in evaluation mode; its weights are verified against the digest in `run.json`."""
    manifest = manifest or read_run(run)
    if not {"arch", "width"} <= manifest.model.keys():
        raise InvalidInputError(f"{RunFolder(run).manifest}: has no arch and width to build the model from; train again")
    try:
        settings = contract_settings(manifest.contract)
        model = build(manifest.model["arch"], width=manifest.model["width"], **settings)
    except InvalidInputError as error:
        raise InvalidInputError(f"{RunFolder(run).manifest}: model: {error}") from error
    if manifest.model.get("activations") == RELU6:
        limit(model)
    load_weights(model, resolve(run, manifest.weights))
    return model.eval()
