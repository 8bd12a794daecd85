from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from skinaudit.artifacts.adversarial_set import AdversarialSet, open_set
from skinaudit.artifacts.contract import CLASSES
from skinaudit.artifacts.task_classes import task_classes
from skinaudit.audit.evidence.regrouping import regrouped
from skinaudit.errors import InvalidInputError

ILL, WELL = ("mel", "bcc", "akiec"), ("nv", "bkl", "df", "vasc")


@pytest.fixture
def stored(make_set: Callable[..., Path], tmp_path: Path) -> AdversarialSet:
    return open_set(make_set(tmp_path / "clean.safetensors", count=9))


def test_labels_logits_and_flags_follow(stored: AdversarialSet) -> None:
    tasks = task_classes(("well", "none", "ill"), {"well": WELL, "none": (), "ill": ILL})
    by_task = regrouped(stored, tasks, where="c.toml")
    assert (by_task.info.contract.classes, by_task.info.contract.malignant) == (("well", "none", "ill"), ("ill",))
    assert by_task.labels.tolist() == [2 if CLASSES[label] in ILL else 0 for label in stored.labels]
    assert len(set(by_task.labels.tolist())) == 2
    # whoever the source names, its group is named: the largest of its members decides
    named = [CLASSES[label] for label in stored.source_logits.argmax(1)]
    assert by_task.source_logits.argmax(1).tolist() == [2 if name in ILL else 0 for name in named]
    assert np.array_equal(by_task.image(3), stored.image(3))


def test_another_mapping_is_another_set(stored: AdversarialSet) -> None:
    digests = {
        regrouped(stored, task_classes(("a", "b"), mapping), where="c").images_digest
        for mapping in ({"a": ILL, "b": WELL}, {"a": WELL, "b": ILL})
    }
    assert len({*digests, stored.images_digest}) == 3


@pytest.mark.parametrize(
    ("ill", "well", "message"),
    [
        (("mel",), (*WELL, "bcc", "akiec"), "puts malignant bcc, akiec and benign nv, bkl, df, vasc into well"),
        (ILL, ("nv", "bkl", "df"), "has no entry for vasc of "),
        (ILL, (*WELL, "scc"), "names scc, which "),
    ],
)  # fmt: skip
def test_a_mapping_that_does_not_fit_the_set_is_refused_in_one_line(
    stored: AdversarialSet, ill: tuple[str, ...], well: tuple[str, ...], message: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        regrouped(stored, task_classes(("ill", "well"), {"ill": ill, "well": well}), where="c.toml")
    assert f"c.toml: output.mapping {message}" in str(caught.value)
    assert "\n" not in str(caught.value)
