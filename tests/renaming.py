"""Rename the classes of a whole run consistently: its manifest, its sets, its engines, and every digest that follows."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from skinaudit.artifacts.adversarial_set import open_set, write_set
from skinaudit.artifacts.contract import CLASSES, InputContract
from skinaudit.artifacts.files import digest_file
from skinaudit.artifacts.manifest import read_run, record, write_run
from skinaudit.audit.judgement.result import AuditResult
from skinaudit.audit.reports.json_ import to_json

NEW_NAMES = dict(
    zip(CLASSES, ("melanoma", "naevus", "basalioma", "keratosis", "seborrhoeic", "fibroma", "angioma"), strict=True)
)


def renamed(value: Any, names: Mapping[str, str] = NEW_NAMES) -> Any:
    """JSON values with every class under its new name, in texts as well."""
    text = json.dumps(value)
    for old, new in names.items():
        text = re.sub(rf"\b{old}\b", new, text)
    return json.loads(text)


def comparable(result: AuditResult) -> Any:
    """All that an audit says, without digests, times and versions."""
    plain = to_json(result)
    for key in ("engine", "engine_digest", "run_name", "arguments", "versions", "lineage"):
        del plain[key]
    for entry in plain["sets"]:
        for key in ("images_per_second", "images_digest", "source"):
            del entry[key]
    for probe in plain["probes"]:
        del probe["seconds"]
    if plain["baseline"] is not None:
        del plain["baseline"]["engine_digest"]
    return plain


def rename_classes(run: Path, names: Mapping[str, str]) -> None:
    """Give the classes of the run in `run` other names, in place. names: the new one of each.

    Weights and calibration images name no class, so their digests stay.
    """

    def reworded(text: str) -> str:
        return re.sub(r'"(\w+)"', lambda match: f'"{names.get(match[1], match[1])}"', text)

    (run / "run.json").write_text(reworded((run / "run.json").read_text()))
    for path in sorted((run / "sets").glob("*.safetensors")):
        old = open_set(path)
        write_set(
            path,
            replace(old.info, contract=_contract(old.info.contract, names)),
            images=np.concatenate(list(old.batches(256))),
            labels=old.labels,
            group=old.group,
            ids=old.ids,
            source_logits=old.source_logits,
            attack=old.attack,
        )
    manifest = read_run(run)
    sets = {name: record(run / file.file, relative_to=run) for name, file in manifest.sets.items()}
    write_run(run, replace(manifest, sets=sets))
    digests = {}
    for engine in sorted((run / "engines").glob("*.onnx")):
        old_digest, model = digest_file(engine), onnx.load(engine)
        for entry in model.metadata_props:
            entry.value = reworded(entry.value)
        engine.write_bytes(model.SerializeToString())
        digests[old_digest] = digest_file(engine)
    for path in sorted((run / "engines").glob("*.onnx.json")):
        text = reworded(path.read_text())
        for old_digest, new_digest in digests.items():
            text = text.replace(old_digest, new_digest)
        path.write_text(text)


def _contract(contract: InputContract, names: Mapping[str, str]) -> InputContract:
    return replace(
        contract,
        classes=tuple(names[name] for name in contract.classes),
        malignant=tuple(names[name] for name in contract.malignant),
    )
