"""A HAM10000 folder in two: images to train on, and images of other lesions as other hospitals might take them.

    python bench/other_hospital.py HAM10000/ FOLDER

Writes FOLDER/own (7 of 10 lesions), FOLDER/unseen (the others), and the latter twice more: FOLDER/scanner with a colder
colour and the middle 70% of the frame, FOLDER/negative with every colour inverted. FOLDER/square has the images of
FOLDER/own cut to the middle square of the frame.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
from pathlib import Path

import numpy as np
from PIL import Image

TABLE = "HAM10000_metadata.csv"
COLD = np.array([0.8, 0.95, 1.15]), np.array([-5.0, 5.0, 20.0])
"""Factor and addend of each colour."""


def is_own(lesion: str) -> bool:
    """Whether a lesion is among those to train on, by its name alone."""
    return int(hashlib.sha256(lesion.encode()).hexdigest(), 16) % 10 < 7


def scanner(image: Image.Image) -> Image.Image:
    """Another camera: a tighter frame and a colder colour."""
    width, height = image.size
    middle = image.crop((int(width * 0.15), int(height * 0.15), int(width * 0.85), int(height * 0.85)))
    pixels = np.asarray(middle, np.float32) * COLD[0] + COLD[1]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def negative(image: Image.Image) -> Image.Image:
    """Every colour inverted: images that no model of skin can read."""
    return Image.fromarray(255 - np.asarray(image))


def square(image: Image.Image) -> Image.Image:
    """The middle square of the frame, as tools that do not squeeze frames take it."""
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return image.crop((left, top, left + side, top + side))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    if options.folder.exists():
        parser.error(f"{options.folder}: exists already; name another folder")
    with next(options.data.rglob(TABLE)).open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    files = {path.stem: path for path in options.data.rglob("*.jpg")}
    own, unseen = ([row for row in rows if is_own(row["lesion_id"]) is from_own] for from_own in (True, False))
    parts = {
        "own": (own, None), "unseen": (unseen, None), "scanner": (unseen, scanner), "negative": (unseen, negative),
        "square": (own, square),
    }  # fmt: skip
    for name, (part, change) in parts.items():
        images = options.folder / name / "images"
        images.mkdir(parents=True)
        with (options.folder / name / TABLE).open("w", newline="") as stream:
            writer = csv.DictWriter(stream, rows[0].keys())
            writer.writeheader()
            writer.writerows(part)
        for row in part:
            source = files[row["image_id"]]
            if change is None:
                (images / source.name).symlink_to(source.resolve())
            else:
                with Image.open(source) as image:
                    change(image.convert("RGB")).save(images / source.name, quality=90)
        print(f"{name}: {len(part):,} images")


if __name__ == "__main__":
    main()
