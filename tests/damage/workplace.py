"""A folder with one file of each kind that skinaudit reads, small, and as full as those of a real training and export."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from skinaudit.artifacts.adversarial_set import open_set
from skinaudit.artifacts.external import ExternalSets, write_external
from skinaudit.artifacts.files import write_json
from skinaudit.artifacts.manifest import FileRecord, manifest_path, read_engine_manifest, read_run, record, write_run
from skinaudit.artifacts.operating_point import fix_operating_point, malignant_scores
from skinaudit.audit.audit import audit_engine
from skinaudit.audit.reports.json_ import to_json
from skinaudit.tests.audit.ci.conftest import write_linear
from skinaudit.tests.linear_run import (
    CONTRACT,
    Planted,
    pictures,
    plant,
    record_pictures,
    record_structure,
    templates,
    write_sets,
)

IMAGES = 588  # of the clean set: they count as 392 lesions, and 381 are needed to show a loss below 1 point
_PAST_IMAGES = 420  # those that the report of the earlier format is about
_EARLIER = Path(__file__).resolve().parents[1] / "data" / "earlier"
_EARLIER_RUN, _EARLIER_AUDIT = _EARLIER / "trained" / "run.json", _EARLIER / "audit.json"
_FOREIGN = """
[input]
name = "image"
size = 6
layout = "NCHW"
dtype = "float32"
colour = "RGB"
scale = "1/255"
mean = [0.0, 0.0, 0.0]
std = [1.0, 1.0, 1.0]
[output]
name = "logits"
answer = "logits"
classes = ["mel", "nv", "bcc", "akiec", "bkl", "df", "vasc"]
"""
_COLUMN = (
    _FOREIGN.partition("[output]")[0]
    + """[output]
