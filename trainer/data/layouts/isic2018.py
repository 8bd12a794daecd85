"""ISIC 2018 Task 3: a one-hot ground-truth table beside a folder of JPEG images, lesion groupings in a second table.

Codella et al., "Skin Lesion Analysis Toward Melanoma Detection 2018", https://arxiv.org/abs/1902.03368
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from pathlib import Path

from skinaudit.artifacts.contract import CLASSES, MALIGNANT
from skinaudit.trainer.data.records import Listing, Row, assemble, find_table, read_table

TABLE = "ISIC2018_Task3_Training_GroundTruth.csv"
GROUPINGS = "ISIC2018_Task3_Training_LesionGroupings.csv"
LOOKS_FOR = f"{TABLE} (ISIC 2018 Task 3)"


def find(files: Collection[Path]) -> Path | None:
    """The ground truth; raises InvalidInputError where there are two that differ."""
    return find_table(files, (TABLE,))


def list_images(table: Path, files: Collection[Path]) -> Listing:
    """List the images of an ISIC 2018 Task 3 ground truth among `files`.

    Without the lesion groupings each image is its own lesion, and the title says so. Raises InvalidInputError for an
    unusable table; unusable rows are returned in `bad`.
    """
    groupings = find_table(files, (GROUPINGS,))
    lesions: dict[str, set[str]] = defaultdict(set)
    if groupings is not None:
        for line in read_table(groupings, columns=("image", "lesion_id")):
            lesions[line["image"]].add(line["lesion_id"])
    rows = []
    for line in read_table(table, columns=("image", *(name.upper() for name in CLASSES))):
        label, problem = _read_one_hot(line)
        mine = lesions[line["image"]] if groupings is not None else {line["image"]}
        if len(mine) != 1:
            problem = problem or f"{len(mine)} lesions in {GROUPINGS}"
        rows.append(Row(line["image"], min(mine, default=""), label, problem))
    title = (
        "ISIC 2018 Task 3" if groupings is not None else f"ISIC 2018 Task 3 (no {GROUPINGS}: each image is its own lesion)"
    )
    return assemble(title, table, rows, files, classes=CLASSES, malignant=MALIGNANT)


def _read_one_hot(line: Mapping[str, str]) -> tuple[str | None, str]:
    texts = [line[name.upper()] for name in CLASSES]
    try:
        values = [float(text) for text in texts]
    except ValueError:
        values = []
    if sorted(values) != [0.0] * (len(CLASSES) - 1) + [1.0]:
        return None, f"not one-hot: {' '.join(text or '(empty)' for text in texts)}"
    return CLASSES[values.index(1.0)], ""
