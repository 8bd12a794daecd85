"""Any tree of folders whose names are the classes: `CLASS/*.jpg`, or `train|val|test/CLASS/*.jpg`."""

from __future__ import annotations

import codecs
import re
from collections.abc import Collection
from pathlib import Path

from skinaudit.errors import InvalidInputError
from skinaudit.trainer.data.records import IMAGE_SUFFIXES, Listing, Record

LOOKS_FOR = "folders named after the classes (CLASS/*.jpg, or train|val|test/CLASS/*.jpg)"
LAST = True
"""Folders of images are part of other layouts, too: this one is tried where no other fits."""

_PARTS = {"train": 0, "training": 0, "val": 1, "valid": 1, "validation": 1, "test": 2, "testing": 2}
_TABLES = (".csv", ".tsv", ".tab")
_TABLE_BYTES = 1 << 16  # of a table that is searched for names of images


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

    Raises InvalidInputError where a table among `files` lists the images: it may say more of them than the folders do.
    """
    images = _images(files)
    _refuse_table(files, {path.stem for path in images})
    divided = any(_part_of(path.parent.parent) is not None and path.parent.parent != root for path in images)
    records = [
        Record(name := path.relative_to(root).as_posix(), name, path.parent.name, (path,),
               _part_of(path.parent.parent) if divided else None)
        for path in images
    ]  # fmt: skip
    classes = tuple(sorted({record.label for record in records}))
    title = f"{root.name} (folders, no lesion ids: each image is its own lesion)"
    return Listing(title, root, classes, (), tuple(sorted(records, key=lambda record: record.image_id)), ())


def _images(files: Collection[Path]) -> list[Path]:
    """The images among the files, without what systems hide there."""
    hidden = re.compile(r"^(\.|__MACOSX)")
    return [
        path
        for path in files
        if path.suffix.lower() in IMAGE_SUFFIXES and not hidden.match(path.name) and not hidden.match(path.parent.name)
    ]


def _part_of(folder: Path) -> int | None:
    return _PARTS.get(folder.name.lower())


def _refuse_table(files: Collection[Path], stems: Collection[str]) -> None:
    for table in files:
        if table.suffix.lower() not in _TABLES:
            continue
        with table.open("rb") as stream:
            content = stream.read(_TABLE_BYTES)
        wide = content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        lines = content.decode("utf-16" if wide else "utf-8", "replace").splitlines()
        words = (re.split(r"[\s,;\"']+", line) for line in lines)
        listed = [named for line in words if (named := [word for word in line if word and Path(word).stem in stems])]
        if 2 * len(listed) >= len(lines) > 0:
            raise InvalidInputError(
                f"{table}: lists images such as {listed[0][0]}, and no known layout has this table; take it out of the "
                "folder to use the names of the folders as the classes"
            )
