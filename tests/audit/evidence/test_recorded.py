"""Sets are matched with those that their run lists, whichever folder they come from."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from skinaudit.artifacts.adversarial_set import AdversarialSet, open_set, write_set
from skinaudit.artifacts.manifest import read_engine_manifest
from skinaudit.audit.evidence.recorded import CHANGED, NOT_LISTED, Recorded, read_recorded


def rewritten(opened: AdversarialSet, path: Path, *, info: Any = None, **changes: Any) -> AdversarialSet:
    arrays = {
        "images": np.concatenate(list(opened.batches(64))), "labels": opened.labels, "group": opened.group,
        "ids": opened.ids, "source_logits": opened.source_logits, "attack": opened.attack,
    }  # fmt: skip
    write_set(path, info or opened.info, **{**arrays, **changes})
    return open_set(path)


def test_a_copy_is_known_and_a_changed_or_unlisted_set_is_told(tmp_path: Path, lab: SimpleNamespace) -> None:
    planted = lab.plant(tmp_path / "run", images=70)
    manifest = read_engine_manifest(planted.engine)
    shutil.copytree(planted.run / "sets", tmp_path / "copy")
    clean, attacked = (open_set(tmp_path / "copy" / f"{name}.safetensors") for name in ("clean", "pgd"))

    def recorded(second: AdversarialSet) -> Recorded:
        return read_recorded(planted.run, manifest, (clean, second))

    assert recorded(attacked).unlisted == {}
    plain = rewritten(attacked, tmp_path / "plain.safetensors", attack=None)
    assert recorded(plain).unlisted == {}
    logits = rewritten(attacked, tmp_path / "logits.safetensors", source_logits=attacked.source_logits[::-1])
    assert recorded(logits).unlisted == {"logits.safetensors": CHANGED}
    unlisted = rewritten(attacked, tmp_path / "other.safetensors", info=replace(attacked.info, name="more"), attack=None)
    assert recorded(unlisted).unlisted == {"other.safetensors": NOT_LISTED}
    foreign = rewritten(logits, tmp_path / "foreign.safetensors", info=replace(attacked.info, source="sha256:other"))
    assert recorded(foreign).unlisted == {}
