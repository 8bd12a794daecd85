"""Pictures that stand under several names, and pictures that carry an orientation tag."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skinaudit.trainer.data.classes import ClassPlan
from skinaudit.trainer.data.load import load
from skinaudit.trainer.data.splits import SplitKind, split
from skinaudit.trainer.data.summary import summarise

METADATA = "HAM10000_metadata.csv"


def again(folder: Path, *, relabel: int = 0, suffix: str = ".jpg") -> None:
    """Each picture again under another name and lesion, the first `relabel` of them with another diagnosis."""
    table = folder / METADATA
    head, *lines = table.read_text().splitlines()
    added = []
    for number, line in enumerate(lines):
        lesion, image, dx, *rest = line.split(",")
        source = next(folder.rglob(f"{image}.jpg"))
        target = source.with_name(f"AGAIN_{number:04d}{suffix}")
        if suffix == ".jpg":
            shutil.copyfile(source, target)
        else:
            Image.open(source).save(target)
        diagnosis = ("nv" if dx == "mel" else "mel") if number < relabel else dx
        added.append(",".join([f"AGAIN_{lesion}_{number}", target.stem, diagnosis, *rest]))
    table.write_text("\n".join([head, *lines, *added]) + "\n")


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_the_same_picture_under_two_names_is_one_lesion(ham: Path, tmp_path: Path, suffix: str) -> None:
    """Equal bytes, or equal pixels in another format."""
    before = load(str(ham), size=8, cache=tmp_path / "cache")
    again(ham, relabel=3, suffix=suffix)
    dataset = load(str(ham), size=8, cache=tmp_path / "cache")
    assert (len(before), len(dataset)) == (56, 112)
    assert len(np.unique(dataset.groups)) == len(np.unique(before.groups)) == 28
    summary = summarise(dataset, split(dataset, kind="lesion", seed=0))
    assert (summary.leaked_lesions, summary.identical) == (0, 56)
    text = "\n".join(summary.lines())
    assert "identical pictures: 56 images have the same pixels as another image and count as its lesion" in text
    assert "identical pictures with different labels: 3: AGAIN_0000 nv = ISIC_0099 mel, AGAIN_0001 nv = " in text
    assert summary.to_json()["contradictions"] == list(summary.contradictions)


def test_leaks_of_the_same_picture_are_counted(ham: Path, tmp_path: Path) -> None:
    again(ham)
    dataset = load(str(ham), size=8, cache=tmp_path / "cache")
    assert split(dataset, kind="paper", seed=0).leaked_lesions > 0


def test_contradictions_are_those_of_the_task(ham: Path, tmp_path: Path) -> None:
    """Where --classes merges the two labels they no longer contradict each other."""
    again(ham, relabel=3)
    plan = ClassPlan("classes.toml", {"a": ("mel", "nv"), "b": ("*",)}, ("a",))
    dataset = load(str(ham), size=8, cache=tmp_path / "cache", classes=plan)
    summary = summarise(dataset, split(dataset, kind="lesion", seed=0))
    assert (summary.identical, summary.contradictions) == (56, ())


def test_without_repeats_nothing_is_said(ham: Path, tmp_path: Path) -> None:
    dataset = load(str(ham), size=8, cache=tmp_path / "cache")
    text = "\n".join(summarise(dataset, split(dataset, kind="lesion", seed=0)).lines())
    assert "identical" not in text
    assert "orientation" not in text
    assert "patient" not in text


def test_orientation_tags_are_applied_and_counted_also_from_the_cache(ham: Path, tmp_path: Path) -> None:
    plain = load(str(ham), size=8, cache=tmp_path / "cache")
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("ISIC_0044", "ISIC_0060"):
        path = next(ham.rglob(f"{name}.jpg"))
        Image.open(path).transpose(Image.Transpose.ROTATE_90).save(path, exif=exif, quality=95)
    for _ in range(2):
        dataset = load(str(ham), size=8, cache=tmp_path / "cache")
        assert np.abs(dataset.images.astype(int) - plain.images).max() <= 2
        text = "\n".join(summarise(dataset, split(dataset, kind="lesion", seed=0)).lines())
        assert "turned by their orientation tag: 2 pictures" in text


@pytest.mark.parametrize(("kind", "leaks"), [("lesion", False), ("paper", True)])
def test_patients_stay_together_and_leaks_of_them_are_counted(tmp_path: Path, kind: SplitKind, leaks: bool) -> None:
    """ISIC 2020 knows patients and no lesions: here each of 40 patients has 5 images, of which one may be malignant."""
    folder = tmp_path / "isic2020"
    folder.mkdir()
    lines = ["image_name,patient_id,sex,age_approx,anatom_site_general_challenge,diagnosis,benign_malignant,target"]
    for number in range(200):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / f"ISIC_{number:03d}.png")
        patient = "" if number >= 195 else f"IP_{number // 5}"
        lines.append(f"ISIC_{number:03d},{patient},male,40,torso,unknown,x,{int(number % 25 == 0)}")
    (folder / "train.csv").write_text("\n".join(lines) + "\n")
    dataset = load(str(folder), size=8, cache=tmp_path / "cache")
    partition = split(dataset, kind=kind, seed=0)
    summary = summarise(dataset, partition)
    assert dataset.patients is not None
    used_patients = set(dataset.patients[np.concatenate([partition.train, partition.val])].tolist()) - {-1}
    shared = len(used_patients & set(dataset.patients[partition.test].tolist()))
    assert (partition.leaked_lesions, partition.leaked_patients) == (0, shared)
    assert (shared > 0) == leaks
    text = "\n".join(summary.lines())
    assert "200 images of 200 lesions of 39 patients" in text
    assert f"leaked patients: {shared} of {summary.part_patients['test']} in test" in text
    assert "the patient of 5 images is not known" in text
    assert ("test patients are also in training" in text) == leaks
    if not leaks:
        assert summary.counts["malignant"] == {"train": 6, "val": 1, "test": 1}
