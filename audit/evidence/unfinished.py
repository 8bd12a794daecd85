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
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from skinaudit.artifacts.adversarial_set import AdversarialSet
from skinaudit.artifacts.files import Progress, atomic_path, default_cache_dir, digest_parts
from skinaudit.artifacts.outside import check_regular, is_private
from skinaudit.audit.evidence.replay import Replayed, replay
from skinaudit.engines.engine import Engine
from skinaudit.errors import InvalidInputError, SkinauditError

_WORTH = 20.0
"""Shortest replay, in seconds, whose answers are kept; shorter ones are repeated instead."""
_FOLDER = "unfinished-audits"
_OLD = 7 * 24 * 3600.0
"""Seconds after which kept answers are removed if no audit has used them."""
_KEY, _SPEED = "skinaudit.unfinished", "images_per_second"

Say = Callable[[str], None]
"""Called with a line for people."""


@dataclass(frozen=True)
class Shelf:
    """The folder with the answers of one engine until its audit ends; None if nothing can be kept.

    key: a digest of everything on which the answers depend.
    """

    folder: Path | None
    key: str


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
    record = {"key": shelf.key, "set": images.images_digest, "digest": _digest(answered), _SPEED: answered.images_per_second}
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
    try:
        check_regular(path, kind="file")
        if not is_private(path):
            return None
        with safe_open(path, framework="numpy") as file:
            record = json.loads((file.metadata() or {})[_KEY])
            logits = file.get_tensor("logits")
        kept = Replayed(logits, float(record[_SPEED]), kept=True)
        fits = logits.shape == (len(images), classes) and logits.dtype == np.float32 and bool(np.isfinite(logits).all())
        expected = (shelf.key, images.images_digest, _digest(kept))
        return kept if fits and (record["key"], record["set"], record["digest"]) == expected else None
    except (SkinauditError, SafetensorError, OSError, ValueError, LookupError, TypeError):
        return None


def _digest(answered: Replayed) -> str:
    return digest_parts(np.ascontiguousarray(answered.logits).tobytes())


def _holds(engine: Engine, images: AdversarialSet, kept: Replayed, *, batch_size: int, seed: int) -> bool:
    """Whether the engine still gives the kept answers, bit for bit, on a batch drawn by `seed`."""
    chosen = int(np.random.default_rng(seed).integers(-(-len(images) // batch_size)))
    batch = next(islice(images.batches(batch_size), chosen, None))
    start = chosen * batch_size
    return np.array_equal(engine.logits(batch), kept.logits[start : start + len(batch)])
