"""External sets: another data set's images, clean and attacked on a finished run's model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.adversarial_set import CLEAN, AdversarialSet, open_set
from skinaudit.artifacts.external import ExternalSets, check_name, read_external, write_external
from skinaudit.artifacts.files import Progress
from skinaudit.artifacts.manifest import RunManifest, read_run, record, resolve, versions
from skinaudit.artifacts.pictures import pixel_digests, read_pictures
from skinaudit.artifacts.run_folder import RunFolder, set_files
from skinaudit.artifacts.run_sets import open_clean_set
from skinaudit.errors import InvalidInputError
from skinaudit.trainer.checkpoint import load_run_model
from skinaudit.trainer.data.dataset import Dataset, of_rows
from skinaudit.trainer.generate import AttackPlan, write_adversarial_set, write_clean_set
from skinaudit.trainer.models import folded

OWN = "images of the run itself"
"""Why an image is left out of external sets."""


@dataclass(frozen=True)
class Written:
    """What attack_external wrote: the folder, its description, and every set that is new, the clean one first."""

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
    """Write clean and adversarial sets of `dataset` with the run's model into the run's folder `external/NAME`.

    dataset: of the run's size and classes. Images whose pixels are those of an image of the run are left out and counted. A
    folder that holds sets of the same data already gets further attacks. Raises InvalidInputError where nothing is left, and
    where the folder holds sets of other data.
    """
    manifest, folder = read_run(run), RunFolder(run).external / check_name(name)
    model = folded(load_run_model(run))
    before = _earlier(folder, dataset, name)
    if before is None:
        kept = _unseen(run, manifest, dataset)
        left_out = {OWN: len(dataset) - len(kept)} if len(kept) < len(dataset) else {}
        clean = write_clean_set(
            folder / f"{CLEAN}.safetensors", model,
            images=dataset.images[kept], labels=dataset.labels[kept], group=dataset.groups[kept],
            ids=tuple(dataset.ids[index] for index in kept), source=manifest.weights.digest, contract=manifest.contract,
            dataset=dataset.title, synthetic=dataset.synthetic, subgroups=of_rows(dataset, kept).subgroups,
        )  # fmt: skip
        versions_now = versions("torch", "torchvision")
        before = ExternalSets(name, dataset.title, dataset.digest, left_out, {}, versions_now)
        new = [clean]
    else:
        clean, new = open_set(resolve(folder, before.sets[CLEAN])), []
    files = dict(before.sets)
    for plan in plans:
        path = folder / f"{plan.name}.safetensors"
        bar = progress(f"{plan.attack} {plan.threat_model}")
        new.append(write_adversarial_set(path, model, clean, plan, source=manifest.weights.digest, seed=seed, progress=bar))
    files |= {opened.info.name: record(opened.path, relative_to=folder) for opened in new}
    external = ExternalSets(name, before.dataset, before.data, before.left_out, files, before.created_with)
    write_external(folder, external)
    return Written(folder, external, tuple(new))


def _earlier(folder: Path, dataset: Dataset, name: str) -> ExternalSets | None:
    """What the folder holds already of the same data; raises InvalidInputError where it is something else."""
    before = read_external(folder)
    if before is not None and before.data != dataset.digest:
        raise InvalidInputError(
            f"{folder}: holds sets of other data already ({before.dataset}); choose another --name, or delete the folder"
        )
    if before is None and folder.is_dir() and set_files(folder):
        # Nothing half-written is read: the description is written last, so these are of an interrupted call.
        for path in set_files(folder):
            path.unlink()
    return before


def _unseen(run: Path, manifest: RunManifest, dataset: Dataset) -> NDArray[np.intp]:
    """The images whose pixels are of no image of the run: ascending indices."""
    own = [pixel_digests(image for batch in open_clean_set(run, manifest).batches(128) for image in batch)]
    if manifest.pictures is not None:
        own.append(read_pictures(resolve(run, manifest.pictures)).pixels)
    kept = np.flatnonzero(~np.isin(pixel_digests(dataset.images), np.concatenate(own)))
    if not len(kept):
        raise InvalidInputError(
            f"{dataset.title}: every one of its {len(dataset):,} images is of the run itself; its own sets are in "
            f"{RunFolder(run).sets}, and `skinaudit audit` takes them without --sets"
        )
    return kept
