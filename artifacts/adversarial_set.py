"""Adversarial sets: images crafted on a source model, with everything that a replay needs to judge an engine.

One safetensors file contains `images` uint8 (N, 3, H, W), `labels` int64 (N,), `group` int64 (N,) lesion index, `ids`
uint8 (N, L) image names padded with zeros, and `source_logits` float32 (N, classes). The logits are computed after the
images were rounded to 8 bit. An adversarial set also has the record of its attack (skinaudit.artifacts.attack_record);
sets of earlier formats have none. Further facts about each image (age, sex, ...) are stored as subgroups
(skinaudit.artifacts.set_subgroups). The only metadata entry is the JSON of `SetInfo`. The clean images are also a set,
without a threat model.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from skinaudit.artifacts import attack_record, set_subgroups
from skinaudit.artifacts.attack_record import AttackRecord
from skinaudit.artifacts.contract import InputContract, completed, upgraded
from skinaudit.artifacts.files import atomic_path, digest_parts
from skinaudit.artifacts.outside import check_regular
from skinaudit.artifacts.plain_values import parse_json
from skinaudit.artifacts.printable import UNPRINTABLE, show
from skinaudit.artifacts.set_subgroups import Subgroups
from skinaudit.artifacts.texts import padded, unpadded
from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.artifacts.typed_json import build
from skinaudit.errors import InvalidInputError, reason_of

FORMAT_VERSION = 3
_EARLIER = (1, 2)
"""1: the contract did not name the malignant classes. 2: no record of the attack."""
_WITH_SUBGROUPS = 4
"""The format of sets with subgroups; those without any are of format 3, which earlier versions of skinaudit read."""
CLEAN = "clean"
"""Name and attack of the set of clean images."""
MAX_LOGIT = 1e6
"""Largest size of a stored logit. Trained classifiers stay below 1e3; beyond 1e6 float32 has steps of 1/16 and more,
too coarse to tell which of two classes leads."""
_KEY = "skinaudit.adversarial_set"
_AGAIN = "write the set again"
_TENSORS = {"images": ("U8", 4), "labels": ("I64", 1), "group": ("I64", 1), "ids": ("U8", 2), "source_logits": ("F32", 2)}
"""Element type and number of axes of each tensor, in the words of safetensors."""
_DTYPES = {"U8": np.uint8, "I32": np.int32, "I64": np.int64, "F32": np.float32}
_CHUNK = 2**20
"""Bytes of images read at a time. For larger pieces glibc requests new pages each time, which takes twice as long."""
_ROWS = 128  # images per step of the digest
_SETTLED = 2.0  # seconds; the coarsest clock of a file system
_verified: dict[tuple[int, ...], AdversarialSet] = {}


Setting = bool | int | float | str | None


@dataclass(frozen=True)
class SetInfo:
    """Description of a set. Invariant: `threat_model` is None if and only if `attack` is CLEAN.

    settings: every setting of the attack, as JSON values. source: digest of the weights on which it was crafted. clean:
    images digest of the clean set behind it (empty for the clean set itself). dataset: title of the data. created_with:
    library versions.
    """

    name: str
    attack: str
    threat_model: ThreatModel | None
    settings: Mapping[str, Setting]
    seed: int
    source: str
    clean: str
    contract: InputContract
    dataset: str
    synthetic: bool
    created_with: Mapping[str, str]

    @property
    def title(self) -> str:
        """For people: `clean` or `pgd linf 2/255`."""
        return self.attack if self.threat_model is None else f"{self.attack} {self.threat_model}"

    def __post_init__(self) -> None:
        if (self.threat_model is None) != (self.attack == CLEAN):
            raise InvalidInputError(
                f"an adversarial set needs a threat model and the clean set has none; this one is {self.attack}"
            )

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "name": self.name,
            "attack": self.attack,
            "threat_model": None if self.threat_model is None else self.threat_model.to_json(),
            "settings": dict(self.settings),
            "seed": self.seed,
            "source": self.source,
            "clean": self.clean,
            "contract": self.contract.to_json(),
            "dataset": self.dataset,
            "synthetic": self.synthetic,
            "created_with": dict(self.created_with),
        }


@dataclass(frozen=True, eq=False)
class AdversarialSet:
    """An opened set. Images stay on disk and are read in slices; the other arrays are in memory.

    images_digest: digest of images, labels, groups and ids. It identifies the images, independent of any model. attack:
    record of the attack; None for clean images and in sets of earlier formats. subgroups: further facts about each
    image, by name.
    """

    path: Path
    info: SetInfo
    labels: NDArray[np.int64]
    group: NDArray[np.int64]
    ids: tuple[str, ...]
    source_logits: NDArray[np.float32]
    images_digest: str
    attack: AttackRecord | None = None
    subgroups: Subgroups = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, index: int) -> NDArray[np.uint8]:
        """One image: uint8 (3, H, W)."""
        ((image,),) = _read_images(self.path, self.info.contract.size, range(index, index + 1), rows=1)
        return np.asarray(image)

    def batches(self, size: int) -> Iterator[NDArray[np.uint8]]:
        """Yield uint8 (B, 3, H, W) in order; B = `size`, smaller only for the last batch."""
        rows = max(size, _CHUNK // (3 * self.info.contract.size**2) // size * size)
        for chunk in _read_images(self.path, self.info.contract.size, range(len(self)), rows=rows):
            for offset in range(0, len(chunk), size):
                yield chunk[offset : offset + size]

    def images_at(self, rows: NDArray[np.integer[Any]]) -> NDArray[np.uint8]:
        """The images at ascending `rows`, uint8 (len(rows), 3, H, W), without reading the others."""
        size = self.info.contract.size
        images = np.empty((len(rows), 3, size, size), np.uint8)
        breaks = np.flatnonzero(np.diff(rows) != 1) + 1
        ranges = [range(int(part[0]), int(part[-1]) + 1) for part in np.split(rows, breaks) if len(part)]
        place = 0
        for chunk in _read_images(self.path, size, *ranges, rows=_ROWS):
            images[place : place + len(chunk)] = chunk
            place += len(chunk)
        return images


def write_set(
    path: Path,
    info: SetInfo,
    *,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    group: NDArray[np.int64],
    ids: tuple[str, ...],
    source_logits: NDArray[np.float32],
    attack: AttackRecord | None = None,
    subgroups: Subgroups | None = None,
) -> None:
    """Write a set atomically; equal arguments give equal bytes.

    Shapes and dtypes: see the module's docstring. attack: the attack's record; None for clean images. Raises
    InvalidInputError for values that `open_set` would refuse.
    """
    subgroups = subgroups or {}
    arrays: dict[str, NDArray[Any]] = {
        "images": np.ascontiguousarray(images),
        "labels": np.ascontiguousarray(labels),
        "group": np.ascontiguousarray(group),
        "ids": padded(ids),
        "source_logits": np.ascontiguousarray(source_logits),
        **({} if attack is None else attack.arrays()),
        **set_subgroups.tensors(subgroups),
    }
    expected = _TENSORS if attack is None else {**_TENSORS, **attack_record.TENSORS}
    for name, (dtype, axes) in expected.items():
        if arrays[name].dtype != _DTYPES[dtype] or arrays[name].ndim != axes:
            raise InvalidInputError(f"{path}: {name} must be {dtype} of {axes} axes, not {arrays[name].dtype}")
    _check_values(str(path), info, arrays["images"].shape, labels, group, ids, source_logits)
    _check_record(str(path), info, attack, len(labels))
    _check_subgroups(str(path), subgroups, len(labels))
    description = json.dumps(info.to_json(), sort_keys=True)
    images_digest = _images_digest(iter([arrays["images"]]), labels, group, ids)
    record = {
        "version": _WITH_SUBGROUPS if subgroups else FORMAT_VERSION,
        "info": info.to_json(),
        "images_digest": images_digest,
        "content_digest": _content_digest(images_digest, description, source_logits, attack, subgroups),
    }
    with atomic_path(path) as temporary:
        save_file(arrays, temporary, metadata={_KEY: json.dumps(record, sort_keys=True)})


def open_set(path: Path) -> AdversarialSet:
    """Open and verify a set: format, shapes, dtypes, labels, logits within MAX_LOGIT and the digest of every byte.

    A file that this process has already verified is not read again if its times show no change. Raises InvalidInputError,
    which names the file, the problem and the remedy.
    """
    stamp = _stamp(path)
    if stamp in _verified:
        return replace(_verified[stamp], path=path)
    opened = _open_and_verify(path)
    if stamp is not None:
        _verified[stamp] = opened
    return opened


def _stamp(path: Path) -> tuple[int, ...] | None:
    """Identity of the current content (device, inode, size, times); None if the file changed too recently to tell.

    A file that changed just now may change once more before the clock of its file system moves on.
    """
    try:
        status = path.stat()
    except OSError:
        return None
    if time() - max(status.st_mtime, status.st_ctime) < _SETTLED:
        return None
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _open_and_verify(path: Path) -> AdversarialSet:
    check_regular(path, kind="adversarial set")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = (file.metadata() or {}).get(_KEY)
            if metadata is None:
                raise InvalidInputError(f"{path}: not an adversarial set of skinaudit; `skinaudit attack RUN` writes them")
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
            recorded = attack_record.TENSORS if slices.keys() & attack_record.TENSORS.keys() else {}
            grouped = dict.fromkeys(set_subgroups.names_among(slices.keys()), _TENSORS["ids"])
            for name, (dtype, axes) in {**_TENSORS, **recorded, **grouped}.items():
                if name not in slices or slices[name].get_dtype() != dtype or len(slices[name].get_shape()) != axes:
                    raise InvalidInputError(
                        f"{path}: tensor {name} is missing or not {dtype} of {axes} axes; write the set again"
                    )
            shape = tuple(slices["images"].get_shape())
            labels, group, names = (file.get_tensor(name) for name in ("labels", "group", "ids"))
            source_logits = file.get_tensor("source_logits")
            noted = {name: file.get_tensor(name) for name in recorded}
            subgroup_rows = {name: file.get_tensor(name) for name in grouped}
    except FileNotFoundError as error:
        raise InvalidInputError(f"{path}: no such adversarial set") from error
    except (SafetensorError, OSError) as error:
        raise InvalidInputError(
            f"{path}: truncated or not a safetensors file ({reason_of(error)}); write the set again"
        ) from error
    record, description = _parse_record(metadata, where=str(path), with_subgroups=bool(subgroup_rows))
    info = record.info
    damaged = "image names"
    try:
        ids = unpadded(names)
        damaged = "subgroups"
        subgroups = set_subgroups.from_tensors(subgroup_rows)
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{path}: the {damaged} are damaged; write the set again") from error
    _check_values(str(path), info, shape, labels, group, ids, source_logits)
    attack = attack_record.from_arrays(noted) if noted else None
    _check_record(str(path), info, attack, len(labels))
    _check_subgroups(str(path), subgroups, len(labels))
    opened = AdversarialSet(path, info, labels, group, ids, source_logits, record.images_digest, attack, subgroups)
    images_digest = _images_digest(opened.batches(_ROWS), labels, group, ids)
    if (images_digest, _content_digest(images_digest, description, source_logits, attack, subgroups)) != (
        record.images_digest,
        record.content_digest,
    ):
        raise InvalidInputError(
            f"{path}: content and digest differ, so the file was changed after it was written; write the set again"
        )
    return opened


def _read_images(path: Path, size: int, *wanted: range, rows: int) -> Iterator[NDArray[np.uint8]]:
    """Images of the `wanted` ranges, uint8 (at most `rows`, 3, size, size) at a time.

    Read as the format lays them down (https://github.com/huggingface/safetensors#format): the library copies a slice twice,
    which took a twentieth of a replay's time.
    """
    pixels = 3 * size * size
    try:
        with path.open("rb") as file:
            header = int.from_bytes(file.read(8), "little")
            first, _ = json.loads(file.read(header))["images"]["data_offsets"]
            for part in wanted:
                file.seek(8 + header + first + part.start * pixels)
                for start in part[::rows]:
                    count = min(rows, part.stop - start)
                    yield np.fromfile(file, np.uint8, count * pixels).reshape(count, 3, size, size)
    except (OSError, ValueError, LookupError, TypeError, OverflowError) as error:
        raise InvalidInputError(f"{path}: changed or removed while it was read ({reason_of(error)}); run again") from error


@dataclass(frozen=True)
class _Record:
    """The metadata of a set's file."""

    version: int
    info: SetInfo
    images_digest: str
    content_digest: str


def _parse_record(text: str, *, where: str, with_subgroups: bool) -> tuple[_Record, str]:
    """The metadata, and its description as written, which the content digest covers; raises InvalidInputError."""
    present = _WITH_SUBGROUPS if with_subgroups else FORMAT_VERSION
    value = parse_json(text, where=where, kind="description of a set", again=_AGAIN)
    version = value.get("version") if isinstance(value, dict) else None
    if isinstance(value, dict) and version != present and (with_subgroups or version not in _EARLIER):
        raise InvalidInputError(f"{where}: version should be {present}, found {show(version)}; {_AGAIN}")
    description = json.dumps(value.get("info"), sort_keys=True) if isinstance(value, dict) else ""
    if version == 1 and isinstance(value.get("info"), dict) and "contract" in value["info"]:
        contract = upgraded(value["info"]["contract"], where=f"{where}: info.contract", again=_AGAIN)
        value = {**value, "info": {**value["info"], "contract": contract}}
    if isinstance(value, dict) and isinstance(value.get("info"), dict) and "contract" in value["info"]:
        value = {**value, "info": {**value["info"], "contract": completed(value["info"]["contract"])}}
    record: _Record = build(_Record, value, where=where, again=_AGAIN)
    return record, description


def _check_values(
    where: str,
    info: SetInfo,
    shape: tuple[int, ...],
    labels: NDArray[np.int64],
    group: NDArray[np.int64],
    ids: tuple[str, ...],
    source_logits: NDArray[np.float32],
) -> None:
    count, size, classes = len(labels), info.contract.size, len(info.contract.classes)
    if count == 0:
        raise InvalidInputError(f"{where}: the set holds no image")
    if shape != (count, 3, size, size):
        raise InvalidInputError(f"{where}: images have shape {shape}, the contract says {(count, 3, size, size)}")
    if group.shape != (count,) or len(ids) != count or source_logits.shape != (count, classes):
        raise InvalidInputError(f"{where}: images, lesions, names and logits differ in number; write the set again")
    strange = next((name for name in ids if UNPRINTABLE.search(name)), None)
    if strange is not None:
        raise InvalidInputError(f"{where}: image name {show(strange)} contains control characters; rename it and {_AGAIN}")
    if labels.min() < 0 or labels.max() >= classes:
        raise InvalidInputError(f"{where}: a label is outside of 0..{classes - 1}; write the set again")
    if not (np.abs(source_logits) <= MAX_LOGIT).all():
        raise InvalidInputError(
            f"{where}: source logits contain NaN, infinity or a number beyond {MAX_LOGIT:,.0f}; train the source model again"
        )


def _check_record(where: str, info: SetInfo, attack: AttackRecord | None, images: int) -> None:
    if attack is None:
        return
    problem = "must not be in a set of clean images" if info.threat_model is None else attack.problem(images)
    if problem:
        raise InvalidInputError(f"{where}: the record of the attack {problem}; {_AGAIN}")


def _check_subgroups(where: str, subgroups: Subgroups, images: int) -> None:
    problem = set_subgroups.problem(subgroups, images)
    if problem:
        raise InvalidInputError(f"{where}: {problem}; {_AGAIN}")


def _images_digest(
    images: Iterator[NDArray[np.uint8]], labels: NDArray[np.int64], group: NDArray[np.int64], ids: tuple[str, ...]
) -> str:
    rows = b"".join(bytes.fromhex(digest_parts(row.tobytes()).removeprefix("sha256:")) for batch in images for row in batch)
    return digest_parts(rows, labels.astype("<i8").tobytes(), group.astype("<i8").tobytes(), "\0".join(ids).encode())


def _content_digest(
    images_digest: str,
    description: str,
    source_logits: NDArray[np.float32],
    attack: AttackRecord | None,
    subgroups: Subgroups,
) -> str:
    noted = [] if attack is None else attack.arrays().values()
    parts = [value.astype(value.dtype.newbyteorder("<")).tobytes() for value in (source_logits, *noted)]
    parts += ["\0".join((name, *subgroups[name])).encode() for name in sorted(subgroups)]
    return digest_parts(images_digest.encode(), description.encode(), *parts)
