"""Draw clean images, amplified perturbations and adversarial images of a run with the source model's predictions, as a PNG.

python examples/02_look_at_a_set.py runs/latest pgd-dlr-linf-4 look.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from skinaudit.artifacts.adversarial_set import AdversarialSet, open_set
from skinaudit.artifacts.manifest import read_run, resolve

AMPLIFY = 16


def main(run: Path, name: str, target: Path) -> None:
    """Write the picture. It shows, for each class, the first test image that the source model classifies correctly."""
    manifest = read_run(run)
    clean, adversarial = (open_set(resolve(run, manifest.sets[set_name])) for set_name in ("clean", name))
    classes = manifest.contract.classes
    right = clean.source_logits.argmax(1) == clean.labels
    chosen = [
        int(np.flatnonzero(right & (clean.labels == c))[0])
        for c in range(len(classes))
        if (right & (clean.labels == c)).any()
    ]
    before, after = (read_images(image_set)[chosen].astype(int) for image_set in (clean, adversarial))
    rows = (before, np.clip(128 + AMPLIFY * (after - before), 0, 255), after)
    figure = Figure(figsize=(1.6 * len(chosen), 5.6), layout="constrained")
    FigureCanvasAgg(figure)
    for row, (images, axes) in enumerate(zip(rows, figure.subplots(3, len(chosen), squeeze=False), strict=True)):
        for column, (image, axis) in enumerate(zip(images, axes, strict=True)):
            axis.imshow(image.transpose(1, 2, 0))
            axis.set(xticks=[], yticks=[])
            if row != 1:
                axis.set_title(prediction((clean, adversarial)[row // 2], chosen[column]), fontsize=9)
    for axis, label in zip(
        figure.axes[:: len(chosen)], ("clean", f"perturbation x{AMPLIFY}", adversarial.info.title), strict=True
    ):
        axis.set_ylabel(label)
    note = "  (SYNTHETIC images)" if clean.info.synthetic else ""
    figure.suptitle(f"{manifest.name}: predictions of the source model{note}", fontsize=11)
    figure.savefig(target, dpi=72)
    print(target)


def read_images(image_set: AdversarialSet) -> NDArray[np.uint8]:
    """All images of a set, uint8 (N, 3, H, W)."""
    return np.concatenate(list(image_set.batches(256)))


def prediction(image_set: AdversarialSet, index: int) -> str:
    """The class that the source model predicts, with its probability, and the true class if it differs."""
    logits = image_set.source_logits[index].astype(float)
    shares = np.exp(logits - logits.max())
    top, truth = int(logits.argmax()), int(image_set.labels[index])
    classes = image_set.info.contract.classes
    text = f"{classes[top]} {100 * shares[top] / shares.sum():.0f}%"
    return text if top == truth else f"{text}\n(is {classes[truth]})"


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
