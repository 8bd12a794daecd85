"""HAM10000 as distributed: a metadata table with lesion ids beside folders of JPEG images.

Tschandl, Rosendahl, Kittler, "The HAM10000 dataset", Scientific Data 5, 180161 (2018), https://doi.org/10.7910/DVN/DBW86T
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from skinaudit.artifacts.contract import CLASSES, MALIGNANT
from skinaudit.trainer.data.records import Listing, Row, assemble, find_table, read_table

TABLES = ("HAM10000_metadata.csv", "HAM10000_metadata.tab", "HAM10000_metadata")
"""The names under which the metadata is downloaded."""
LOOKS_FOR = f"{TABLES[0]} (HAM10000)"


def find(files: Collection[Path]) -> Path | None:
    """The metadata table; raises InvalidInputError where there are two that differ."""
    return find_table(files, TABLES)


def list_images(table: Path, files: Collection[Path]) -> Listing:
    """List the images of a HAM10000 metadata table (columns lesion_id, image_id, dx) among `files`.

    Raises InvalidInputError for an unusable table; unusable rows are returned in `bad`.
    """
    rows = []
    for line in read_table(table, columns=("lesion_id", "image_id", "dx")):
        known = line["dx"] in CLASSES
        problem = "" if known else f"unknown dx {line['dx']!r}, expected one of {' '.join(CLASSES)}"
        rows.append(Row(line["image_id"], line["lesion_id"], line["dx"] if known else None, problem))
    return assemble("HAM10000", table, rows, files, classes=CLASSES, malignant=MALIGNANT)
