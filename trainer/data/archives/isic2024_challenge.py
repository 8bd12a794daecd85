"""ISIC 2024 (SLICE-3D) as distributed on the challenge's own page: ground truth in a separate table.

Columns of the ground truth: isic_id, malignant; of the metadata beside it: those of Kaggle's table without target. Source:
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
