"""A run directory with a linear model, its sets and its engine, small enough for unit tests, and faults to plant in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from safetensors.numpy import save_file

from skinaudit.artifacts.adversarial_set import SetInfo, open_set, write_set
from skinaudit.artifacts.attack_record import LOSS_GRADIENT, POINTS, AttackRecord
from skinaudit.artifacts.contract import InputContract
from skinaudit.artifacts.files import write_json
from skinaudit.artifacts.manifest import (
    EngineManifest,
    RunManifest,
    read_run,
    record,
    write_engine_manifest,
    write_run,
)
from skinaudit.artifacts.pictures import write_pictures
from skinaudit.artifacts.structure import Step, Structure, write_structure
from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.audit.checks import Evidence
from skinaudit.audit.evidence.reference import Control
from skinaudit.audit.figures.comparison import Comparison, compare
from skinaudit.audit.figures.fresh_attack import ProbeResult
from skinaudit.audit.figures.set_result import SetResult
from skinaudit.audit.figures.statistics import Interval, paired_drop
from skinaudit.engines import onnx_graph
from skinaudit.engines.engine import EngineDescription

SIZE, CLASSES = 6, 7
CONTRACT = InputContract(size=SIZE)


def linear(weights: NDArray[np.float32], images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 (B, 3, H, W) -> float32 (B, classes): pixels minus one half, times weights (pixels, classes).

    Not by `@`, whose sums depend on the batch: einsum adds the pixels of each image in their order.
    """
    flat = images.reshape(len(images), -1).astype(np.float32) / np.float32(255) - np.float32(0.5)
    return np.asarray(np.einsum("bp,pc->bc", flat, weights, optimize=False))


class LinearEngine:
    """An engine file of this test: ONNX whose metadata hold the seed of the weights, the precision, and a fault."""

    def __init__(self, path: Path) -> None:
        self.settings: dict[str, Any] = json.loads(onnx_graph.metadata(onnx_graph.load(path))["linear"])
        self.calls = 0
        self.images = 0
        self.theirs = _pictures_of(self.settings) if self.settings.get("fault") == "subgroup" else set()

    @property
    def description(self) -> EngineDescription:
        layers = self.settings.get("found", {"fp32": 1})
        extra = self.settings.get("about", {})
        return EngineDescription(
            "onnxruntime", "2", "CPU", "test CPU", 1, layers, self.settings.get("size", SIZE), CLASSES, settings=extra
        )

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.calls += 1
        self.images += len(images)
        logits = linear(templates(self.settings["seed"]), images)
        fault = self.settings.get("fault")
        if fault == "constant":
            logits[:] = 0
            logits[:, 1] = 1
        elif fault == "nan":
            logits[0, 0] = np.nan
        elif fault == "restless":
            logits += np.float32(1e-6 * self.calls)
        elif fault == "shape":
            return logits[:, :-1]
        elif fault == "scaled":
            logits *= np.float32(1.01)
        elif fault == "melanoma to nevus":
            ill = logits.argmax(axis=1) == 0
            logits[ill, 1] = logits[ill].max(axis=1) + 1
        elif fault == "noise":
            logits += np.random.default_rng(0).normal(0, 3, logits.shape).astype(np.float32)
        elif fault == "memory":  # right on the images that it has seen, and on no other
            seen = {image.tobytes() for path in Path(self.settings["sets"]).glob("*.safetensors")
                    for batch in open_set(path).batches(256) for image in batch}  # fmt: skip
            strange = np.array([image.tobytes() not in seen for image in images])
            logits[strange] = np.roll(logits[strange], 1, axis=1)
        elif fault == "subgroup":  # wrong on the images of one value of a column
            wrong = np.array([image.tobytes() in self.theirs for image in images])
            logits[wrong] = np.roll(logits[wrong], 1, axis=1)
        elif fault == "rare":  # every 50th image of a batch
            logits[::50] = np.roll(logits[::50], 1, axis=1)
        return logits


