"""The table that the ISIC Archive now provides for a collection or a search.

Columns that are read: isic_id, attribution, age_approx, anatom_site_1 to anatom_site_5 (anatom_site_general before 2025),
diagnosis_1 to diagnosis_5, fitzpatrick_skin_type, lesion_id, patient_id, sex. `diagnosis_1` is Benign, Indeterminate or
Malignant, and each further level is finer. The classes are those of ISIC 2019; other diagnoses become benign_other,
malignant_other and indeterminate, so no image is left out. Lesion and patient are often unknown.
https://www.isic-archive.com; levels and spellings: https://github.com/ImageMarkup/isic-metadata (diagnosis_hierarchical.py)
"""

from __future__ import annotations

from skinaudit.trainer.data.archives._archive import Archive, Line, NoLabel

_OTHERS = {"benign": "benign_other", "indeterminate": "indeterminate", "malignant": "malignant_other"}
_BY_LEVELS = (
    ("mel", "malignant melanocytic proliferations", ""),
    ("nv", "benign melanocytic proliferations", "nevus"),
    ("bcc", "malignant adnexal epithelial proliferations", "basal cell carcinoma"),
    ("ak", "indeterminate epidermal proliferations", "solar or actinic keratosis"),
    ("bkl", "benign epidermal proliferations", "pigmented benign keratosis"),
    ("bkl", "benign epidermal proliferations", "seborrheic keratosis"),
    ("bkl", "benign epidermal proliferations", "solar lentigo"),
    ("bkl", "benign epidermal proliferations", "lichen planus like keratosis"),
    ("df", "benign soft tissue proliferations - fibro-histiocytic", "dermatofibroma"),
    ("vasc", "benign soft tissue proliferations - vascular", ""),
    ("vasc", "hemorrhagic lesions", ""),
    ("scc", "malignant epidermal proliferations", "squamous cell carcinoma"),
)
"""Classes, and how levels 2 and 3 of their diagnoses start. One level is not enough: `Nevus anemicus` is vascular."""


def _label(line: Line) -> str:
    first, second, third = (line.get(f"diagnosis_{level}", "").casefold() for level in (1, 2, 3))
    if first not in _OTHERS:
        expected = "Benign, Indeterminate or Malignant"
        raise NoLabel(f"diagnosis_1 {line['diagnosis_1']!r}, expected {expected}" if first else "no diagnosis_1")
    for name, second_start, third_start in _BY_LEVELS:
        if second.startswith(second_start) and third.startswith(third_start):
            return name
    return _OTHERS[first]


ARCHIVE = Archive(
    title="ISIC Archive",
    image="isic_id",
    needs=("isic_id", "diagnosis_1"),
    label=_label,
    classes=("mel", "nv", "bcc", "ak", "bkl", "df", "vasc", "scc", *_OTHERS.values()),
    malignant=("mel", "bcc", "scc", "malignant_other"),
    rare=frozenset(_OTHERS.values()),
    lesion="lesion_id",
    patient="patient_id",
    subgroups={
        "age": ("age_approx",),
        "sex": ("sex",),
        "site": ("anatom_site_general", "anatom_site_1"),
        "skin_type": ("fitzpatrick_skin_type",),
        "source": ("attribution",),
    },
)
