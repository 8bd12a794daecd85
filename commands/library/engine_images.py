"""The clean set for an engine of another tool: any images, at the engine's size, stored beside the engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from skinaudit.commands.library.optional import need

if TYPE_CHECKING:
    from skinaudit.artifacts.files import Progress
    from skinaudit.trainer.data.dataset import Dataset


def images_for(
    engine: Path,
    data: str,
    *,
    size: int,
    name: str | None,
    classes: Path | None = None,
    progress: Callable[[str], Progress | None],
    remark: Callable[[str], None],
) -> Path:
    """Write the clean set of `data` for an engine without a model; returns its folder `ENGINE.external/NAME`.

    classes: a file that merges, renames, orders and marks the classes of the data. A folder with the same data is left as it
    is. If data or classes have changed since, its set is written again, and remark is called with a line about it. Raises
    InvalidInputError for data that cannot be used, and for a folder of other data, without a common image.
    """
    need("--data", "PIL")
    from skinaudit.artifacts.external import check_name, name_of
    from skinaudit.trainer.data.classes import read_classes
    from skinaudit.trainer.data.load import load

    name = check_name(name or name_of(data))
    dataset = load(
        data, size=size, progress=progress("reading images"), classes=None if classes is None else read_classes(classes)
    )
    return _write(engine.with_name(f"{engine.name}.external") / name, dataset, name=name, remark=remark)


def _write(folder: Path, dataset: Dataset, *, name: str, remark: Callable[[str], None]) -> Path:
    import numpy as np

    from skinaudit.artifacts.adversarial_set import CLEAN, SetInfo, open_set, write_set
    from skinaudit.artifacts.contract import InputContract
    from skinaudit.artifacts.external import ExternalSets, counted, read_external, write_external
    from skinaudit.artifacts.manifest import record, versions
    from skinaudit.artifacts.pictures import pixel_digests
    from skinaudit.artifacts.run_folder import SET_SUFFIX
    from skinaudit.errors import InvalidInputError

    path = folder / f"{CLEAN}{SET_SUFFIX}"
    before = read_external(folder)
    if before is not None:
        stored = open_set(path)
        about = stored.info.contract
        if before.data == dataset.digest and (about.classes, about.malignant) == (dataset.classes, dataset.malignant):
            return folder
        if sorted(stored.ids) != sorted(dataset.ids):
            earlier = pixel_digests(image for batch in stored.batches(128) for image in batch)
            if not np.isin(pixel_digests(dataset.images), earlier).any():
                raise InvalidInputError(
                    f"{folder}: holds other images already ({before.dataset}); choose another --name, or move it away"
                )
            remark(
                f"{folder}: the images have changed ({len(stored):,} before, {len(dataset):,} now); writing this set anew"
            )
    contract = InputContract(size=dataset.size, classes=dataset.classes, malignant=dataset.malignant)
    created = versions("numpy", "pillow")
    info = SetInfo(
        name=CLEAN, attack=CLEAN, threat_model=None, settings={}, seed=0, source="", clean="", contract=contract,
        dataset=dataset.title, synthetic=dataset.synthetic, created_with=created,
    )  # fmt: skip
    no_model = np.zeros((len(dataset), len(dataset.classes)), np.float32)  # no source, so no logits of one
    write_set(path, info, images=np.asarray(dataset.images), labels=dataset.labels, group=dataset.groups, ids=dataset.ids,
              source_logits=no_model, subgroups=dataset.subgroups)  # fmt: skip
    files = {CLEAN: record(path, relative_to=folder)}
    write_external(folder, ExternalSets(name, dataset.title, dataset.digest, {}, files, created, counted(dataset.frames)))
    return folder
