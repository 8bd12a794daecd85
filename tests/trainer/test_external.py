"""Other images, clean and attacked on a finished run's model."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from skinaudit.artifacts.adversarial_set import open_set
from skinaudit.artifacts.manifest import read_run
from skinaudit.errors import InvalidInputError
from skinaudit.trainer.data.load import load
from skinaudit.trainer.external import NEAR, OWN, attack_external
from skinaudit.trainer.generate import plans_for


def test_images_of_the_run_are_left_out_and_more_attacks_are_added(tiny_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    own = load("synthetic", size=32, images=300)
    hospital = load("synthetic", size=32, images=140, seed=5)
    with pytest.raises(InvalidInputError, match="every one of its 300 images belongs to the run"):
        attack_external(run, own, (), name="own")
    (fgsm,) = plans_for(run, ("fgsm",), norm="linf", eps=None, settings={})
    written = attack_external(run, hospital, (fgsm,), name="hospital-b")
    assert [opened.info.attack for opened in written.sets] == ["clean", "fgsm"]
    assert written.external.left_out == {}
    assert {opened.info.source for opened in written.sets} == {read_run(run).weights.digest}
    stronger = plans_for(run, ("fgsm",), norm="linf", eps="8/255", settings={})
    extended = attack_external(run, hospital, stronger, name="hospital-b")
    assert sorted(extended.external.sets) == ["clean", "fgsm-linf-4", "fgsm-linf-8"]
    with pytest.raises(InvalidInputError, match="holds sets of other data already"):
        attack_external(run, own, (fgsm,), name="hospital-b")


def test_of_mixed_images_those_of_the_run_are_counted(tiny_run: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    own, hospital = load("synthetic", size=32, images=300), load("synthetic", size=32, images=140, seed=5)
    edited = np.clip(own.images[:60][..., ::-1] * 0.9 + np.random.default_rng(0).normal(0, 3, own.images[:60].shape), 0, 255)
    mixed = replace(
        hospital,
        images=np.concatenate([own.images[:30], edited[30:].astype(np.uint8), hospital.images]),
        frames=np.tile(np.array([[640, 480]], np.int32), (200, 1)),
        labels=np.concatenate([own.labels[:60], hospital.labels]),
        groups=np.concatenate([own.groups[:60], hospital.groups + 1000]),
        ids=(*own.ids[:60], *(f"b-{name}" for name in hospital.ids)),
        digest="sha256:mixed",
    )
    written = attack_external(run, mixed, (), name="mixed")
    assert written.external.left_out == {OWN: 30, NEAR: 30}
    assert written.external.frames == ((640, 480, 140),)
    assert open_set(written.folder / "clean.safetensors").ids[0].startswith("b-")
