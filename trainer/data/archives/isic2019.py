"""ISIC 2019: one column per class, and UNK in the test table; age, sex, site and lesions in a second table.

Columns: image, MEL, NV, BCC, AK, BKL, DF, VASC, SCC, UNK, and score weights in the test table; in the metadata: image,
age_approx, anatom_site_general, lesion_id (training only), sex. No training image is UNK; in the test table UNK marks
diagnoses outside the eight, and becomes the class `unk`. The start of a lesion's name tells its source: BCN, HAM or MSK.
Source: Combalia et al., "BCN20000", https://arxiv.org/abs/1908.02288; https://challenge.isic-archive.com/data/#2019
"""

from __future__ import annotations

import re

from skinaudit.trainer.data.archives._archive import Archive, Line, one_hot

CLASSES = ("mel", "nv", "bcc", "ak", "bkl", "df", "vasc", "scc")


def _source(line: Line) -> str:
    return "".join(re.findall(r"^[A-Za-z]+", line.get("lesion_id", "")))


ARCHIVE = Archive(
    title="ISIC 2019",
    image="image",
    needs=("image", *(name.upper() for name in CLASSES)),
    label=one_hot({name: name for name in (*CLASSES, "unk")}),
    classes=(*CLASSES, "unk"),
    malignant=("mel", "bcc", "scc"),
    rare=frozenset({"unk"}),
    lesion="lesion_id",
    subgroups={"age": ("age_approx",), "sex": ("sex",), "site": ("anatom_site_general",)},
    source=_source,
)