def _pictures_of(settings: Mapping[str, Any]) -> set[bytes]:
    """The pictures of one value of a column, in all sets of a folder."""
    stored = [open_set(path) for path in Path(settings["sets"]).glob("*.safetensors")]
    images = (image for image_set in stored for batch in image_set.batches(256) for image in batch)
    values = (value for image_set in stored for value in image_set.subgroups[settings["column"]])
    return {image.tobytes() for image, value in zip(images, values, strict=True) if value == settings["value"]}


def write_planted(path: Path, settings: Mapping[str, Any], *operators: str) -> None:
    """Write the file of a LinearEngine; its graph holds `operators`, which LinearEngine never runs."""
    nodes = [helper.make_node(name, ["image"], ["logits"]) for name in operators or ("Identity",)]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, SIZE, SIZE])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3, SIZE, SIZE])
    model = helper.make_model(helper.make_graph(nodes, "linear", [image], [logits]))
    helper.set_model_props(model, {"linear": json.dumps(settings)})
    path.write_bytes(model.SerializeToString())


@cache
def templates(seed: int) -> NDArray[np.float32]:
    """float32 (pixels, classes): one direction a class; for -k those of seed 0, trained again: k entries differ."""
    if seed < 0:
        weights = templates(0).copy()
        weights.reshape(-1)[np.random.default_rng(-seed).permutation(weights.size)[:-seed]] *= -1
    else:
        weights = np.random.default_rng(seed).choice(np.array([-1, 1], np.float32), (3 * SIZE * SIZE, CLASSES))
    weights.setflags(write=False)
    return weights


@dataclass(frozen=True)
class Planted:
    """Where everything lies."""

    run: Path
    engine: Path
    reference: Path


def plant(
    folder: Path,
    *,
    images: int = 700,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    asked: str = "fp32",
    data_seed: int = 5,
    labels: NDArray[np.int64] | None = None,
    contract: InputContract = CONTRACT,
    eps: int = 24,
    steps: int = 1,
    masked: bool = False,
    subgroups: Mapping[str, tuple[str, ...]] | None = None,
) -> Planted:
    """Write a run with sets `clean` and `pgd`, its reference engine and an engine with `settings`."""
    run = folder
    (run / "engines").mkdir(parents=True, exist_ok=True)
    save_file({"seed": np.array(seed)}, run / "weights.safetensors")
    write_structure(run / "structure.json", Structure("image", "image", SIZE, (), {}, {}))  # what `write_planted` writes
    write_json(run / "calibration.safetensors", {"seed": seed})
    weights = record(run / "weights.safetensors", relative_to=run)
    pixels, labels = pictures(images, seed=data_seed, labels=labels)
    write_sets(
        run / "sets",
        pixels,
        labels,
        seed=seed,
        source=weights.digest,
        contract=contract,
        eps=eps,
        steps=steps,
        masked=masked,
        subgroups=subgroups,
    )
    sets = {path.stem: record(path, relative_to=run) for path in sorted((run / "sets").glob("*.safetensors"))}
    write_run(
        run,
        RunManifest(
            name=folder.name,
            contract=contract,
            model={"arch": "linear"},
            data={"title": "planted", "digest": "sha256:data"},
            synthetic=True,
            training={},
            results={},
            weights=weights,
            calibration=record(run / "calibration.safetensors", relative_to=run),
            sets=sets,
            created_with={},
            structure=record(run / "structure.json", relative_to=run),
        ),
    )
    reference = run / "engines" / "fp32.onnx"
    write_planted(reference, {"seed": seed})
    own_record = record(reference, relative_to=reference.parent)
    manifest = EngineManifest(
        engine=own_record,
        runtime="onnxruntime",
        contract=contract,
        asked="fp32",
        found={"fp32": 1},
        lineage={"weights": weights.digest, "onnx": own_record.digest, "data": "sha256:data"},
        reference=own_record,
        run="..",
        run_name=folder.name,
        synthetic=True,
        parity={},
        settings={},
        created_with={},
        device="test CPU",
        graph=own_record,
    )
    write_engine_manifest(manifest, engine=reference)
    engine = reference
    if settings is not None:
        engine = run / "engines" / "subject.onnx"
        write_planted(engine, {"seed": seed, "name": "subject", **settings})
        promised = settings.get("promised", settings.get("found", {"fp32": 1}))
        own = replace(manifest, engine=record(engine, relative_to=engine.parent), asked=asked, found=promised)
        write_engine_manifest(own, engine=engine)
    return Planted(run, engine, reference)


