"""Any folder tree whose folder names are the classes: `CLASS/*.jpg`, or `train|val|test/CLASS/*.jpg`."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path

from skinaudit.errors import first_few
from skinaudit.trainer.data.dataset import Skipped
from skinaudit.trainer.data.pictures import is_picture, is_unread_picture, why_unread
from skinaudit.trainer.data.records import Listing, Record

LOOKS_FOR = "folders named after the classes (CLASS/*.jpg, or train|val|test/CLASS/*.jpg)"
LAST = True
"""Image folders are part of other layouts too, so this layout is tried only if no other fits."""

_PARTS = {"train": 0, "training": 0, "val": 1, "valid": 1, "validation": 1, "test": 2, "testing": 2}
_MASKS = ("_mask", "_masks", "_seg", "_segmentation", "_superpixels", "-mask", "-segmentation")
"""Ends of the names of masks: pictures that show where the lesion is in the picture of the same name beside them."""


def find(files: Collection[Path]) -> Path | None:
    """The folder with the classes, or with the parts; None if the images are not all at the same depth of such a tree."""
    images = _images(files)
    folders = {path.parent for path in images}
    roots = {folder.parent for folder in folders}
    if len(roots) > 1 and all(root.name.lower() in _PARTS for root in roots):
        roots = {root.parent for root in roots}
    return roots.pop() if len(roots) == 1 and len(folders) > 1 else None


def near_miss(files: Collection[Path]) -> str:
    """What keeps pictures from being such a tree, and what to do about it; nothing if they are not nearly one."""
    images = _images(files)
    depths = Counter(len(path.parts) for path in images)
    usual = max(depths, key=lambda depth: depths[depth], default=0)
    strays = sorted(path.name for path in images if len(path.parts) != usual)
    if strays and 10 * len(strays) <= len(images) and find([path for path in images if len(path.parts) == usual]):
        return f"not in a folder of a class: {first_few(strays)}; move or remove it"
    if strays or len({path.parent for path in images}) < 2:
        return ""
    inner, outer = ({path.parents[level].name for path in images} for level in (0, 1))
    if all(name.lower() in _PARTS for name in inner):
        return f"the parts {first_few(sorted(inner))} have to be the outer folders, as in train/CLASS/*.jpg"
    others = sorted(name for name in outer if name.lower() not in _PARTS)
    if 0 < len(others) < len(outer):
        return f"parts are called train, val or test, not {first_few(others)}; rename or move it"
    return ""


def list_images(root: Path, files: Collection[Path]) -> Listing:
    """Every image below `root`. Each counts as its own lesion, and its name is its path from `root`.

    Folders whose names differ only in upper and lower case are one class. Masks beside their pictures are left out, with a
    note. Pictures in an unsupported format are listed by name.
    """
    images = _images(files)
    divided = any(_part_of(path.parent.parent) is not None and path.parent.parent != root for path in images)
    spelled = _spellings(images)
    records = [
        Record(name := path.relative_to(root).as_posix(), name, spelled[path.parent.name], (path,),
               _part_of(path.parent.parent) if divided else None)
        for path in images
    ]  # fmt: skip
    unread = [path.relative_to(root).as_posix() for path in files if is_unread_picture(path) and root in path.parents]
    bad = tuple(Skipped(name, why_unread(Path(name).name)) for name in sorted(unread))
    classes = tuple(sorted({record.label for record in records}))
    title = f"{root.name} (folders, no lesion ids: each image is its own lesion)"
    notes = [f"the folder {name} counts as class {label}" for name, label in sorted(spelled.items()) if name != label]
    masks = sorted(path.relative_to(root).as_posix() for path in _masks(files))
    if masks:
        notes.append(f"masks beside their pictures, left out: {first_few(masks)}")
    records.sort(key=lambda record: record.image_id)
    return Listing(title, root, classes, (), tuple(records), bad, tuple(notes))


def _images(files: Collection[Path]) -> list[Path]:
    masks = _masks(files)
    return [path for path in files if is_picture(path) and path not in masks]


def _masks(files: Collection[Path]) -> set[Path]:
    pictures = [path for path in files if is_picture(path)]
    names = {path.with_suffix("") for path in pictures}
    ends = ((path, end) for path in pictures for end in _MASKS if path.stem.casefold().endswith(end))
    return {path for path, end in ends if path.with_name(path.stem[: -len(end)]) in names}


def _spellings(images: Collection[Path]) -> Mapping[str, str]:
    """The class of each folder name: the most common spelling among those that differ only in case or Unicode form."""
    counts = Counter(path.parent.name for path in images)
    common: dict[str, str] = {}
    for name in sorted(counts, key=lambda name: (-counts[name], name)):
        common.setdefault(_alike(name), unicodedata.normalize("NFC", name))
    return {name: common[_alike(name)] for name in counts}


def _alike(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _part_of(folder: Path) -> int | None:
    return _PARTS.get(folder.name.lower())