name = "logits"
answer = "logits"
classes = ["benign", "malignant"]
positive = "malignant"
threshold = 0.4
[output.mapping]
benign = ["nv", "bkl", "df", "vasc"]
malignant = ["mel", "bcc", "akiec"]
"""
)
_POLICY = """
confidence = 0.95
minimal_images = 100
control = "required"
[margin]
default = 1.0
pgd = 2.0
[sensitivity_margin]
default = 5.0
benign = 20.0
prove = "where possible"
mel = 6.0
[malignant_to_benign]
limit = 0
[probe]
margin = 5.0
[operating_point]
specificity = 0.9
prevalence = 0.02
[baseline]
margin = 1.0
malignant_to_benign = 5.0
[floor.clean]
accuracy = 30.0
balanced_accuracy = 20.0
"""
_REBUILDS = {"builds": 2, "files": 1, "flips": 0, "images": IMAGES}
_PARITY = {
    "images": IMAGES, "max_abs": 0.0, "mean_abs": 0.0, "scale": 9.5, "agreement": 1.0, "near_ties": 0,
    "measured_on": "the engine", "rebuilds": _REBUILDS,
}  # fmt: skip


def build_workplace(folder: Path) -> Path:
    """A run of a linear model with an engine that passes, policy, contract and earlier report; and a run without files."""
    planted = _build_run(folder / "run", images=IMAGES)
    past = _build_run(folder / "past", images=_PAST_IMAGES)
    shutil.copy(planted.engine, folder / "foreign.onnx")
    (folder / "contract.toml").write_text(_FOREIGN)
    malignant = np.isin(np.arange(len(CONTRACT.classes)), CONTRACT.malignant_labels)
    column = templates(0)[:, malignant].mean(axis=1) - templates(0)[:, ~malignant].mean(axis=1)
    write_linear(folder / "column.onnx", column.astype(np.float32)[:, None])
    (folder / "column.toml").write_text(_COLUMN)
    _write_external(planted.run)
    (folder / "policy.toml").write_text(_POLICY)
    (folder / "wide.toml").write_text("[margin]\ndefault = 3.0\n[baseline]\nmargin = 3.0\n")
    write_json(folder / "format-1.json", _earlier_audit(past.run))
    write_json(folder / "earlier.json", to_json(audit_engine(planted.engine, threads=1)))
    external = planted.run / "external" / "hospital-b"
    write_json(folder / "external-report.json", to_json(audit_engine(planted.engine, sets=external, threads=1)))
    epoch = {
        "epoch": 1, "seconds": 1.5, "images_per_second": 80.5, "learning_rate": 0.003, "loss": 2.0, "train_accuracy": 0.4,
        "val_accuracy": 0.5, "monitor": 0.5, "best": True,
    }  # fmt: skip
    log = "".join(json.dumps({**epoch, "epoch": number}) + "\n" for number in (1, 2))
    (folder / "bare").mkdir()
    (folder / "bare" / "log.jsonl").write_text(log)
    shutil.copy(planted.run / "run.json", folder / "bare")
    return folder


def _earlier_audit(run: Path) -> dict[str, Any]:
    """The report of the earlier format, of the same images; the run tells other lesions of them now, so other digests."""
    report: dict[str, Any] = json.loads(_EARLIER_AUDIT.read_text(encoding="utf-8"))
    for entry, name in zip(report["sets"], ("clean", "pgd"), strict=True):
        entry["images_digest"] = open_set(run / "sets" / f"{name}.safetensors").images_digest
    return report


def _build_run(folder: Path, *, images: int) -> Planted:
    planted = plant(folder, images=images, settings={})
    _write_run(planted.run)
    write_linear(planted.reference, templates(0))
    write_linear(planted.engine, templates(0), note="subject")
    reference = record(planted.reference, relative_to=planted.reference.parent)
    for engine in (planted.reference, planted.engine):
        _write_engine(engine, reference)
    return planted


def _write_run(folder: Path) -> None:
    """Give the planted run a manifest with all that a real training notes."""
    trained, manifest = json.loads(_EARLIER_RUN.read_text(encoding="utf-8")), read_run(folder)
    results = {}
    for name in manifest.sets:
        opened = open_set(folder / "sets" / f"{name}.safetensors")
        right = opened.source_logits.argmax(axis=1) == opened.labels
        sensitivity = {
            class_name: float(right[opened.labels == label].mean())
            for label, class_name in enumerate(manifest.contract.classes)
        }
        results[name] = {
            "accuracy": float(right.mean()),
            "balanced_accuracy": fmean(sensitivity.values()),
            **{f"sensitivity_{class_name}": sensitivity[class_name] for class_name in manifest.contract.malignant},
        }
    clean, past = open_set(folder / "sets" / "clean.safetensors"), trained["data"]
    test_images = {
        class_name: int((clean.labels == label).sum()) for label, class_name in enumerate(manifest.contract.classes)
    }
    parts = {"part_images": len(clean), "part_lesions": len(set(clean.group.tolist()))}
    test_counts = {name: {**past[name], "test": count} for name, count in parts.items()}
    data = {
        **past, **test_counts, "digest": manifest.data["digest"], "size": manifest.contract.size,
        "counts": {class_name: {**past["counts"][class_name], "test": count} for class_name, count in test_images.items()},
        "images": sum(test_counts["part_images"].values()), "lesions": sum(test_counts["part_lesions"].values()),
        "majority_baseline": test_images[past["majority_class"]] / len(clean),
        "skipped": [{"image_id": "x", "reason": "no image"}],
    }  # fmt: skip
    point = fix_operating_point(
        malignant_scores(clean.source_logits, CONTRACT.malignant_labels),
        np.isin(clean.labels, CONTRACT.malignant_labels), specificity=0.9,
    )  # fmt: skip
    assert point is not None
    changed = replace(
        manifest, operating_points=(point,),
        model={**trained["model"], "arch": "linear"}, data=data, training=trained["training"], results=results,
        created_with=trained["created_with"],
    )  # fmt: skip
    write_run(folder, changed)
    record_structure(folder)
    record_pictures(folder)


def _write_external(run: Path) -> None:
    """Sets of other images, beside the run."""
    folder = run / "external" / "hospital-b"
    write_sets(folder, *pictures(IMAGES, seed=77), seed=0, source=read_run(run).weights.digest)
    files = {path.stem: record(path, relative_to=folder) for path in sorted(folder.glob("*.safetensors"))}
    described = ExternalSets(
        "hospital-b", "Hospital B", "sha256:b", {"near-copies": 2}, files, {"torch": "2"}, ((640, 480, IMAGES),)
    )
    write_external(folder, described)


def _write_engine(engine: Path, reference: FileRecord) -> None:
    """Let a manifest name the engine file and the reference as they are now, with all that a real export notes."""
    path = manifest_path(engine)
    value = json.loads(path.read_text(encoding="utf-8"))
    own = asdict(record(engine, relative_to=engine.parent))
    (engine.parent / "notes.txt").write_text("a companion")
    value |= {
        "engine": own, "graph": own, "reference": asdict(reference), "runtime": "onnxruntime", "parity": _PARITY,
        "companions": [asdict(record(engine.parent / "notes.txt", relative_to=engine.parent))],
        "settings": {"graph": "fp32", "opset": 17, "threads": 1, "executed": None}, "created_with": {"onnx": "1.17"},
    }  # fmt: skip
    value["operating_points"] = [asdict(point) for point in read_run(engine.parent.parent).operating_points]
    value["lineage"]["onnx"] = reference.digest
    write_json(path, value)
    read_engine_manifest(engine)