def record_structure(folder: Path) -> None:
    """The structure of a graph in the run's records: pixels minus one half, flat, times the templates of seed 0."""
    pixels = 3 * SIZE * SIZE
    steps = (
        Step("centred", "sub.Tensor", ("step:image", "weight:half")),
        Step("flat", "flatten.using_ints", ("step:centred", 1)),
        Step("logits", "linear.default", ("step:flat", "weight:weights")),
    )
    weights = tuple(map(float, templates(0).T.reshape(-1)))
    constants, shapes = {"half": (0.5,), "weights": weights}, {"half": (1,), "weights": (CLASSES, pixels)}
    write_structure(folder / "structure.json", Structure("image", "logits", SIZE, steps, constants, shapes))
    write_run(folder, replace(read_run(folder), structure=record(folder / "structure.json", relative_to=folder)))


def record_pictures(folder: Path) -> None:
    """The record of a run whose pictures are those of its test, as if half of them were of its training."""
    clean = open_set(folder / "sets" / "clean.safetensors")
    (images,), half = clean.batches(len(clean)), len(clean) // 2
    parts = np.split(np.arange(len(clean)), [half, half])
    frames = np.tile(np.array([[600, 450]], np.int32), (len(clean), 1))
    write_pictures(folder / "pictures.safetensors", images, clean.ids, parts, seed=0, frames=frames)
    write_run(folder, replace(read_run(folder), pictures=record(folder / "pictures.safetensors", relative_to=folder)))


def pictures(
    count: int, *, seed: int, labels: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Noise around a faint template of each class: uint8 (N, 3, SIZE, SIZE) and labels in round robin."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES if labels is None else labels
    shift = templates(0).T[labels].reshape(-1, 3, SIZE, SIZE)
    pixels = 127.5 + 30 * shift + generator.normal(0, 60, shift.shape)
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8), labels.astype(np.int64)


def write_sets(
    folder: Path,
    pixels: NDArray[np.uint8],
    labels: NDArray[np.int64],
    *,
    seed: int,
    source: str,
    contract: InputContract = CONTRACT,
    eps: int = 24,
    written_eps: int | None = None,
    steps: int = 1,
    masked: bool = False,
    subgroups: Mapping[str, tuple[str, ...]] | None = None,
) -> None:
    """Write `clean` and a `pgd` set: for a linear model the sign step towards the runner-up is the worst case.

    masked: the attack follows noise, as it does where a model's gradients tell nothing.
    """
    weights = templates(seed)
    logits = linear(weights, pixels)
    other_logits = logits.copy()
    other_logits[np.arange(len(labels)), labels] = -np.inf
    step = weights[:, other_logits.argmax(axis=1)].T - weights[:, labels].T
    step = np.random.default_rng(seed % 100).normal(size=step.shape) if masked else step
    moved = pixels.astype(np.int64) + eps * np.sign(step).astype(np.int64).reshape(pixels.shape)
    attacked = np.clip(moved, 0, 255).astype(np.uint8)
    groups = np.arange(len(labels)) * 3 // 4  # every third lesion has two images
    ids = tuple(f"image{index:05d}" for index in range(len(labels)))
    info = SetInfo(
        name="clean",
        attack="clean",
        threat_model=None,
        settings={},
        seed=0,
        source=source,
        clean="",
        contract=contract,
        dataset="planted",
        synthetic=True,
        created_with={},
    )
    write_set(
        folder / "clean.safetensors", info,
        images=pixels, labels=labels, group=groups, ids=ids, source_logits=logits, subgroups=subgroups,
    )  # fmt: skip
    clean = open_set(folder / "clean.safetensors").images_digest
    threat = ThreatModel("linf", Fraction(written_eps or eps))
    info = replace(info, name="pgd", attack="pgd", threat_model=threat, settings={"steps": steps}, clean=clean)
    stored = linear(weights, attacked)
    count = len(labels)
    noted = AttackRecord(
        np.full(count, LOSS_GRADIENT, np.uint8),
        np.zeros((count, POINTS), np.float32),
        np.zeros(count, np.int32),
        np.ones(count, np.float32),
    )
    write_set(
        folder / "pgd.safetensors", info,
        images=attacked, labels=labels, group=groups, ids=ids, source_logits=stored, attack=noted,
        subgroups=subgroups,
    )  # fmt: skip


