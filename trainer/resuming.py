"""Checks whether an interrupted training can be continued, before its images are read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from skinaudit.artifacts.files import write_bytes
from skinaudit.artifacts.plain_values import read_json
from skinaudit.artifacts.run_folder import RunFolder
from skinaudit.errors import InvalidInputError, first_few
from skinaudit.trainer import checkpoint

_AGAIN = "delete the folder to train from the start"


def write_options(out: Path, options: Mapping[str, Any]) -> None:
    """Record the options of a training until it ends. options: plain JSON values, nested or not."""
    write_bytes(RunFolder(out).options, json.dumps(options, sort_keys=True).encode())


def check_resumable(out: Path, options: Mapping[str, Any]) -> bool:
    """Whether the folder contains a training to continue.

    options: those known so far, as for `write_options`. Raises InvalidInputError if the checkpoint is damaged, or if the
    training was started with other options, which the message names.
    """
    files = RunFolder(out)
    if not files.checkpoint.exists():
        return False
    checkpoint.load(files.checkpoint)
    if not (files.options.exists() or files.options.is_symlink()):
        return True  # a folder of an earlier version; the training itself compares a digest of all its options
    before = dict(_flat(read_json(files.options, kind="options of a training", again=_AGAIN)))
    now = dict(_flat(json.loads(json.dumps(options))))
    changed = [f"{name} {before[name]}, not {now[name]}" for name in now if name in before and before[name] != now[name]]
    if changed:
        raise InvalidInputError(
            f"{out}: this training was started with {first_few(changed)}; repeat its options, or choose another --out"
        )
    return True


def _flat(options: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Options by name, such as `recipe epochs`."""
    if not isinstance(options, Mapping):
        yield name, options
        return
    for key, value in options.items():
        yield from _flat(value, f"{name} {key}".strip())
