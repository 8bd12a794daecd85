"""Start from ImageNet (torchvision's weights by name, or a file) or from a finished run."""

from __future__ import annotations

import math
import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from skinaudit.artifacts.contract import MAX_CLASSES, InputContract
from skinaudit.artifacts.files import short
from skinaudit.artifacts.manifest import read_run, resolve
from skinaudit.artifacts.manifest_keys import RELU6
from skinaudit.artifacts.outside import check_regular
from skinaudit.artifacts.printable import show
from skinaudit.errors import InvalidInputError, first_few, reason_of
from skinaudit.trainer import architectures
from skinaudit.trainer.checkpoint import load_weights
from skinaudit.trainer.int8_channels import limit

_FOLDED = re.compile(r"[0-9]+\.conv\.(weight|bias)")


def load_pretrained(model: nn.Module, arch: str, source: str, *, contract: InputContract | None = None) -> str:
    """Load weights to start from; returns a sentence about what was loaded.

    source: a run directory, a weights file (.safetensors, or .pth read with weights_only), or a name that torchvision knows,
    such as IMAGENET1K_V1 (downloaded). A run's model with the same classes is used completely (to harden a standard model);
    with other classes, without its last layer. Files may contain a state dict of this arch, one of torchvision's, or the
    convolutions of a MobileNet v1 with batch norm folded in (`0.conv.weight`, `0.conv.bias`, ...). The last layer of the
    classifier is not loaded from files.

    contract: the classes of the new model; None if its shape says enough. Raises InvalidInputError if the source cannot be
    read, does not fit, or contains NaN or infinity.
    """
    path = Path(source)
    if path.is_dir():
        return _from_run(model, path, contract)
    if path.is_file():
        state = _read(path)
    elif architectures.load(arch).torchvision and path.suffix == "":
        state = _download(arch, source)
    else:
        raise InvalidInputError(
            f"{source}: no such run or weights file, and torchvision has no weights of that name for {arch}"
        )
    _refuse_broken(state, where=source)
    if all(_FOLDED.fullmatch(name) for name in state):
        state = _unfolded(model, state, where=source)
    return _transfer(model, state, where=source)


def _from_run(model: nn.Module, run: Path, contract: InputContract | None) -> str:
    """The weights of a finished run, all, or all but the last layer if its columns are other classes; and its bounds."""
    manifest = read_run(run)
    weights, theirs = resolve(run, manifest.weights), manifest.contract
    title = f"run {manifest.name}, {short(manifest.weights.digest)}"
    if manifest.model.get("activations") == RELU6:
        limit(model)
    if contract is None or (contract.classes, contract.positive) == (theirs.classes, theirs.positive):
        load_weights(model, weights)
        _refuse_broken(model.state_dict(), where=weights)
        return f"the weights of {title}"
    state = _read(weights)
    _refuse_broken(state, where=weights)
    columns = " in one column" if theirs.positive is not None else ""
    summary = _transfer(model, state, where=str(weights)).replace(f"from {weights}", f"of {title}")
    return f"{summary}, because that run has other columns: {first_few(theirs.classes, limit=MAX_CLASSES)}{columns}"


def _refuse_broken(state: Mapping[str, Tensor], *, where: object) -> None:
    """Refuse NaN and infinity: one such weight spoils every answer, and training would blame the learning rate."""
    broken = [name for name, value in state.items() if not value.isfinite().all()]
    if broken:
        raise InvalidInputError(
            f"{where}: {len(broken)} of {len(state)} tensors hold NaN or infinity, first {broken[0]}; use other weights"
        )


def _read(path: Path) -> dict[str, Tensor]:
    check_regular(path, kind="weights file")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        _refuse_packed(path)
        with warnings.catch_warnings():
            # about pickle protocols; a file that cannot be read raises an error
            warnings.simplefilter("ignore", UserWarning)
            state = torch.load(path, map_location="cpu", weights_only=True)
    # The restricted unpickler fails on the arbitrary bytes of a damaged file with many different errors.
    except (
        SafetensorError,
        pickle.UnpicklingError,
        RuntimeError,
        OSError,
        EOFError,
        LookupError,
        ValueError,
        struct.error,
        zipfile.BadZipFile,
    ) as error:
        raise InvalidInputError(
            f"{path}: not a safe weights file ({reason_of(error)}); convert it to safetensors"
        ) from error
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise InvalidInputError(f"{path}: holds no state dict of tensors; save model.state_dict() and give that file")
    strange = [name for name, value in state.items() if not isinstance(name, str) or not _is_plain(value)]
    if strange:
        raise InvalidInputError(
            f"{path}: {len(strange)} of {len(state)} tensors are not plain, first {show(strange[0])}: names should be texts,"
            " and tensors dense numbers that are in the file; save model.state_dict() and give that file"
        )
    return state


