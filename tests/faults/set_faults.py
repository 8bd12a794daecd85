"""Faults of the stored sets: the engine is honest (but for one), and what it is judged by is not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.adversarial_set import AdversarialSet, SetInfo, open_set, write_set
from skinaudit.artifacts.manifest import read_run, record, write_run
from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.engines.open import open_engine
from skinaudit.tests.faults.build_faults import of_weights, standard_weights
from skinaudit.tests.faults.lab import EPS, THREADS, Fault, Lab
from skinaudit.trainer.checkpoint import load_run_model
from skinaudit.trainer.generate import AttackPlan, write_adversarial_set
from skinaudit.trainer.models import folded

Images = NDArray[np.uint8]


def copied(lab: Lab, folder: Path) -> Path:
    """A copy of the run with its honest fp32 engine, to change; returns the run."""
    run = folder / "run"
    shutil.copytree(lab.run, run, ignore=shutil.ignore_patterns("planted"))
    return run


def engine_of(run: Path) -> Path:
    """The engine that is audited."""
    return run / "engines" / "fp32.onnx"


def images_of(stored: AdversarialSet) -> Images:
    """All images of a set."""
    return np.concatenate(list(stored.batches(64)))


def rewrite(
    run: Path, path: Path, *, logits: bool = True, info: Callable[[SetInfo], SetInfo] = lambda info: info, **arrays: Any
) -> None:
    """Write a set again with other arrays, as its own writer would: every digest is right. logits: the engine's to the new
    images, where none are given."""
    old = open_set(path)
    images = arrays.get("images", images_of(old))
    values = {"images": images, "labels": old.labels, "group": old.group, "ids": old.ids, "source_logits": old.source_logits}
    if "images" in arrays and logits:
        values["source_logits"] = answers_to(run, images)
    write_set(path, info(old.info), **{**values, **arrays})


def answers_to(run: Path, images: Images) -> NDArray[np.float32]:
    """What the run's engine answers."""
    engine = open_engine(engine_of(run), threads=THREADS)
    return np.concatenate([engine.logits(images[start : start + 64]) for start in range(0, len(images), 64)])


def seal(run: Path) -> Path:
    """Let the run's manifest name its sets as they now are; returns the engine."""
    manifest = read_run(run)
    sets = {name: record(run / item.file, relative_to=run) for name, item in manifest.sets.items()}
    write_run(run, replace(manifest, sets=sets))
    return engine_of(run)


def attacked(run: Path) -> list[Path]:
    """The adversarial sets of a run."""
    return sorted(path for path in (run / "sets").glob("*.safetensors") if path.stem != "clean")


def clean(run: Path) -> AdversarialSet:
    """The clean set of a run."""
    return open_set(run / "sets" / "clean.safetensors")


def edited_sets(change: Callable[[Path, Path], None]) -> Callable[[Lab, Path], Path]:
    """Change every adversarial set of a copied run, and seal it."""

    def write(lab: Lab, folder: Path) -> Path:
        run = copied(lab, folder)
        for path in attacked(run):
            change(run, path)
        return seal(run)

    return write


def tampered_bytes(lab: Lab, folder: Path) -> Path:
    run = copied(lab, folder)
    for path in attacked(run):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(bytes(content))
    return seal(run)


def eps_doubled(run: Path, path: Path) -> None:
    """Images twice as far from the clean ones as the set says."""
    original = images_of(clean(run)).astype(np.int64)
    further = np.clip(original + 2 * (images_of(open_set(path)) - original), 0, 255).astype(np.uint8)
    rewrite(run, path, images=further)


def eps_overstated(run: Path, path: Path) -> None:
    """The set says twice the eps that its images spend."""
    rewrite(run, path, info=lambda info: replace(info, threat_model=ThreatModel(EPS.norm, EPS.eps_255 * Fraction(2))))


def labels_of_one_set(run: Path, path: Path) -> None:
    labels = open_set(path).labels
    rewrite(run, path, labels=labels[np.random.default_rng(0).permutation(len(labels))])


