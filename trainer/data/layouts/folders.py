"""Any tree of folders whose names are the classes: `CLASS/*.jpg`, or `train|val|test/CLASS/*.jpg`."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from skinaudit.trainer.data.dataset import Skipped
from skinaudit.trainer.data.pictures import is_picture, is_unread_picture, why_unread
from skinaudit.trainer.data.records import Listing, Record

LOOKS_FOR = "folders named after the classes (CLASS/*.jpg, or train|val|test/CLASS/*.jpg)"
LAST = True
"""Folders of images are part of other layouts, too: this one is tried where no other fits."""

_PARTS = {"train": 0, "training": 0, "val": 1, "valid": 1, "validation": 1, "test": 2, "testing": 2}


def find(files: Collection[Path]) -> Path | None:
    """The folder that holds the classes, or the parts; None where the images do not lie at one depth of such a tree."""
    images = _images(files)
    folders = {path.parent for path in images}
    roots = {folder.parent for folder in folders}
    if len(roots) > 1 and all(root.name.lower() in _PARTS for root in roots):
        roots = {root.parent for root in roots}
    return roots.pop() if len(roots) == 1 and len(folders) > 1 else None


def list_images(root: Path, files: Collection[Path]) -> Listing:
    """Every image below `root`, each its own lesion; its name is its path from there.

    Pictures in a format that is not read are set aside by name.
    """
    images = _images(files)
    divided = any(_part_of(path.parent.parent) is not None and path.parent.parent != root for path in images)
    records = [
        Record(name := path.relative_to(root).as_posix(), name, path.parent.name, (path,),
               _part_of(path.parent.parent) if divided else None)
        for path in images
    ]  # fmt: skip
    unread = [path.relative_to(root).as_posix() for path in files if is_unread_picture(path) and root in path.parents]
    bad = tuple(Skipped(name, why_unread(Path(name).name)) for name in sorted(unread))
    classes = tuple(sorted({record.label for record in records}))
    title = f"{root.name} (folders, no lesion ids: each image is its own lesion)"
    return Listing(title, root, classes, (), tuple(sorted(records, key=lambda record: record.image_id)), bad)


def _images(files: Collection[Path]) -> list[Path]:
    return [path for path in files if is_picture(path)]


def _part_of(folder: Path) -> int | None:
    return _PARTS.get(folder.name.lower())
