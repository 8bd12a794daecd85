"""What the comparison of pictures joins, what it misses, and how long it takes: docs/results/near-copies.md.

    python bench/near_copies.py --data HAM10000 --output docs/results/near-copies.md

Edited copies are made of real images; only figures are written.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from skinaudit.artifacts.adversarial_set import open_set
from skinaudit.artifacts.likeness import cells_of, copied_from, from_bytes, reduced_luminance, to_bytes
from skinaudit.audit.evidence.near_copies import join_copies
from skinaudit.trainer.data.load import load

Pictures = NDArray[np.uint8]
COPIED = 100
"""Pictures that each edit is tried on."""


def main() -> None:
    """Parse the command line, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data")
    parser.add_argument("--clean", type=Path, help="clean set of a run: only the comparison with a run, on its images")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    if options.clean is not None:
        clean = open_set(options.clean)
        print("\n\n".join(_run_tables(np.concatenate(list(clean.batches(256))), clean.group)))
        return
    if options.data is None or options.output is None:
        parser.error("give --data and --output, or --clean")
    dataset = load(options.data, size=options.size)
    order = np.random.default_rng(0).permutation(len(dataset))
    images, groups = np.asarray(dataset.images)[order], dataset.groups[order]
    options.output.write_text(_page(images, groups, options.size), encoding="utf-8")


def _page(images: Pictures, groups: NDArray[np.int64], size: int) -> str:
    apart = ["| images | lesions | joined with another | CPU seconds |", "| ---: | ---: | ---: | ---: |"]
    for count in sorted({min(1_500, len(images)), len(images)}):
        lesions = np.unique(groups[:count], return_inverse=True)[1].astype(np.int64)
        started = time.process_time()
        joined = join_copies(reduced_luminance(images[:count]), lesions)
        seconds = time.process_time() - started
        all_lesions, remaining = len(np.unique(lesions)), len(np.unique(joined))
        apart.append(f"| {count:,} | {all_lesions:,} | {all_lesions - remaining} | {seconds:.1f} |")
    edits = ["| edit | found, of copies |", "| --- | ---: |"]
    edits += [f"| {name} | {share:.0%} |" for name, share in _shares_found(images[:1_500]).items()]
    lines = "\n".join(apart), "\n".join(edits), *_run_tables(images, groups)
    return f"""# Near-copies: what is found, and what is joined by mistake

    python bench/near_copies.py --data HAM10000 --output docs/results/near-copies.md

HAM10000 images at {size} x {size} pixels in random order, one thread. An audit compares the pictures of its clean set once.

## Lesions that are said to be different

{lines[0]}

A joined pair may really show one lesion under two names; this was not checked. So the third column is an upper
bound of the mistakes.

## Edited copies under invented lesions

{COPIED} pictures are copied, one edit at a time, among {min(1_500, len(images)):,} images.

{lines[1]}

## External images against those of a run

The images of seven in ten lesions stand for the run's images; each is stored as 256 cells with 8 bits. The others are
external images.

{lines[2]}

{COPIED} pictures of the run, edited and given as external images:

{lines[3]}
"""


def _run_tables(images: Pictures, groups: NDArray[np.int64]) -> tuple[str, str]:
    row, shares = _against_a_run(images, groups)
    false_copies = ["| external images | recorded | called copies | CPU seconds |", "| ---: | ---: | ---: | ---: |", row]
    edited = [
        "| edit | found, of copies |",
        "| --- | ---: |",
        *(f"| {name} | {share:.0%} |" for name, share in shares.items()),
    ]
    return "\n".join(false_copies), "\n".join(edited)


def _against_a_run(images: Pictures, groups: NDArray[np.int64]) -> tuple[str, dict[str, float]]:
    """How many images of other lesions are called copies, and which share of edited copies is found."""
    lesions = np.unique(groups)
    own = np.isin(groups, lesions[: int(0.7 * len(lesions))])
    recorded = from_bytes(to_bytes(cells_of(reduced_luminance(images[own]))))
    started = time.process_time()
    copied = copied_from(reduced_luminance(images[~own]), recorded)
    seconds = time.process_time() - started
    edits = _edits(np.random.default_rng(0)).items()
    copies = images[own][:COPIED]
    shares = {
        name: float((copied_from(reduced_luminance(edit(copies)), recorded) == np.arange(len(copies))).mean())
        for name, edit in edits
    }
    return f"| {int((~own).sum()):,} | {int(own.sum()):,} | {int((copied >= 0).sum())} | {seconds:.1f} |", shares


def _shares_found(images: Pictures) -> dict[str, float]:
    generator = np.random.default_rng(0)
    reduced, count = reduced_luminance(images), len(images)
    shares = {}
    for name, edit in _edits(generator).items():
        pictures = np.concatenate([reduced, reduced_luminance(edit(images[:COPIED]))])
        joined = join_copies(pictures, np.arange(len(pictures)))
        shares[name] = float((joined[:COPIED] == joined[count:]).mean())
    return shares


def _edits(generator: np.random.Generator) -> Mapping[str, Callable[[Pictures], Pictures]]:
    def noisy(sigma: float) -> Callable[[Pictures], Pictures]:
        return lambda images: np.clip(images + generator.normal(0, sigma, images.shape), 0, 255).astype(np.uint8)

    def shifted(pixels: int) -> Callable[[Pictures], Pictures]:
        edge = ((0, 0), (0, 0), (pixels, 0), (0, pixels))
        return lambda images: np.pad(images, edge, mode="edge")[:, :, :-pixels, pixels:]

    return {
        "12% brighter": lambda images: np.clip(images * 1.12, 0, 255).astype(np.uint8),
        "20 levels darker": lambda images: np.clip(images.astype(np.int64) - 20, 0, 255).astype(np.uint8),
        "JPEG, quality 70": lambda images: _edited(images, lambda image: _jpeg(image, 70)),
        "JPEG, quality 40": lambda images: _edited(images, lambda image: _jpeg(image, 40)),
        "shifted by 1 pixel": shifted(1),
        "shifted by 2 pixels": shifted(2),
        "border of 1 pixel cropped": lambda images: _edited(images, lambda image: _cropped(image, 1)),
        "border of 2 pixels cropped": lambda images: _edited(images, lambda image: _cropped(image, 2)),
        "border of 6 pixels cropped": lambda images: _edited(images, lambda image: _cropped(image, 6)),
        "noise, 4 levels": noisy(4),
        "noise, 8 levels": noisy(8),
        "noise, 16 levels": noisy(16),
        "mirrored": lambda images: images[..., ::-1],
        "turned by 90 degrees": lambda images: np.rot90(images, 1, (2, 3)),
        "turned by 10 degrees": lambda images: _edited(images, lambda image: image.rotate(10)),
        "mirrored, shifted by 1, noise of 4": lambda images: noisy(4)(shifted(1)(images[..., ::-1])),
    }


def _edited(images: Pictures, edit: Callable[[Image.Image], Image.Image]) -> Pictures:
    rows = [np.asarray(edit(Image.fromarray(image))) for image in images.transpose(0, 2, 3, 1)]
    return np.stack(rows).transpose(0, 3, 1, 2)


def _jpeg(image: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "jpeg", quality=quality)
    return Image.open(io.BytesIO(stream.getvalue())).convert("RGB")


def _cropped(image: Image.Image, border: int) -> Image.Image:
    side = image.width
    return image.crop((border, border, side - border, side - border)).resize((side, side), Image.Resampling.BILINEAR)


if __name__ == "__main__":
    main()