def compared(
    engine: NDArray[np.int64],
    source: NDArray[np.int64] | None,
    labels: NDArray[np.int64],
    *,
    attacked: bool = False,
) -> Comparison:
    return compare(
        engine,
        source,
        engine_clean=labels if attacked else None,
        labels=labels,
        groups=np.arange(len(labels)),
        contract=CONTRACT,
        confidence=0.95,
    )


def entry(comparison: Comparison, *, clean: bool = False, white_box: bool = True) -> SetResult:
    title = "clean" if clean else "pgd linf 2/255"
    return SetResult(
        name=title,
        title=title,
        file="x",
        path=Path("x"),
        attack="clean" if clean else "pgd",
        norm=None if clean else "linf",
        eps=None if clean else "2/255",
        settings={},
        clean=clean,
        white_box=white_box,
        source="",
        images_digest=title,
        control=Control(False, ""),
        comparison=comparison,
        drift=None,
        probabilities=False,
        images_per_second=1.0,
        flipped=(),
        right="",
        called_malignant="",
        engine_answers="",
        source_answers="",
    )


def change_set(evidence: Evidence, index: int, **changes: Any) -> Evidence:
    """The evidence with other figures for one set: fields of its Comparison, else of its SetResult."""
    result = evidence.sets[index]
    figures = {name: value for name, value in changes.items() if hasattr(result.comparison, name)}
    of_result = {name: value for name, value in changes.items() if name not in figures}
    changed = replace(result, comparison=replace(result.comparison, **figures), **of_result)
    return replace(evidence, sets=(*evidence.sets[:index], changed, *evidence.sets[index + 1 :]))


def change_inputs(evidence: Evidence, **changes: Any) -> Evidence:
    """The evidence with other inputs; what is no field of Inputs is one of its manifest."""
    names = {field.name for field in fields(evidence.inputs)}
    own = {name: value for name, value in changes.items() if name in names}
    of_manifest = {name: value for name, value in changes.items() if name not in names}
    if of_manifest:
        assert evidence.inputs.manifest is not None
        own["manifest"] = replace(evidence.inputs.manifest, **of_manifest)
    return replace(evidence, inputs=replace(evidence.inputs, **own))


def probed(*, replay: int, fresh: int, reference: int, by_answers: bool = True) -> ProbeResult:
    """Right images of 400 by replay, under a fresh attack, and those of the reference under the same."""

    def right(count: int) -> NDArray[np.bool_]:
        return np.arange(400) < count

    groups = np.arange(400)
    return ProbeResult(
        name="square", title="probe square linf 24/255", by_answers=by_answers, norm="linf", eps="24/255",
        settings={"queries": 9}, seed=0, images=400, queries=3600, seconds=1.0, clean_accuracy=1.0,
        replay_accuracy=replay / 400, fresh_accuracy=fresh / 400, fresh_interval=Interval(0, 1),
        worst_accuracy=min(replay, fresh) / 400, reference_accuracy=reference / 400,
        drop=paired_drop(right(reference), right(fresh), groups), masking=paired_drop(right(replay), right(fresh), groups),
    )  # fmt: skip


@pytest.fixture(scope="session")
def lab() -> SimpleNamespace:
    """The functions of this file, for tests that plant faults."""
    return SimpleNamespace(
        plant=plant,
        write_sets=write_sets,
        pictures=pictures,
        linear=linear,
        templates=templates,
        LinearEngine=LinearEngine,
        write_planted=write_planted,
        record_pictures=record_pictures,
        CONTRACT=CONTRACT,
        compared=compared,
        entry=entry,
    )