def _refuse_packed(path: Path) -> None:
    """Raise for a compressed archive: torch.save compresses nothing, and torch would decompress any amount."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > path.stat().st_size:
        raise InvalidInputError(
            f"{path}: its parts unpack to {unpacked:,} bytes, more than the file has, and torch.save packs none; save "
            "model.state_dict() with it and give that file"
        )


def _is_plain(tensor: Tensor) -> bool:
    """Whether a tensor is dense, real and as long as its bytes. A view can repeat one number 2^40 times."""
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_complex() or tensor.device.type != "cpu":
        return False
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def _download(arch: str, name: str) -> dict[str, Tensor]:
    import torchvision  # takes a second to import, and only some models need it

    weights = torchvision.models.get_model_weights(arch)
    if name not in weights.__members__:
        raise InvalidInputError(f"weights {name!r}: torchvision has for {arch} only {', '.join(weights.__members__)}")
    try:
        state: dict[str, Tensor] = weights[name].get_state_dict(progress=True, check_hash=True)
    except OSError as error:
        raise InvalidInputError(
            f"weights {name}: cannot be downloaded ({error}); download the file elsewhere and give it with --weights FILE"
        ) from error
    return state


def _unfolded(model: nn.Module, state: dict[str, Tensor], *, where: str) -> dict[str, Tensor]:
    """Map convolutions with folded batch norm onto pairs of convolution and batch norm, in order.

    The bias becomes the batch norm's bias. Its running statistics become 0 and 1, and its weight sqrt(1 + eps). In
    evaluation mode the pair then computes the same as the folded convolution.
    """
    convolutions = [name for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d)]
    norms = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.BatchNorm2d)]
    numbers = sorted({int(name.split(".")[0]) for name in state})
    if not len(convolutions) == len(norms) == len(numbers) == len(state) / 2:
        raise InvalidInputError(f"{where}: holds {len(numbers)} convolutions, the model has {len(convolutions)}")
    mapped = {}
    for number, convolution, (norm, layer) in zip(numbers, convolutions, norms, strict=True):
        bias = state[f"{number}.conv.bias"]
        mapped[f"{convolution}.weight"] = state[f"{number}.conv.weight"]
        mapped[f"{norm}.bias"] = bias
        mapped[f"{norm}.weight"] = torch.full_like(bias, math.sqrt(1 + layer.eps))
        mapped[f"{norm}.running_mean"] = torch.zeros_like(bias)
        mapped[f"{norm}.running_var"] = torch.ones_like(bias)
    return mapped


def _transfer(model: nn.Module, state: dict[str, Tensor], *, where: str) -> str:
    own = model.state_dict()
    # torchvision's names lack the number that nn.Sequential adds to the classifier after its normalisation.
    named = {name if name in own else f"1.{name}": value for name, value in state.items()}
    head = [name for name, layer in model.named_modules() if isinstance(layer, nn.Linear)][-1]
    known = {name: value for name, value in named.items() if name in own and not name.startswith(f"{head}.")}
    misfits = [name for name, value in known.items() if value.shape != own[name].shape]
    if misfits:
        raise InvalidInputError(
            f"{where}: {misfits[0]} has shape {tuple(known[misfits[0]].shape)}, the model {tuple(own[misfits[0]].shape)}; "
            "choose the arch and --width that the weights are of"
        )
    wanted = [name for name in own if not name.startswith(f"{head}.") and not name.endswith("num_batches_tracked")]
    absent = [name for name in wanted if name not in known]
    if absent:
        raise InvalidInputError(f"{where}: {len(absent)} of {len(wanted)} tensors are missing, first {absent[0]}")
    model.load_state_dict({**own, **known})
    return f"{len(wanted)} tensors from {where}; the last layer starts fresh"
