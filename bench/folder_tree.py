"""Makes folder trees of a HAM10000 folder, as links: by part and diagnosis, or by diagnosis and site.

python bench/folder_tree.py HAM10000/ trees/parts --by part
python bench/folder_tree.py HAM10000/ trees/sites --by site
"""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import click

CLASSES: Mapping[str, str] = {
    "mel": "melanoma", "bcc": "carcinoma", "akiec": "carcinoma", "nv": "nevus", "bkl": "keratosis", "df": "other",
    "vasc": "other",
}  # fmt: skip
"""Diagnosis -> folder of the tree by part."""


@click.command()
@click.argument("source", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--by", type=click.Choice(["part", "site"]), default="part", show_default=True,
              help="part: train|val|test/CLASS of five classes, lesions whole. site: the 30 commonest pairs of diagnosis "
              "and site.")  # fmt: skip
def main(source: Path, target: Path, by: str) -> None:
    """Link the images of SOURCE into folders below TARGET that are named after classes."""
    with next(source.rglob("HAM10000_metadata.csv")).open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    images = {path.stem: path.resolve() for path in source.rglob("*.jpg")}
    pairs = Counter(_pair(row) for row in rows if row["image_id"] in images)
    common = {pair for pair, _ in pairs.most_common(30)}
    linked = 0
    for row in rows:
        if row["image_id"] not in images or (by == "site" and _pair(row) not in common):
            continue
        folder = target / (_pair(row) if by == "site" else f"{_part(row['lesion_id'])}/{CLASSES[row['dx']]}")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{row['image_id']}.jpg").symlink_to(images[row["image_id"]])
        linked += 1
    click.echo(f"{target}: {linked:,} images")


def _pair(row: Mapping[str, str]) -> str:
    return f"{row['dx']} {row['localization']}"


def _part(lesion: str) -> str:
    """Seven tenths of the lesions train, one validates, two test; always the same ones."""
    share = int(hashlib.sha256(lesion.encode()).hexdigest()[:8], 16) / 16**8
    return "train" if share < 0.7 else "val" if share < 0.8 else "test"


if __name__ == "__main__":
    main()