def foreign_logits(run: Path, path: Path) -> None:
    logits = open_set(path).source_logits.copy()
    logits[::10] = np.roll(logits[::10], 1, axis=1)
    rewrite(run, path, source_logits=logits)


def unperturbed(run: Path, path: Path) -> None:
    rewrite(run, path, images=images_of(clean(run)))


def half_unperturbed(run: Path, path: Path) -> None:
    """Every other image was never attacked."""
    images, original = images_of(open_set(path)), images_of(clean(run))
    images[::2] = original[::2]
    rewrite(run, path, images=images)


def random_signs(run: Path, path: Path) -> None:
    """Random noise of full eps in the place of an attack."""
    original = images_of(clean(run)).astype(np.int64)
    signs = np.random.default_rng(0).choice([-1, 1], original.shape) * int(EPS.eps_255)
    rewrite(run, path, images=np.clip(original + signs, 0, 255).astype(np.uint8))


def labels_everywhere(share: float) -> Callable[[Lab, Path], Path]:
    """The labels of a share of the images permuted, in all sets alike."""

    def write(lab: Lab, folder: Path) -> Path:
        run = copied(lab, folder)
        labels = clean(run).labels.copy()
        generator = np.random.default_rng(0)
        chosen = generator.choice(len(labels), int(share * len(labels)), replace=False)
        labels[chosen] = labels[generator.permutation(chosen)]
        return _everywhere(run, lambda value: {"labels": labels})

    return write


def _wrong(run: Path, count: int) -> NDArray[np.int64]:
    """The first clean images that the source names wrongly."""
    stored = clean(run)
    return np.flatnonzero(stored.source_logits.argmax(1) != stored.labels)[:count]


def awkward_images_dropped(lab: Lab, folder: Path) -> Path:
    run = copied(lab, folder)
    kept = np.setdiff1d(np.arange(len(clean(run))), _wrong(run, 9))

    def keep(old: AdversarialSet) -> dict[str, Any]:
        arrays = {"images": images_of(old), "source_logits": old.source_logits, "labels": old.labels, "group": old.group}
        return {**{name: value[kept] for name, value in arrays.items()}, "ids": tuple(old.ids[row] for row in kept)}

    return _everywhere(run, keep)


def ten_labels_changed(lab: Lab, folder: Path) -> Path:
    run = copied(lab, folder)
    labels = clean(run).labels.copy()
    labels[_wrong(run, 10)] = (labels[_wrong(run, 10)] + 1) % 7
    return _everywhere(run, lambda value: {"labels": labels})


def repeated_images(lab: Lab, folder: Path) -> Path:
    """Every other image twice, under two names and lesions: more images than there are."""
    run = copied(lab, folder)
    count = len(clean(run).labels)
    rows = np.arange(count) // 2 * 2

    def repeat(old: AdversarialSet) -> dict[str, Any]:
        pixels = {"images": images_of(old)[rows], "source_logits": old.source_logits[rows], "labels": old.labels[rows]}
        return {**pixels, "group": np.arange(count), "ids": tuple(f"copy{row}" for row in range(count))}

    return _everywhere(run, repeat)


