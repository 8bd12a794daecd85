"""The table that the ISIC Archive provided before its diagnoses had levels: one column `diagnosis`.

Columns that are read: isic_id, attribution, age_approx, anatom_site_general, benign_malignant, diagnosis,
fitzpatrick_skin_type, lesion_id, patient_id, sex. Diagnoses outside the eight of ISIC 2019 become benign_other,
malignant_other or indeterminate, by `benign_malignant`. Spellings: https://github.com/ImageMarkup/isic-metadata (fields.py
before version 2)
"""

from __future__ import annotations

import dataclasses

from skinaudit.trainer.data.archives._archive import Line, NoLabel
from skinaudit.trainer.data.archives.isic import ARCHIVE as TODAY

_BY_NAME = {
    "melanoma": "mel",
    "melanoma metastasis": "mel",
    "nevus": "nv",
    "nevus spilus": "nv",
    "basal cell carcinoma": "bcc",
    "actinic keratosis": "ak",
    "pigmented benign keratosis": "bkl",
    "seborrheic keratosis": "bkl",
    "solar lentigo": "bkl",
    "lichenoid keratosis": "bkl",
    "dermatofibroma": "df",
    "vascular lesion": "vasc",
    "angioma": "vasc",
    "angiokeratoma": "vasc",
    "pyogenic granuloma": "vasc",
    "squamous cell carcinoma": "scc",
}


def _label(line: Line) -> str:
    name, broad = line["diagnosis"].casefold(), line["benign_malignant"].casefold()
    if name in _BY_NAME:
        return _BY_NAME[name]
    if broad.startswith("indeterminate"):
        return "indeterminate"
    if broad in ("benign", "malignant"):
        return f"{broad}_other"
    raise NoLabel(f"diagnosis {line['diagnosis']!r} and benign_malignant {line['benign_malignant']!r} name no class")


ARCHIVE = dataclasses.replace(
    TODAY,
    title="ISIC Archive (before 2025)",
    needs=("isic_id", "diagnosis", "benign_malignant"),
    unless=("diagnosis_1",),
    label=_label,
)
