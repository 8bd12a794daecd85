from __future__ import annotations

import dataclasses
import hashlib
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from skinaudit.artifacts.contract import CLASSES
from skinaudit.errors import InvalidInputError
from skinaudit.trainer.data import listed, synthetic
from skinaudit.trainer.data.cache import dataset_digest
from skinaudit.trainer.data.dataset import Dataset
from skinaudit.trainer.data.load import load
from skinaudit.trainer.data.records import find_files

Edit = Callable[[Path, str, str], None]
METADATA = "HAM10000_metadata.csv"


def image_file(folder: Path, image_id: str) -> Path:
    return next(folder.rglob(f"{image_id}.jpg"))


def refused(source: Path, cache: Path, *, skip_bad: bool = False) -> str:
    with pytest.raises(InvalidInputError) as caught:
        load(str(source), size=8, cache=cache, skip_bad=skip_bad)
    message = str(caught.value)
    assert "\n" not in message
    return message


def skipped(dataset: Dataset) -> dict[str, str]:
    return {item.image_id: item.reason for item in dataset.skipped}


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> Iterator[object]:
        raise AssertionError("decoded although the cache has it")

    monkeypatch.setattr(listed, "decode_files", refuse)


class TestHam10000:
    def test_images_labels_groups_and_ids_belong_together(self, ham: Path, cache: Path) -> None:
        dataset = load(str(ham), size=8, cache=cache)
        assert dataset.ids == tuple(f"ISIC_{number:04d}" for number in range(44, 100))
        assert dataset.images.shape == (56, 3, 8, 8)
        assert dataset.images.dtype == np.uint8
        numbers = np.array([int(name[-4:]) for name in dataset.ids])
        np.testing.assert_allclose(dataset.images[:, 0].mean((1, 2)), numbers, atol=2)
        np.testing.assert_allclose(dataset.images[:, 1].mean((1, 2)), 255 - numbers, atol=2)
        assert dataset.labels.tolist() == ((99 - numbers) // 8).tolist()
        lesion = (99 - numbers) // 2
        assert all(
            (dataset.groups == group).sum() == 2 and len(set(lesion[dataset.groups == group])) == 1 for group in range(28)
        )
        assert (dataset.title, dataset.synthetic, dataset.skipped, dataset.official_split) == ("HAM10000", False, (), None)

    def test_digest_is_that_of_the_content(self, ham: Path, cache: Path) -> None:
        dataset = load(str(ham), size=8, cache=cache)
        assert dataset.digest == dataset_digest(
            f"sha256:{hashlib.sha256(dataset.images.tobytes()).hexdigest()}", dataset.labels, dataset.groups, dataset.ids
        )

    def test_images_are_memory_mapped_and_read_only(self, ham: Path, cache: Path) -> None:
        images = load(str(ham), size=8, cache=cache).images
        assert isinstance(images.base, np.memmap)
        with pytest.raises(ValueError, match="read-only"):
            images[0] = 0

    def test_second_run_decodes_nothing(self, ham: Path, cache: Path, request: pytest.FixtureRequest) -> None:
        first = load(str(ham), size=8, cache=cache)
        request.getfixturevalue("no_decoding")
        second = load(str(ham), size=8, cache=cache)
        assert second.digest == first.digest
        np.testing.assert_array_equal(second.images, first.images)

    def test_corrected_label_reuses_pixels(self, ham: Path, cache: Path, edit: Edit, request: pytest.FixtureRequest) -> None:
        first = load(str(ham), size=8, cache=cache)
        edit(ham / METADATA, "HAM_00,ISIC_0099,mel", "HAM_99,ISIC_0099,nv")
        request.getfixturevalue("no_decoding")
        second = load(str(ham), size=8, cache=cache)
        assert first.labels[-1] == CLASSES.index("mel")
        assert second.labels[-1] == CLASSES.index("nv")
        assert second.digest != first.digest

    def test_changed_image_is_decoded_again(self, ham: Path, cache: Path) -> None:
        first = load(str(ham), size=8, cache=cache)
        shutil.copyfile(image_file(ham, "ISIC_0044"), image_file(ham, "ISIC_0099"))
        second = load(str(ham), size=8, cache=cache)
        np.testing.assert_array_equal(second.images[-1], first.images[0])

    def test_order_of_the_table_does_not_matter(self, ham: Path, cache: Path) -> None:
        first = load(str(ham), size=8, cache=cache)
        header, *rows = (ham / METADATA).read_text().splitlines()
        (ham / METADATA).write_text("\n".join([header, *reversed(rows)]) + "\n")
        assert load(str(ham), size=8, cache=cache).digest == first.digest

    def test_all_images_in_one_folder_and_tab_separated_table(self, ham: Path, cache: Path) -> None:
        first = load(str(ham), size=8, cache=cache)
        for path in list(ham.rglob("*.jpg")):
            path.rename(ham / path.name)
        (ham / "HAM10000_metadata.tab").write_text((ham / METADATA).read_text().replace(",", "\t"))
        (ham / METADATA).unlink()
        assert load(str(ham), size=8, cache=cache).digest == first.digest

    def test_linked_folder_is_followed_once(self, ham: Path, cache: Path, tmp_path: Path) -> None:
        first = load(str(ham), size=8, cache=cache)
        (ham / "HAM10000_images_part_1").rename(tmp_path / "elsewhere")
        (ham / "HAM10000_images_part_1").symlink_to(tmp_path / "elsewhere")
        (ham / "loop").symlink_to(ham)
        assert len(find_files(ham)) == 57
        assert load(str(ham), size=8, cache=cache).digest == first.digest

    def test_each_size_has_its_own_entry(self, ham: Path, cache: Path) -> None:
        sizes = [load(str(ham), size=size, cache=cache).images.shape for size in (8, 16, 8)]
        assert sizes == [(56, 3, 8, 8), (56, 3, 16, 16), (56, 3, 8, 8)]

    def test_progress_counts_every_image(self, ham: Path, cache: Path) -> None:
        calls: list[tuple[int, int]] = []
        load(str(ham), size=8, cache=cache, progress=lambda done, total: calls.append((done, total)))
        assert calls == [(done, 56) for done in range(1, 57)]


class TestBadImages:
    @pytest.mark.parametrize(
        ("old", "new", "reason"),
        [
            ("ISIC_0098,mel", "ISIC_0098,mole", "unknown dx 'mole', expected one of mel nv bcc akiec bkl df vasc"),
            ("ISIC_0098,mel", "ISIC_0098,", "unknown dx '', expected one of mel nv bcc akiec bkl df vasc"),
            ("HAM_00,ISIC_0098", ",ISIC_0098", "no lesion id"),
            ("ISIC_0098,mel", "ISIC_7777,mel", "no image file ISIC_7777"),
            ("HAM_00,ISIC_0098,mel", ",,mel", "a line without an image id"),
            ("HAM_00,ISIC_0098,mel,histo,50,male,back", "HAM_00,ISIC_0098", "unknown dx '', expected one of"),
        ],
    )
    def test_bad_row(self, ham: Path, cache: Path, edit: Edit, old: str, new: str, reason: str) -> None:
        edit(ham / METADATA, old, new)
        message = refused(ham, cache)
        assert f"{METADATA}: 1 unusable image: " in message
        assert reason in message
        assert "--skip-bad" in message
        dataset = load(str(ham), size=8, cache=cache, skip_bad=True)
        assert len(dataset) == 55
        assert "ISIC_0098" not in dataset.ids
        assert len(dataset.skipped) == 1
        assert dataset.skipped[0].reason.startswith(reason)

    def test_many_offenders_are_counted_and_the_first_listed(self, ham: Path, cache: Path) -> None:
        for number in (50, 60, 70, 80, 90, 91, 92):
            image_file(ham, f"ISIC_{number:04d}").unlink()
        message = refused(ham, cache)
        assert "7 unusable images: ISIC_0050 (no image file ISIC_0050), ISIC_0060 " in message
        assert "ISIC_0090" in message
        assert "ISIC_0091" not in message
        assert "and 2 more" in message

    @pytest.mark.parametrize("again", [False, True])
    def test_corrupt_images(self, ham: Path, cache: Path, again: bool) -> None:
        truncated, foreign = image_file(ham, "ISIC_0044"), image_file(ham, "ISIC_0060")
        truncated.write_bytes(truncated.read_bytes()[:-200])
        foreign.write_bytes(b"<html>not found</html>")
        message = refused(ham, cache)
        assert "2 unusable images: ISIC_0044 (corrupt: " in message
        assert "ISIC_0060 (not a JPEG, PNG, TIFF, WebP, BMP or DICOM picture)" in message
        # The cache remembers what could not be decoded, for both settings.
        for _ in range(1 + again):
            dataset = load(str(ham), size=8, cache=cache, skip_bad=True)
            assert list(skipped(dataset)) == ["ISIC_0044", "ISIC_0060"]
            assert len(dataset.images) == len(dataset.labels) == len(dataset.groups) == len(dataset.ids) == 54
            numbers = [int(name[-4:]) for name in dataset.ids]
            np.testing.assert_allclose(dataset.images[:, 0].mean((1, 2)), numbers, atol=2)
        assert refused(ham, cache) == message

    def test_repeated_row_is_kept_once(self, ham: Path, cache: Path) -> None:
        with (ham / METADATA).open("a") as stream:
            stream.write("HAM_00,ISIC_0099,mel,histo,50,male,back\r\n")
        assert "1 unusable image: ISIC_0099 (listed 2 times, used once)" in refused(ham, cache)
        dataset = load(str(ham), size=8, cache=cache, skip_bad=True)
        assert len(dataset) == 56
        assert skipped(dataset) == {"ISIC_0099": "listed 2 times, used once"}

    def test_contradicting_rows_are_both_dropped(self, ham: Path, cache: Path) -> None:
        with (ham / METADATA).open("a") as stream:
            stream.write("HAM_10,ISIC_0099,nv,histo,50,male,back\r\n")
        assert "ISIC_0099 (listed 2 times with different lesions or diagnoses)" in refused(ham, cache)
        dataset = load(str(ham), size=8, cache=cache, skip_bad=True)
        assert len(dataset) == 55
        assert "ISIC_0099" not in dataset.ids

    def test_lesion_with_two_diagnoses_is_dropped_whole(self, ham: Path, cache: Path, edit: Edit) -> None:
        edit(ham / METADATA, "HAM_00,ISIC_0098,mel", "HAM_00,ISIC_0098,nv")
        assert "ISIC_0098 (lesion HAM_00 has several diagnoses: mel, nv)" in refused(ham, cache)
        dataset = load(str(ham), size=8, cache=cache, skip_bad=True)
        assert list(skipped(dataset)) == ["ISIC_0098", "ISIC_0099"]

    def test_copies_of_one_image_are_fine_and_different_ones_are_not(self, ham: Path, cache: Path) -> None:
        first = load(str(ham), size=8, cache=cache)
        original = image_file(ham, "ISIC_0099")
        copy = ham / "ham10000_images_part_1" / original.name
        copy.parent.mkdir()
        shutil.copyfile(original, copy)
        assert load(str(ham), size=8, cache=cache).digest == first.digest
        shutil.copyfile(image_file(ham, "ISIC_0044"), copy)
        reason = "ISIC_0099 (2 files of this name that differ: HAM10000_images_part_1, ham10000_images_part_1)"
        assert reason in refused(ham, cache)
        assert len(load(str(ham), size=8, cache=cache, skip_bad=True)) == 55

    def test_dangling_link(self, ham: Path, cache: Path) -> None:
        path = image_file(ham, "ISIC_0099")
        path.unlink()
        path.symlink_to("nowhere.jpg")
        assert "ISIC_0099 (no such file)" in refused(ham, cache)

    def test_empty_class_stays_an_error(self, ham: Path, cache: Path) -> None:
        rows = (ham / METADATA).read_text().splitlines()
        (ham / METADATA).write_text("\n".join(row for row in rows if ",df," not in row and ",vasc," not in row))
        for skip_bad in (False, True):
            assert f"{ham}: no image of class df, vasc; add images" in refused(ham, cache, skip_bad=skip_bad)

    def test_nothing_left(self, ham: Path, cache: Path) -> None:
        for path in list(ham.rglob("*.jpg")):
            path.write_bytes(b"")
        assert "no image of class mel, nv, bcc, akiec, bkl, df, vasc;" in refused(ham, cache, skip_bad=True)
        for path in list(ham.rglob("*.jpg")):
            path.unlink()
        message = "none of its 56 images, such as ISIC_0099, is in the folder, which has no picture at all"
        assert message in refused(ham, cache, skip_bad=True)

    def test_class_emptied_by_dropping(self, ham: Path, cache: Path) -> None:
        for number in range(92, 100):
            image_file(ham, f"ISIC_{number:04d}").write_bytes(b"")
        assert f"{ham}: no image of class mel;" in refused(ham, cache, skip_bad=True)


class TestSources:
    def test_folder_without_a_table(self, tmp_path: Path, cache: Path) -> None:
        message = refused(tmp_path, cache)
        assert message.startswith(f"{tmp_path}: no images that skinaudit knows how to read")
        for title in ("HAM10000", "ISIC 2018 Task 3", "folders named after the classes"):
            assert title in message

    def test_folder_with_both_tables(self, ham: Path, isic: Path, cache: Path) -> None:
        assert ham.parent == isic.parent
        message = refused(ham.parent, cache)
        assert "holds both HAM10000_metadata.csv and ISIC2018_Task3_Training_GroundTruth.csv" in message

    def test_two_different_tables(self, ham: Path, cache: Path) -> None:
        shutil.copyfile(ham / METADATA, ham / "HAM10000_images_part_1" / METADATA)
        assert len(load(str(ham), size=8, cache=cache)) == 56
        with (ham / METADATA).open("a") as stream:
            stream.write("HAM_00,ISIC_0099,mel,histo,50,male,back\n")
        assert "these tables differ; keep one of them" in refused(ham, cache)

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            (b"", "is empty; download it again"),
            (b"lesion_id,image_id,dx\n", "has a header and no rows"),
            (b"lesion,image_id,dx\na,b,nv\n", "no column lesion_id; the columns are lesion, image_id, dx"),
            (b"lesion_id,image_id,dx\n\xff\xfe\n", "not a CSV text file"),
            (b'lesion_id,image_id,dx\n"a,b,nv\n', "not a CSV text file"),
        ],
    )
    def test_unusable_table(self, ham: Path, cache: Path, content: bytes, expected: str) -> None:
        (ham / METADATA).write_bytes(content)
        for skip_bad in (False, True):
            message = refused(ham, cache, skip_bad=skip_bad)
            assert message.startswith(f"{ham / METADATA}: {expected}")

    def test_byte_order_mark_and_spaces(self, ham: Path, cache: Path) -> None:
        first = load(str(ham), size=8, cache=cache)
        text = (ham / METADATA).read_text().replace(",", " , ")
        (ham / METADATA).write_text(text, encoding="utf-8-sig")
        assert load(str(ham), size=8, cache=cache).digest == first.digest

    def test_other_sources(self, ham: Path, cache: Path) -> None:
        picture = image_file(ham, "ISIC_0099")
        assert refused(picture, cache).startswith(
            f"{picture}: give a folder of images, an archive's table, a MedMNIST .npz file"
        )
        assert refused(ham / "nothing.npz", cache).startswith(f"{ham / 'nothing.npz'}: no such folder or file")

    @pytest.mark.parametrize("size", [0, 7, 1025])
    def test_size_out_of_range(self, ham: Path, cache: Path, size: int) -> None:
        with pytest.raises(InvalidInputError, match=f"size {size}: choose a side between 8 and 1024 pixels"):
            load(str(ham), size=size, cache=cache)

    def test_number_of_images_is_for_synthetic_only(self, ham: Path, cache: Path) -> None:
        with pytest.raises(InvalidInputError, match="for the synthetic data only"):
            load(str(ham), size=8, cache=cache, images=10)

    def test_unwritable_cache(self, ham: Path, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(InvalidInputError, match=re.escape(str(tmp_path / "file"))):
            load(str(ham), size=8, cache=tmp_path / "file")

    def test_default_cache(self, ham: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SKINAUDIT_CACHE", str(tmp_path / "chosen"))
        load(str(ham), size=8)
        assert len(list((tmp_path / "chosen").iterdir())) == 2


class TestSynthetic:
    def test_is_cached_as_generated(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        generated = synthetic.generate(images=150, size=16, seed=3)
        first = load("synthetic", size=16, seed=3, images=150, cache=cache)
        monkeypatch.setattr(synthetic, "generate", None)
        second = load("synthetic", size=16, seed=3, images=150, cache=cache)
        for dataset in (first, second):
            for field in dataclasses.fields(Dataset):
                np.testing.assert_array_equal(getattr(dataset, field.name), getattr(generated, field.name))
            assert isinstance(dataset.images.base, np.memmap)

    def test_settings_are_part_of_the_key(self, cache: Path) -> None:
        first = load("synthetic", size=16, seed=0, images=150, cache=cache)
        assert load("synthetic", size=16, seed=1, images=150, cache=cache).digest != first.digest
        assert load("synthetic", size=16, seed=0, images=151, cache=cache).digest != first.digest

    def test_too_few_images_leave_a_class_empty(self, cache: Path) -> None:
        with pytest.raises(InvalidInputError, match=r"synthetic data: no image of class .*; use more than 3 images"):
            load("synthetic", size=16, images=3, cache=cache)


def test_a_name_with_control_characters_is_refused_before_any_training(ham: Path, tmp_path: Path) -> None:
    """No set and no manifest could be written with it, and that would show at the end."""
    folder = ham / "HAM10000_images_part_1"
    image = next(iter(sorted(folder.glob("*.jpg"))))
    table = ham / "HAM10000_metadata.csv"
    table.write_text(table.read_text(encoding="utf-8").replace(image.stem, f"{image.stem}\x1b"), encoding="utf-8")
    image.rename(folder / f"{image.stem}\x1b.jpg")
    with pytest.raises(InvalidInputError, match=r"ham: the name 'ISIC_.*\\x1b' contains control characters; rename it"):
        load(str(ham), size=32, cache=tmp_path / "cache")