def few_lesions(lab: Lab, folder: Path) -> Path:
    """All images are of ten lesions: where none is lost, nothing tells how images of a lesion go together."""
    run = copied(lab, folder)
    count = len(clean(run).labels)
    return _everywhere(run, lambda value: {"group": np.arange(count) * 10 // count})


def near_copies(lab: Lab, folder: Path) -> Path:
    """Every fifth image five times, mirrored, turned and shifted, each under a lesion of its own: no fewer images."""
    run = copied(lab, folder)
    rows = np.arange(0, len(clean(run).labels), 5)

    def edited(old: AdversarialSet) -> dict[str, Any]:
        chosen = images_of(old)[rows]
        edits = (chosen, chosen[..., ::-1], chosen[..., ::-1, :], np.rot90(chosen, 1, (2, 3)), np.roll(chosen, 1, 3))
        images = np.ascontiguousarray(np.concatenate(edits))
        ids = tuple(f"picture{row}" for row in range(len(images)))
        new = {"images": images, "source_logits": answers_to(run, images), "labels": np.tile(old.labels[rows], len(edits))}
        return {**new, "group": np.arange(len(images)), "ids": ids}

    return _everywhere(run, edited)


def _everywhere(run: Path, arrays: Callable[[AdversarialSet], dict[str, Any]]) -> Path:
    new = {path: arrays(open_set(path)) for path in (run / "sets").glob("*.safetensors")}
    first = run / "sets" / "clean.safetensors"
    rewrite(run, first, logits=False, **new.pop(first))
    digest = open_set(first).images_digest
    for path, values in new.items():
        rewrite(run, path, logits=False, info=lambda info: replace(info, clean=digest), **values)
    return seal(run)


def stale_sets(lab: Lab, folder: Path) -> Path:
    """Crafted on the standard model, with the hardened model's answers and its name: a transfer set sold as white-box."""
    run = copied(lab, folder)
    model, weights = folded(load_run_model(lab.standard)), read_run(run).weights.digest
    for path in attacked(run):
        info = open_set(path).info
        plan = AttackPlan(info.attack, EPS, {"steps": 10} if info.attack == "pgd-dlr" else {})
        written = write_adversarial_set(folder / path.name, model, clean(run), plan, name=info.name, source=weights, seed=0)
        rewrite(run, path, images=images_of(written))
    return seal(run)


def control_taken_away(lab: Lab, folder: Path) -> Path:
    """The standard model's engine, its answers stored as the hardened model's, and no reference to tell."""
    run = copied(lab, folder)
    planted = of_weights(standard_weights, "uncontrolled")(replace(lab, run=run), folder)
    engine = open_engine(planted, threads=THREADS)
    for path in (run / "sets").glob("*.safetensors"):
        answers = np.concatenate([engine.logits(batch) for batch in open_set(path).batches(64)])
        rewrite(run, path, source_logits=answers)
    seal(run)
    engine_of(run).unlink()
    return planted


SET_FAULTS = (
    Fault("set tampered with", "one bit of an image is changed, and the run's digest is adapted",
          tampered_bytes, ("digest",)),
    Fault("eps doubled", "images at 4/255 in a set of 2/255", edited_sets(eps_doubled), ("eps in integers",)),
    Fault("eps overstated", "images at 2/255 in a set of 4/255", edited_sets(eps_overstated),
          ("attack strength",)),
    Fault("labels of one set permuted", "joined to the wrong table", edited_sets(labels_of_one_set),
          ("labels of the clean set",)),
    Fault("all labels permuted", "joined to the wrong table everywhere", labels_everywhere(1.0), ("constant answer",)),
    Fault("a fifth of the labels permuted", "a part joined to the wrong table", labels_everywhere(0.2),
          ("recorded results",)),
    Fault("stored logits tampered with", "every tenth row is rolled; the digests are correct",
          edited_sets(foreign_logits), ("control",)),
    Fault("unperturbed set", "the clean images as an adversarial set", edited_sets(unperturbed), ("attack strength",)),
    Fault("half of the set unperturbed", "every other image is the clean one", edited_sets(half_unperturbed),
          ("attack quality",)),
    Fault("awkward images dropped", "nine images that the source gets wrong are left out of all sets",
          awkward_images_dropped, ("test split",)),
    Fault("ten labels changed", "ten images that the source gets wrong get another label",
          ten_labels_changed, ("test split",)),
    Fault("noise for an attack", "random noise within eps as pgd", edited_sets(random_signs), ("recorded results",)),
    Fault("set of another model", "crafted on the standard model, claimed white-box", stale_sets, ("recorded results",)),
    Fault("images repeated", "each image twice, to have enough images", repeated_images, ("repeated images",)),
    Fault("few lesions", "all images are assigned to ten lesions", few_lesions, ("undecided drop",)),
    Fault("near-copies", "mirrored, rotated and shifted copies under invented lesions, to have enough images", near_copies,
          ("undecided drop",)),
    Fault("control taken away", "another model, its answers stored as the source's, without a reference",
          control_taken_away,
          ("control run",)),
)  # fmt: skip
