"""ISIC 2024 (SLICE-3D) as distributed by Kaggle: benign or malignant, with patients, sources and some lesions.

Columns: isic_id, target, patient_id, age_approx, sex, anatom_site_general, image_type, tbp_*, attribution,
copyright_license, lesion_id, iddx_full, iddx_1 to iddx_5, mel_*. Only lesions that were examined closely have a lesion_id.
Source: Kurtansky et al., Scientific Data 11, 884 (2024), https://doi.org/10.1038/s41597-024-03743-w
"""

from __future__ import annotations

from skinaudit.trainer.data.archives._archive import BINARY, Archive, zero_or_one

ARCHIVE = Archive(
    title="ISIC 2024",
    image="isic_id",
    needs=("isic_id", "target"),
    label=zero_or_one("target"),
    classes=BINARY,
    malignant=("malignant",),
    lesion="lesion_id",
    patient="patient_id",
    subgroups={
        "age": ("age_approx",),
        "sex": ("sex",),
        "site": ("anatom_site_general",),
        "source": ("attribution",),
    },
)
