"""External sets and the run of the engine: what is known about their images and about the run's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skinaudit.artifacts.adversarial_set import CLEAN, AdversarialSet, open_set
from skinaudit.artifacts.external import ExternalSets, read_external
from skinaudit.artifacts.manifest import RunManifest, read_run, resolve
from skinaudit.artifacts.operating_point import OperatingPoint
from skinaudit.artifacts.pictures import (
    PARTS,
    Pictures,
    measure,
    name_digests,
    near_copies,
    pixel_digests,
    read_pictures,
)
from skinaudit.artifacts.run_folder import EXTERNAL_FILE, RunFolder, set_files
from skinaudit.errors import InvalidInputError


@dataclass(frozen=True, eq=False)
class ExternalImages:
    """External sets and a run.

    run_dataset: title of the run's data, None if the run is not available; a foreign engine has none. recorded: whether the
    run recorded its pictures. trained_on: number of images that are, pixel for pixel, in the run's training or validation
    part; tested_on: in its test part. near_trained, near_tested: number of further near-copies of those; near_recorded:
    whether near-copies of training pictures could be searched. same_names: images that are none of these but have the name
    of a picture of the run. own_sets: the run's own sets crafted with the same settings, clean first; empty without the run.
    looks: statistics of the clean images, float32 (N, skinaudit.artifacts.pictures.STATISTICS); own_looks: of the training
    pictures, None if the run has none. frames, own_frames: their widths and heights before resizing, integers (N, 2); None
    if unknown. operating_points: those of the run.
    """

    described: ExternalSets
    foreign: bool
    run_dataset: str | None
    recorded: bool
    trained_on: int
    tested_on: int
    near_trained: int
    near_tested: int
    near_recorded: bool
    same_names: int
    own_sets: tuple[AdversarialSet, ...]
    looks: NDArray[np.float32]
    own_looks: NDArray[np.float32] | None
    frames: NDArray[np.int64] | None = None
    own_frames: NDArray[np.int32] | None = None
    operating_points: tuple[OperatingPoint, ...] = ()


def external_paths(folder: Path | None) -> tuple[ExternalSets, list[Path]] | None:
    """Description and files of a folder of external sets, digests verified; None if the folder is not external.

    Raises InvalidInputError for a set that the description does not name, and for one that was changed.
    """
    described = None if folder is None else read_external(folder)
    if described is None or folder is None:
        return None
    paths = [resolve(folder, file) for file in described.sets.values()]
    strange = [path.name for path in set_files(folder) if path not in paths]
    if strange:
        raise InvalidInputError(
            f"{folder}: {EXTERNAL_FILE} does not name {strange[0]}; move it away, or write it with "
            "`skinaudit attack RUN --data DIR`"
        )
    return described, paths


def read_external_images(described: ExternalSets, sets: Sequence[AdversarialSet], *, folder: Path | None) -> ExternalImages:
    """Compare external sets, the clean one first, with the run in `folder`; None for a foreign engine."""
    clean = sets[0]
    images = np.concatenate(list(clean.batches(256)))
    run = read_run(folder) if folder is not None and RunFolder(folder).has_manifest else None
    own_sets: tuple[AdversarialSet, ...] = ()
    pictures, of_run = None, np.zeros((2, len(clean)), bool)
    same_names, near = np.zeros(len(clean), bool), np.full(len(clean), -1, np.int8)
    if run is not None and folder is not None:
        own_sets = _own_counterparts(folder, run, sets)
        pictures = None if run.pictures is None else read_pictures(resolve(folder, run.pictures))
        of_run, same_names = _in_run(images, clean.ids, pictures, own_sets)
        near = near_copies(images, pictures, own_sets[0].batches(128) if own_sets else ())
        near[of_run.any(axis=0)] = -1
    return ExternalImages(
        described=described,
        foreign=folder is None,
        run_dataset=None if run is None else str(run.data["title"]),
        recorded=pictures is not None,
        trained_on=int(of_run[0].sum()),
        tested_on=int(of_run[1].sum()),
        near_trained=int(np.isin(near, [PARTS.index("train"), PARTS.index("val")]).sum()),
        near_tested=int((near == PARTS.index("test")).sum()),
        near_recorded=pictures is not None and pictures.cells is not None,
        same_names=int((same_names & ~of_run.any(axis=0) & (near < 0)).sum()),
        own_sets=own_sets,
        looks=measure(images),
        own_looks=None if pictures is None else pictures.statistics,
        frames=_frames(described, clean),
        own_frames=None if pictures is None else pictures.frames,
        operating_points=() if run is None else run.operating_points,
    )


def _frames(described: ExternalSets, clean: AdversarialSet) -> NDArray[np.int64] | None:
    """Width and height of each image, int64 (N, 2), in no order; None if unknown."""
    if not described.frames:
        return None
    if (counted := sum(count for _, _, count in described.frames)) != len(clean):
        raise InvalidInputError(
            f"{clean.path.parent / EXTERNAL_FILE}: frames are of {counted:,} images, {clean.path.name} has {len(clean):,}; "
            "write the sets again with `skinaudit attack RUN --data DIR`"
        )
    rows = np.array(described.frames, np.int64)
    return np.repeat(rows[:, :2], rows[:, 2], axis=0)


def _own_counterparts(folder: Path, run: RunManifest, sets: Sequence[AdversarialSet]) -> tuple[AdversarialSet, ...]:
    """The run's clean set, and its adversarial sets with the same attack, threat model and settings."""
    if CLEAN not in run.sets:
        return ()
    wanted = [_recipe(image_set) for image_set in sets]
    opened = [open_set(resolve(folder, file)) for file in run.sets.values()]
    own = [image_set for image_set in opened if image_set.info.source == run.weights.digest]
    return tuple(
        sorted(
            (image_set for image_set in own if _recipe(image_set) in wanted),
            key=lambda image_set: image_set.info.attack != CLEAN,
        )
    )


def _recipe(image_set: AdversarialSet) -> tuple[object, ...]:
    return image_set.info.attack, image_set.info.threat_model, dict(image_set.info.settings)


def _in_run(
    images: NDArray[np.uint8], names: Sequence[str], pictures: Pictures | None, own_sets: Sequence[AdversarialSet]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Masks of the images in training or validation and in the test of the run, bool (2, N), and of shared names."""
    digests = pixel_digests(images)
    tested = [] if pictures is None else [pictures.those_of("test")]
    tested_names = [] if pictures is None else [pictures.names]
    if own_sets:
        tested.append(pixel_digests(image for batch in own_sets[0].batches(128) for image in batch))
        tested_names.append(name_digests(own_sets[0].ids))
    trained = np.zeros(len(images), bool) if pictures is None else np.isin(digests, pictures.those_of("train", "val"))
    in_test = np.isin(digests, np.concatenate(tested)) if tested else np.zeros(len(images), bool)
    named = np.isin(name_digests(names), np.concatenate(tested_names)) if tested_names else np.zeros(len(images), bool)
    return np.stack([trained, in_test]), named
