"""External sets: images of another data set, clean and attacked on a finished run's model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.adversarial_set import CLEAN, AdversarialSet, open_set
from skinaudit.artifacts.external import ExternalSets, check_name, counted, read_external, write_external
from skinaudit.artifacts.files import Progress
from skinaudit.artifacts.manifest import RunManifest, read_run, record, resolve, versions
from skinaudit.artifacts.pictures import near_copies, pixel_digests, read_pictures
from skinaudit.artifacts.run_folder import RunFolder, set_files
from skinaudit.artifacts.run_sets import open_clean_set
from skinaudit.errors import InvalidInputError
from skinaudit.trainer.checkpoint import load_run_model
from skinaudit.trainer.data.dataset import Dataset, of_rows
from skinaudit.trainer.generate import AttackPlan, write_adversarial_set, write_clean_set
from skinaudit.trainer.models import folded

OWN, NEAR = "images of the run itself", "near-copies of images of the run"
"""Reasons for leaving an image out of external sets."""


@dataclass(frozen=True)
class Written:
    """What attack_external wrote: the folder, its description, and every new set, the clean one first."""

    folder: Path
    external: ExternalSets
    sets: tuple[AdversarialSet, ...]


def attack_external(
    run: Path,
    dataset: Dataset,
    plans: Sequence[AttackPlan],
    *,
    name: str,
    seed: int = 0,
    progress: Callable[[str], Progress | None] = lambda _: None,
) -> Written:
    """Write clean and adversarial sets of `dataset`, with the run's model, into the run's folder `external/NAME`.

    dataset: with the run's size and classes. Images with the same pixels as an image of the run, and near-copies of one, are
    left out and counted. If the folder already contains sets of the same data, further attacks are added. Raises
    InvalidInputError if nothing is left, or if the folder contains sets of other data.
    """
    manifest, folder = read_run(run), RunFolder(run).external / check_name(name)
    RunFolder(run).check_links()
    model = folded(load_run_model(run))
    before = _earlier(folder, dataset, name)
    if before is None:
        kept, left_out = _unseen(run, manifest, dataset, progress("comparing with the images of the run"))
        frames = None if dataset.frames is None else dataset.frames[kept]
        clean = write_clean_set(
            folder / f"{CLEAN}.safetensors", model,
            images=dataset.images[kept], labels=dataset.labels[kept], group=dataset.groups[kept],
            ids=tuple(dataset.ids[index] for index in kept), source=manifest.weights.digest, contract=manifest.contract,
            dataset=dataset.title, synthetic=dataset.synthetic, subgroups=of_rows(dataset, kept).subgroups,
        )  # fmt: skip
        versions_now = versions("torch", "torchvision")
        before = ExternalSets(name, dataset.title, dataset.digest, left_out, {}, versions_now, counted(frames))
        new = [clean]
    else:
        clean, new = open_set(resolve(folder, before.sets[CLEAN])), []
    files = dict(before.sets)
    for plan in plans:
        path = folder / f"{plan.name}.safetensors"
        bar = progress(f"{plan.attack} {plan.threat_model}")
        new.append(write_adversarial_set(path, model, clean, plan, source=manifest.weights.digest, seed=seed, progress=bar))
    files |= {opened.info.name: record(opened.path, relative_to=folder) for opened in new}
    external = replace(before, sets=files)
    write_external(folder, external)
    return Written(folder, external, tuple(new))


def _earlier(folder: Path, dataset: Dataset, name: str) -> ExternalSets | None:
    """What the folder already contains of the same data; raises InvalidInputError if it contains anything else."""
    before = read_external(folder)
    if before is not None and before.data != dataset.digest:
        raise InvalidInputError(
            f"{folder}: holds sets of other data already ({before.dataset}); choose another --name, or delete the folder"
        )
    if before is None and folder.is_dir() and set_files(folder):
        # Nothing half-written is read: the description is written last, so these files are from an interrupted call.
        for path in set_files(folder):
            path.unlink()
    return before


def _unseen(
    run: Path, manifest: RunManifest, dataset: Dataset, progress: Progress | None
) -> tuple[NDArray[np.intp], dict[str, int]]:
    """Ascending indices of the images that are not the run's or near-copies of them, and the number for each reason."""
    clean = open_clean_set(run, manifest)
    own = [pixel_digests(image for batch in clean.batches(128) for image in batch)]
    pictures = None if manifest.pictures is None else read_pictures(resolve(run, manifest.pictures))
    if pictures is not None:
        own.append(pictures.pixels)
    same = np.isin(pixel_digests(dataset.images), np.concatenate(own))
    near = ~same & (near_copies(dataset.images, pictures, clean.batches(128), progress=progress) >= 0)
    kept = np.flatnonzero(~same & ~near)
    if not len(kept):
        raise InvalidInputError(
            f"{dataset.title}: every one of its {len(dataset):,} images belongs to the run, or is a near-copy of such an "
            f"image; the sets of the run are in {RunFolder(run).sets}, and `skinaudit audit` takes them without --sets"
        )
    return kept, {reason: int(left_out.sum()) for reason, left_out in ((OWN, same), (NEAR, near)) if left_out.any()}
