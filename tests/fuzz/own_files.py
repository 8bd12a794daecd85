"""Readers of what skinaudit writes for itself, such as caches, checkpoints, locks and studies, and of files of classes.

What may be made again is not taken when it is damaged; for these fuzzers that is a refusal, too.
"""

from __future__ import annotations

import json
import random
import socket
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from skinaudit.artifacts.adversarial_set import open_set
from skinaudit.artifacts.one_writer import one_writer
from skinaudit.artifacts.study_folder import StudyFolder, read_answers, read_stages, write_answers
from skinaudit.audit.evidence import unfinished
from skinaudit.audit.evidence.replay import Replayed
from skinaudit.errors import InvalidInputError
from skinaudit.tests.fuzz import mutations as change
from skinaudit.trainer.data import cache

KEY, WEIGHTS = "0" * 64, f"sha256:{'1' * 64}"
SIDE = 8
OPTIONS = {"seed": 0, "recipe": {"epochs": 2, "batch": 16}, "hardening": None, "classes": ["mel", "nv"]}

CLASSES = """malignant = ["cancer"]
leave_out = ["vasc", "df"]

[classes]
cancer = ["mel", "bcc"]
"benign, all" = "*"
"""


def write_own_files(folder: Path) -> None:
    """One whole file for each of these readers; the sets of `folder`/run are there."""
    (folder / "classes.toml").write_text(CLASSES)
    (folder / "study").mkdir()
    write_study(folder)
    write_kept(folder)
    (folder / "writing.lock").write_text(json.dumps({"pid": 2**22 + 1, "host": socket.gethostname(), "start": "2026-11-26"}))
    (folder / "training").mkdir()
    (folder / "training" / "options.json").write_text(json.dumps(OPTIONS))
    write_checkpoint(folder / "training" / "checkpoint.safetensors")
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3, SIDE, SIDE), np.uint8)
    cache.write_entry(folder, KEY, pixels, size=SIDE, details={"labels": [0, 1, 2], "title": "x"})


def write_study(folder: Path) -> None:
    """Settings, log and answers of a study."""
    from skinaudit.trainer.study.settings import SCALES, to_toml  # imports torch

    study = StudyFolder(folder / "study")
    study.settings.write_text(to_toml(SCALES["cpu"]))
    record = {"stage": "train a", "state": "done", "seconds": 1.5, "device": "CPU", "remark": ""}
    study.log.write_text("".join(json.dumps({**record, "stage": f"train {name}"}) + "\n" for name in "abc"))
    shown = pgd(folder)
    write_answers(study.path / "answers.safetensors", shown.source_logits, weights=WEIGHTS, images=shown.images_digest)


def pgd(folder: Path) -> Any:
    """The set that answers are to."""
    return open_set(folder / "run" / "sets" / "pgd.safetensors")


def write_kept(folder: Path) -> None:
    """Answers that an interrupted audit left."""
    shown = pgd(folder)
    shelf = unfinished.Shelf(folder / "kept", KEY)
    unfinished._keep(shelf, shown, Replayed(shown.source_logits, 100.0))
    (left,) = (folder / "kept").iterdir()
    left.rename(folder / "kept" / "answers.safetensors")


def kept_answers(path: Path) -> Replayed:
    """What `replay_unless_kept` reads before it compares with the engine."""
    shown = pgd(path.parents[1])
    place = unfinished._file(path.parent, shown)
    path.rename(place)
    try:
        if place.is_file() and not place.is_symlink():
            place.chmod(0o600)
        shelf = unfinished.Shelf(path.parent, KEY)
        return made_again(unfinished._stored(shelf, shown, classes=shown.source_logits.shape[1]))  # type: ignore[no-any-return]
    finally:
        place.rename(path)


def made_again(value: Any) -> Any:
    """A value; None, which stands for a file that is made again, is an error here."""
    if value is None:
        raise InvalidInputError("made again")
    return value


def other_answers(value: Replayed, before: Replayed) -> bool:
    """Answers have a digest, and a speed has to be one."""
    return not np.array_equal(value.logits, before.logits) or not 0 < value.images_per_second < np.inf


def entry(path: Path) -> cache.CacheEntry:
    """The images of the cache entry that a file belongs to."""
    return made_again(cache.open_entry(path.parent, KEY))  # type: ignore[no-any-return]


def other_entry(value: cache.CacheEntry, before: cache.CacheEntry) -> bool:
    """An entry has digests over all that it holds."""
    return not np.array_equal(value.images, before.images) or value.details != before.details


