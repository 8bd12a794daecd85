"""ISIC 2024 (SLICE-3D), as the challenge's own page hands it out: ground truth in a table of its own.

Columns of the ground truth: isic_id, malignant; of the metadata beside it those of Kaggle's table without target.
https://challenge2024.isic-archive.com
"""

from __future__ import annotations

import dataclasses

from skinaudit.trainer.data.archives._archive import zero_or_one
from skinaudit.trainer.data.archives.isic2024 import ARCHIVE as KAGGLE

ARCHIVE = dataclasses.replace(
    KAGGLE,
    title="ISIC 2024 (challenge)",
    needs=("isic_id", "malignant"),
    unless=("target",),
    label=zero_or_one("malignant"),
)
