"""HAM10000 as distributed by Dataverse and Kaggle, and the ISIC 2018 Task 3 test table from the same Dataverse page.

Columns: lesion_id, image_id, dx, dx_type, age, sex, localization, and dataset in the later versions. Source: Tschandl,
Rosendahl, Kittler, "The HAM10000 dataset", Scientific Data 5, 180161 (2018), https://doi.org/10.7910/DVN/DBW86T
"""

from __future__ import annotations

from skinaudit.artifacts.contract import CLASSES, MALIGNANT
from skinaudit.trainer.data.archives._archive import Archive, named

ARCHIVE = Archive(
    title="HAM10000",
    image="image_id",
    needs=("lesion_id", "image_id", "dx"),
    label=named("dx", {name: name for name in CLASSES}),
    classes=CLASSES,
    malignant=MALIGNANT,
    complete=True,
    lesion="lesion_id",
    each_has_lesion=True,
    subgroups={"age": ("age",), "sex": ("sex",), "site": ("localization",), "source": ("dataset",)},
)