def array_changed(content: bytes, chance: random.Random) -> bytes:
    """A .npy file with its header or any of its bytes changed."""
    if chance.random() < 0.3:
        return change.bytes_changed(content, chance)
    header, data = content[10:128], content[128:]
    text = chance.choice((b"{'descr': '|u1', 'fortran_order': False, 'shape': (%s, 3, 8, 8)}", b"%s", header))
    odd = (b"9" * 30, b"-1", b"2**70", b"(" * 90, b"[" * 9000, b"3,\n\t x", b"'", b"0x", b"True", b"{1:{2:3}}", b"\\", b"1L")
    filled = text.replace(b"%s", chance.choice(odd))
    changed = change.bytes_changed(filled, chance) if chance.random() < 0.5 else filled
    return content[:8] + len(changed[:60_000]).to_bytes(2, "little") + changed[:60_000] + data


def taken_over(path: Path) -> None:
    """A lock that a process left behind; it is kept, so that it can be read again."""
    content = path.read_bytes()
    said: list[str] = []
    with one_writer(path, place="run", say=said.append):
        pass
    path.write_bytes(content)


def study_settings(path: Path) -> Any:
    """The settings of a study, and the stages that they ask for."""
    from skinaudit.trainer.study.settings import read_settings, to_toml
    from skinaudit.trainer.study.stages import stages

    settings = read_settings(path)
    copy = path.with_name("again.toml")
    copy.write_text(to_toml(settings))
    assert read_settings(copy) == settings
    return settings, len(stages(settings))


def study_log(path: Path) -> Any:
    """The stages that ended."""
    return read_stages(StudyFolder(path.parent))


def study_answers(path: Path) -> Any:
    """A model's answers to a set of the study."""
    return made_again(read_answers(path, weights=WEIGHTS, image_set=pgd(path.parents[1])))


def resumable(path: Path) -> bool:
    """Whether the training of a folder can go on."""
    from skinaudit.trainer.resuming import check_resumable

    return check_resumable(path.parent, OPTIONS)


def trained() -> tuple[Any, ...]:
    """A small model, its moving average, its optimiser and its schedule, after one step."""
    import torch

    from skinaudit.trainer.optimisation import build_optimiser, build_schedule, moving_average
    from skinaudit.trainer.recipes import RECIPES

    model = torch.nn.Linear(3, 2)
    optimiser = build_optimiser(model, RECIPES["default"])
    schedule = build_schedule(optimiser, RECIPES["default"], steps=10)
    model(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    return model, moving_average(model), optimiser, schedule


def write_checkpoint(path: Path) -> None:
    """A checkpoint as of an earlier version: without a digest, so that changed values are read."""
    from skinaudit.artifacts.tensors import read_tensors
    from skinaudit.trainer.loop import _save

    _save(path, *trained(), history=[], settings_digest=WEIGHTS)
    tensors, metadata = read_tensors(path, kind="checkpoint", again="")
    state = json.loads(metadata["skinaudit.checkpoint"])
    del state["digest"]
    save_file(tensors, path, metadata={"skinaudit.checkpoint": json.dumps(state)})


def restored(path: Path) -> Any:
    """The history of a training that goes on from its checkpoint."""
    from skinaudit.trainer.loop import _restore

    return _restore(path, *trained(), settings_digest=WEIGHTS)


def checkpoint_changed(content: bytes, chance: random.Random) -> bytes:
    """A checkpoint whose state was changed, or any other part of the file."""
    if chance.random() < 0.4:
        return change.tensors_changed(content, chance)
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    state = change.plain_changed(json.loads(header["__metadata__"]["skinaudit.checkpoint"]), chance)
    header["__metadata__"]["skinaudit.checkpoint"] = json.dumps(state)
    changed = json.dumps(header).encode("utf-8", "surrogatepass")
    return len(changed).to_bytes(8, "little") + changed + content[8 + size :]


def record_changed(content: bytes, chance: random.Random) -> bytes:
    """Kept answers whose record was changed, or any other part of the file."""
    if chance.random() < 0.4:
        return change.tensors_changed(content, chance)
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    record = change.json_changed(header["__metadata__"]["skinaudit.unfinished"].encode(), chance)
    header["__metadata__"]["skinaudit.unfinished"] = record.decode(errors="replace")
    changed = json.dumps(header).encode("utf-8", "surrogatepass")
    return len(changed).to_bytes(8, "little") + changed + content[8 + size :]


def lines_changed(content: bytes, chance: random.Random) -> bytes:
    """A file of one JSON object a line, with one line changed."""
    lines = content.splitlines()
    at = chance.randrange(len(lines))
    lines[at] = change.json_changed(lines[at], chance)
    return b"\n".join(lines) + b"\n"
