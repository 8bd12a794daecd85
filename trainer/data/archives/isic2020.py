"""ISIC 2020 (SIIM-ISIC): benign or malignant, with patients; lesions in the second version of the table.

Columns: image_name, patient_id, sex, age_approx, anatom_site_general_challenge, diagnosis, benign_malignant, target, and
lesion_id in ISIC_2020_Training_GroundTruth_v2.csv. Source: Rotemberg et al., Scientific Data 8, 34 (2021),
https://doi.org/10.1038/s41597-021-00815-z; https://challenge.isic-archive.com/data/#2020
"""

from __future__ import annotations

from skinaudit.trainer.data.archives._archive import BINARY, Archive, zero_or_one

ARCHIVE = Archive(
    title="ISIC 2020",
    image="image_name",
    needs=("image_name", "target"),
    label=zero_or_one("target"),
    classes=BINARY,
    malignant=("malignant",),
    lesion="lesion_id",
    patient="patient_id",
    subgroups={"age": ("age_approx",), "sex": ("sex",), "site": ("anatom_site_general_challenge", "anatom_site_general")},
)
