"""Answers to whole sets, kept until their audit ends, so that an interrupted audit need not compute them again.

They are in the user's cache, in a folder that only this user can read and write. Its name is a digest of everything on which
an answer depends: the files of the engine and its reference, the manifest or contract, the runtime with its version and
settings, and the batch size. The policy and the seed are not part of it. Before kept answers are used, one batch, drawn by
the seed, is compared with the engine. There is no secret: whoever can write to this user's cache could replace skinaudit as
well.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from skinaudit.artifacts.adversarial_set import AdversarialSet
from skinaudit.artifacts.files import Progress, atomic_path, default_cache_dir, digest_parts
from skinaudit.artifacts.outside import is_private
from skinaudit.artifacts.plain_values import parse_json
from skinaudit.artifacts.tensors import read_tensors
from skinaudit.artifacts.typed_json import Range, build
from skinaudit.audit.evidence.replay import Replayed, replay
from skinaudit.engines.engine import Engine
from skinaudit.errors import InvalidInputError, SkinauditError

_WORTH = 20.0
"""Shortest replay, in seconds, whose answers are kept; shorter ones are repeated instead."""
_FOLDER = "unfinished-audits"
_OLD = 7 * 24 * 3600.0
"""Seconds after which kept answers are removed if no audit has used them."""
_KEY = "skinaudit.unfinished"
_SLOWEST, _FASTEST = 1e-6, 1e9  # images per second that an engine can answer

Say = Callable[[str], None]
"""Called with a line for people."""


@dataclass(frozen=True)
class Shelf:
    """The folder with the answers of one engine until its audit ends; None if nothing can be kept.

    key: a digest of everything on which the answers depend.
    """

    folder: Path | None
    key: str


@dataclass(frozen=True)
class _Record:
    """What stands beside kept answers. key: of the shelf. images, answers: digests of the set's images and of the logits."""

    key: str
    images: str
    answers: str
    images_per_second: Annotated[float, Range(_SLOWEST, _FASTEST)]


def shelf_of(engine: Engine, *, depends_on: Any, batch_size: int) -> Shelf:
    """The shelf of an opened engine. depends_on: further plain values, or dataclasses, on which its answers depend."""
    identity = {"engine": asdict(engine.description), "batch": batch_size, "more": depends_on}
    key = digest_parts(json.dumps(identity, sort_keys=True, default=str).encode())
    try:
        return Shelf(default_cache_dir() / _FOLDER / key.removeprefix("sha256:"), key)
    except InvalidInputError:  # this user has no home folder
        return Shelf(None, key)


def replay_unless_kept(
    engine: Engine, images: AdversarialSet, shelf: Shelf, *, batch_size: int, seed: int, progress: Progress | None, say: Say
) -> Replayed:
    """The engine's answers to a set: kept ones of an interrupted audit, else from a replay, and then kept.

    seed: draws the batch that is compared. Raises the errors of replay.
    """
    kept = _stored(shelf, images, classes=len(images.info.contract.classes))
    if kept is not None and _holds(engine, images, kept, batch_size=batch_size, seed=seed):
        say(f"{images.path}: an interrupted audit has these outputs already; they are used")
        if progress is not None:
            progress(len(images), len(images))
        return kept
    answered = replay(engine, images, batch_size=batch_size, progress=progress)
    if len(images) >= _WORTH * answered.images_per_second:
        _keep(shelf, images, answered)
    return answered


def discard(shelf: Shelf) -> None:
    """Remove what this audit kept, and old leftovers of others."""
    if shelf.folder is None:
        return
    shutil.rmtree(shelf.folder, ignore_errors=True)
    with suppress(OSError):
        for folder in shelf.folder.parent.iterdir():
            if time.time() - folder.lstat().st_mtime > _OLD:
                shutil.rmtree(folder, ignore_errors=True)


def _file(folder: Path, images: AdversarialSet) -> Path:
    return folder / f"{images.images_digest.removeprefix('sha256:')}.safetensors"


def _keep(shelf: Shelf, images: AdversarialSet, answered: Replayed) -> None:
    """Keep answers. If this fails, an interrupted audit computes them again."""
    if shelf.folder is None:
        return
    record = asdict(_record_of(shelf, images, answered))
    with suppress(SkinauditError, OSError):
        shelf.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = _file(shelf.folder, images)
        with atomic_path(path) as temporary:
            save_file({"logits": answered.logits}, temporary, metadata={_KEY: json.dumps(record)})
        path.chmod(0o600)


def _stored(shelf: Shelf, images: AdversarialSet, *, classes: int) -> Replayed | None:
    """The kept answers for a set; None if there are none, if they belong to another user, or if they were changed."""
    if shelf.folder is None or not is_private(shelf.folder):
        return None
    path = _file(shelf.folder, images)
    if not is_private(path):
        return None
    try:
        arrays, metadata = read_tensors(path, kind="file of answers", again="")
        record: _Record = build(
            _Record, parse_json(metadata.get(_KEY, ""), where=str(path), kind="record", again=""), where=str(path), again=""
        )
    except InvalidInputError:
        return None
    logits = arrays.get("logits", np.empty(0))
    if logits.shape != (len(images), classes) or logits.dtype != np.float32 or not np.isfinite(logits).all():
        return None
    expected = _record_of(shelf, images, kept := Replayed(logits, record.images_per_second, kept=True))
    return kept if record == expected else None


def _record_of(shelf: Shelf, images: AdversarialSet, answered: Replayed) -> _Record:
    speed = answered.images_per_second
    return _Record(shelf.key, images.images_digest, _digest(answered.logits), speed)


def _digest(logits: NDArray[np.float32]) -> str:
    return digest_parts(np.ascontiguousarray(logits).tobytes())


def _holds(engine: Engine, images: AdversarialSet, kept: Replayed, *, batch_size: int, seed: int) -> bool:
    """Whether the engine still gives the kept answers, bit for bit, on a batch drawn by `seed`."""
    chosen = int(np.random.default_rng(seed).integers(-(-len(images) // batch_size)))
    batch = next(islice(images.batches(batch_size), chosen, None))
    start = chosen * batch_size
    return np.array_equal(engine.logits(batch), kept.logits[start : start + len(batch)])
