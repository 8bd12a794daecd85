from __future__ import annotations

import numpy as np
import pytest

from skinaudit.audit.figures.image_answers import unpack_numbers
from skinaudit.audit.figures.metrics import Hits
from skinaudit.audit.figures.statistics import paired_drop
from skinaudit.audit.figures.subgroups import MOST, age_band, columns_of, subgroup_results


@pytest.mark.parametrize(
    ("text", "band"),
    [
        ("0", "0 to 19"), ("19", "0 to 19"), ("20", "20 to 39"), ("45.0", "40 to 59"), ("120", "120 to 139"),
        ("121", "121"), ("-1", "-1"), ("nan", "nan"), ("inf", "inf"), ("unclear", "unclear"), ("", ""),
    ],
)  # fmt: skip
def test_years_are_put_into_bands_and_other_texts_stay(text: str, band: str) -> None:
    assert age_band(text) == band


def test_columns_are_sorted_ages_by_years_and_the_unknown_have_no_value() -> None:
    age, sex = columns_of({"sex": ("male", "", "female"), "age": ("100", "5", ""), "site": ("", "", "")})
    assert (age.name, age.values) == ("age", ("0 to 19", "100 to 119"))
    assert (sex.name, sex.values) == ("sex", ("female", "male"))
    assert unpack_numbers(age.of_images, images=3, below=3).tolist() == [1, 0, 2]
    assert unpack_numbers(sex.of_images, images=3, below=3).tolist() == [1, 2, 0]


def test_of_very_many_values_the_most_frequent_are_shown() -> None:
    (column,) = columns_of({"source": ("often", "often", *(f"clinic {index:03d}" for index in range(MOST)))})
    assert len(column.values) == MOST
    assert "often" in column.values
    assert unpack_numbers(column.of_images, images=MOST + 2, below=MOST + 1).max() == MOST


def test_each_subgroup_has_the_figures_of_its_own_images() -> None:
    labels = np.array([0, 0, 1, 1, 0, 1])
    engine = np.array([1, 0, 1, 1, 0, 0])
    source = np.array([0, 0, 1, 0, 0, 0])
    groups = np.array([0, 0, 1, 2, 3, 4])
    columns = columns_of({"sex": ("male", "male", "male", "male", "female", "")})
    female, male = subgroup_results(engine, source, columns, labels=labels, groups=groups, malignant=(0,), confidence=0.95)
    assert (male.title, male.images, male.lesions) == ("sex male", 4, 3)
    assert (male.accuracy.source, male.accuracy.engine) == (Hits(3, 4), Hits(3, 4))
    assert male.accuracy.drop == paired_drop((source == labels)[:4], (engine == labels)[:4], groups[:4])
    assert male.malignant is not None
    assert (male.malignant.source, male.malignant.engine) == (Hits(2, 2), Hits(1, 2))
    assert male.malignant.drop is not None
    assert (male.malignant.drop.lost, male.malignant.drop.gained) == (1, 0)
    assert (female.images, female.lesions) == (1, 1)


def test_without_a_source_there_is_no_drop_and_without_a_malignant_image_no_sensitivity() -> None:
    labels, groups = np.array([0, 1]), np.arange(2)
    columns = columns_of({"sex": ("female", "male")})
    female, male = subgroup_results(labels, None, columns, labels=labels, groups=groups, malignant=(0,), confidence=0.95)
    assert male.malignant is None
    assert female.malignant is not None
    assert (female.accuracy.source, female.accuracy.drop, female.malignant.drop) == (None, None, None)
