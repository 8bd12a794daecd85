"""ISIC 2018 Task 3: ground truth of training, validation and test, one column per class; lesions in a second table.

Columns: image, MEL, NV, BCC, AKIEC, BKL, DF, VASC; in the table of lesion groupings: image, lesion_id,
diagnosis_confirm_type. Source: Codella et al., "Skin Lesion Analysis Toward Melanoma Detection 2018",
https://arxiv.org/abs/1902.03368; https://challenge.isic-archive.com/data/#2018
"""

from __future__ import annotations

from skinaudit.artifacts.contract import CLASSES, MALIGNANT
from skinaudit.trainer.data.archives._archive import Archive, one_hot

ARCHIVE = Archive(
    title="ISIC 2018 Task 3",
    image="image",
    needs=("image", *(name.upper() for name in CLASSES)),
    label=one_hot({name: name for name in CLASSES}),
    classes=CLASSES,
    malignant=MALIGNANT,
    complete=True,
    lesion="lesion_id",
    each_has_lesion=True,
)
