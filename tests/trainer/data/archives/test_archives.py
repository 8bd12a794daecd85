"""Each archive by a few lines of its own table, with the columns that it really has."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from skinaudit.errors import InvalidInputError
from skinaudit.trainer.data import archives
from skinaudit.trainer.data.archives._archive import one_hot, zero_or_one
from skinaudit.trainer.data.layouts import archive
from skinaudit.trainer.data.recognise import recognise
from skinaudit.trainer.data.records import Listing, Record, find_files
from skinaudit.trainer.data.subgroups import NAMES

HAM = "lesion_id,image_id,dx,dx_type,age,sex,localization,dataset\n"
ONE_HOT = "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC\n"
ONE_HOT_2019 = "image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK,score_weight,validation_weight\n"
ISIC = (
    "isic_id,attribution,copyright_license,acquisition_day,age_approx,anatom_site_1,anatom_site_2,concomitant_biopsy,"
    "diagnosis_1,diagnosis_2,diagnosis_3,diagnosis_4,diagnosis_5,fitzpatrick_skin_type,image_type,lesion_id,patient_id,sex\n"
)
PAD = (
    "patient_id,lesion_id,smoke,drink,background_father,background_mother,age,pesticide,gender,skin_cancer_history,"
    "cancer_history,has_piped_water,has_sewage_system,fitspatrick,region,diameter_1,diameter_2,diagnostic,itch,grew,hurt,"
    "changed,bleed,elevation,img_id,biopsed\n"
)
MADE: dict[str, dict[str, str]] = {
    "ham10000": {
        "HAM10000_metadata": HAM + "HAM_1,a,mel,histo,80.0,male,scalp,rosendahl\nHAM_2,b,nv,histo,,unknown,unknown,vidir\n",
    },
    "isic2018": {
        "ISIC2018_Task3_Training_GroundTruth.csv": ONE_HOT + "a,1.0,0.0,0.0,0.0,0.0,0.0,0.0\nb,0,1,0,0,0,0,0\n",
        "ISIC2018_Task3_Training_LesionGroupings.csv": "image,lesion_id,diagnosis_confirm_type\na,HAM_1,histo\nb,HAM_2,x\n",
    },
    "isic2019": {
        "ISIC_2019_Test_GroundTruth.csv": ONE_HOT_2019 + "a,0,0,0,0,0,0,0,1,0,1,0\nb,0,0,0,0,0,0,0,0,1,0,0\n",
        "ISIC_2019_Test_Metadata.csv": "image,age_approx,anatom_site_general,lesion_id,sex\n"
        "a,55.0,anterior torso,BCN_1,female\nb,,,,\n",
    },
    "isic2020": {
        "train.csv": "image_name,patient_id,sex,age_approx,anatom_site_general_challenge,diagnosis,benign_malignant,target\n"
        "a,IP_1,male,45.0,head/neck,melanoma,malignant,1\nb,IP_2,female,50.0,lower extremity,unknown,benign,0\n",
    },
    "isic2024": {
        "train-metadata.csv": "isic_id,target,patient_id,age_approx,sex,anatom_site_general,image_type,attribution,"
        "lesion_id,iddx_full,iddx_1\n"
        "a,1,IP_1,60.0,male,head/neck,TBP tile: close-up,Memorial Sloan Kettering,IL_1,Malignant,Malignant\n"
        "b,0,IP_1,60.0,male,posterior torso,TBP tile: close-up,Memorial Sloan Kettering,,Benign,Benign\n",
    },
    "isic2024_challenge": {
        "ISIC_2024_Training_GroundTruth.csv": "isic_id,malignant\na,1.0\nb,0.0\n",
        "metadata.csv": "isic_id,patient_id,age_approx,sex,lesion_id\na,IP_1,60.0,male,IL_1\nb,IP_1,60.0,male,\n",
    },
    "pad_ufes_20": {
        "metadata.csv": PAD + "PAT_1,10,False,False,POMERANIA,ITALY,55,False,FEMALE,True,True,True,True,3.0,NECK,6.0,5.0,"
        "BCC,True,True,False,True,True,True,a.png,True\nPAT_2,20,,,,,8,,,,,,,,ARM,,,NEV,F,F,F,F,F,F,b.png,False\n",
    },
    "isic": {
        "metadata.csv": ISIC + "a,ViDIR Group,CC-0,1,85,Head and neck,Scalp,True,Malignant,Malignant melanocytic "
        "proliferations (Melanoma),Melanoma in situ,,,II,dermoscopic,IL_1,IP_1,male\n"
        "b,ViDIR Group,CC-0,,,,,,Benign,Benign melanocytic proliferations,Nevus,\"Nevus, Atypical, Dysplastic, or Clark\",,,"
        "dermoscopic,,,\n",
    },
    "isic_before_2025": {
        "metadata.csv": "isic_id,attribution,copyright_license,age_approx,anatom_site_general,benign_malignant,diagnosis,"
        "lesion_id,sex\na,MSK,CC-0,40,lower extremity,malignant,squamous cell carcinoma,IL_1,female\n"
        "b,MSK,CC-0,40,,benign,verruca,IL_2,female\n",
    },
}  # fmt: skip
WANTED: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[object, ...]]] = {
    # classes, malignant ones, and of image a: label, lesion, patient, age, sex, site, skin type, source
    "ham10000": (
        ("mel", "nv", "bcc", "akiec", "bkl", "df", "vasc"), ("mel", "bcc", "akiec"),
        ("mel", "HAM_1", "", "80", "male", "scalp", "", "rosendahl"),
    ),
    "isic2018": (
        ("mel", "nv", "bcc", "akiec", "bkl", "df", "vasc"), ("mel", "bcc", "akiec"), ("mel", "HAM_1", "", *5 * [""]),
    ),
    "isic2019": (("scc", "unk"), ("scc",), ("scc", "BCN_1", "", "55", "female", "anterior torso", "", "BCN")),
    "isic2020": (
        ("benign", "malignant"), ("malignant",), ("malignant", "image a", "IP_1", "45", "male", "head/neck", "", ""),
    ),
    "isic2024": (
        ("benign", "malignant"), ("malignant",),
        ("malignant", "IL_1", "IP_1", "60", "male", "head/neck", "", "Memorial Sloan Kettering"),
    ),
    "isic2024_challenge": (
        ("benign", "malignant"), ("malignant",), ("malignant", "IL_1", "IP_1", "60", "male", "", "", ""),
    ),
    "pad_ufes_20": (("nev", "bcc"), ("bcc",), ("bcc", "10", "PAT_1", "55", "female", "neck", "III", "")),
    "isic": (
        ("mel", "nv"), ("mel",), ("mel", "IL_1", "IP_1", "85", "male", "head and neck", "II", "ViDIR Group"),
    ),
    "isic_before_2025": (
        ("scc", "benign_other"), ("scc",), ("scc", "IL_1", "", "40", "female", "lower extremity", "", "MSK"),
    ),
}  # fmt: skip


def listing(folder: Path, tables: Mapping[str, str], *, pictures: str = "a.jpg b.jpg") -> Listing:
    """The listing of a folder with these tables and with files of these names, which are never read."""
    for name in pictures.split():
        (folder / name).touch()
    for name, text in tables.items():
        (folder / name).write_text(text)
    files = find_files(folder)
    table = archive.find(files)
    assert table is not None
    return archive.list_images(table, files)


def facts(record: Record) -> tuple[object, ...]:
    return (record.label, record.lesion_id, record.patient_id, *record.subgroups)


def test_every_archive_is_tried() -> None:
    assert set(MADE) == set(WANTED) == set(archives.known())
    assert len(NAMES) == 5


@pytest.mark.parametrize("name", MADE)
def test_archive(tmp_path: Path, name: str) -> None:
    listed = listing(tmp_path, MADE[name])
    classes, malignant, first = WANTED[name]
    assert listed.title.startswith(archives.known()[name].title)
    assert listed.bad == ()
    assert (listed.classes, listed.malignant) == (classes, malignant)
    assert facts(listed.records[0]) == first
    assert [record.image_id for record in listed.records] == ["a", "b"]


@pytest.mark.parametrize("name", MADE)
def test_a_strange_diagnosis_is_a_bad_line(tmp_path: Path, name: str) -> None:
    wrong = {"isic2020": (",1\n", ",0.5\n"), "ham10000": ("mel", "wart"), "pad_ufes_20": ("BCC", "wart"),
             "isic": ("Malignant,Malignant", "wart,Malignant"),
             "isic_before_2025": ("malignant,squamous cell carcinoma", "wart,wart")}  # fmt: skip
    tables = dict(MADE[name])
    table, text = next(iter(tables.items()))
    old, new = wrong.get(name, ("1", "0.5") if "target" in text or "malignant" in text else ("a,", "a,0.5"))
    head, _, lines = text.partition("\n")
    tables[table] = f"{head}\n{lines.replace(old, new, 1)}"
    listed = listing(tmp_path, tables)
    assert [bad.image_id for bad in listed.bad] == ["a"]


ISIC_LINE = "{name},X,CC-0,1,60,,,,{first},{second},{third},{fourth},,,dermoscopic,,,\n"


@pytest.mark.parametrize(
    ("first", "second", "third", "label"),
    [
        ("Malignant", "Malignant melanocytic proliferations (Melanoma)", "Melanoma metastasis", "mel"),
        ("Malignant", "Malignant melanocytic proliferations (Melanoma)", "", "mel"),
        ("Malignant", "Malignant adnexal epithelial proliferations - Follicular", "Basal cell carcinoma", "bcc"),
        ("Malignant", "Malignant epidermal proliferations", '"Squamous cell carcinoma, NOS"', "scc"),
        ("Malignant", "Malignant epidermal proliferations", "Keratoacanthoma", "malignant_other"),
        ("Indeterminate", "Indeterminate epidermal proliferations", "Solar or actinic keratosis", "ak"),
        ("Indeterminate", "Indeterminate melanocytic proliferations", "Atypical Spitz tumor", "indeterminate"),
        ("Benign", "Benign epidermal proliferations", "Pigmented benign keratosis", "bkl"),
        ("Benign", "Benign soft tissue proliferations - Fibro-histiocytic", "Dermatofibroma", "df"),
        ("Benign", "Benign soft tissue proliferations - Fibro-histiocytic", "Scar", "benign_other"),
        ("Benign", "Benign soft tissue proliferations - Vascular", "Nevus anemicus", "vasc"),
        ("Benign", "Benign soft tissue proliferations - Vascular", "", "vasc"),
        ("Benign", "Benign melanocytic proliferations", "Nevus", "nv"),
        ("Benign", "Benign melanocytic proliferations", "Lentigo simplex", "benign_other"),
        ("Benign", "Benign adnexal epithelial proliferations - Sebaceous", "Nevus sebaceus", "benign_other"),
        ("Benign", "", "", "benign_other"),
    ],
)
def test_levels_of_diagnoses(tmp_path: Path, first: str, second: str, third: str, label: str) -> None:
    line = ISIC_LINE.format(name="a", first=first, second=second, third=third, fourth="")
    assert listing(tmp_path, {"metadata.csv": ISIC + line}).records[0].label == label


def test_a_table_of_both_ages_of_the_isic_archive_is_read_by_its_levels(tmp_path: Path) -> None:
    text = "isic_id,benign_malignant,diagnosis,diagnosis_1,diagnosis_2,diagnosis_3\na,benign,nevus,Benign,x,Nevus\n"
    assert listing(tmp_path, {"metadata.csv": text}).title.startswith("ISIC Archive (no lesion ids")


def test_training_validation_and_test_tables_are_read_together(tmp_path: Path) -> None:
    lines = {"Training": "a,1,0,0,0,0,0,0\n", "Validation": "b,0,1,0,0,0,0,0\n", "Test": "c,0,1,0,0,0,0,0\n"}
    tables = {f"ISIC2018_Task3_{part}_GroundTruth.csv": ONE_HOT + line for part, line in lines.items()}
    tables["ISIC2018_Task3_Training_LesionGroupings.csv"] = "image,lesion_id\na,HAM_1\n"
    listed = listing(tmp_path, tables, pictures="a.jpg b.jpg c.jpg")
    assert [(record.image_id, record.part, record.lesion_id) for record in listed.records] == [
        ("a", 0, "HAM_1"), ("b", 1, "image b"), ("c", 2, "image c"),
    ]  # fmt: skip
    assert listed.bad == ()


def test_a_table_without_its_pictures_is_left_out_and_noted(tmp_path: Path) -> None:
    tables = {
        **MADE["ham10000"],
        "ISIC2018_Task3_Test_GroundTruth.tab": (HAM + "HAM_9,z,mel,histo,,,,\n").replace(",", "\t"),
    }
    listed = listing(tmp_path, tables)
    assert len(listed.records) == 2
    assert listed.notes == ("ISIC2018_Task3_Test_GroundTruth.tab: none of its pictures was found, so it was left out",)


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"a.csv": HAM + "HAM_1,a,mel,,,,,\n", "b_test.csv": HAM + "HAM_2,b,nv,,,,,\n"}, "not every file name says which"),
        ({"a.csv": HAM + "HAM_1,a,mel,,,,,\n", "b.csv": HAM + "HAM_1,a,nv,,,,,\n"}, "these tables differ; keep one of them"),
        (
            {"a.csv": "lesion_id,image_id,diagnosis\nH,a,mel\n"},
            "no column dx; the columns are lesion_id, image_id, diagnosis",
        ),
        ({"a.csv": "name,label\na.jpg,mel\n"}, "a.csv: no column "),
        ({"HAM10000_metadata.csv": ""}, "HAM10000_metadata.csv: is empty"),
        (
            {"a.csv": "isic_id,age\na,5\n"},
            "no column diagnosis_1; the columns are isic_id, age; nearest is the table of ISIC A",
        ),
        (
            {"metadata.xls": "a\0b\0c"},
            "metadata.xls: spreadsheets are not supported; save it as CSV, or remove it",
        ),
        (
            {"a.csv": HAM + "H,0,mel,1,2,3,4,5,6\n"},
            "such as 0 (9 cells, but the header has 8; a delimiter in a cell is not quoted), is in the folder",
        ),
        (
            {"a.csv": "target,image_name,dx,lesion_id,image_id\n1,a,mel,H,a\n"},
            "has the columns of several archives; keep only",
        ),
        (
            {"a.csv": HAM + "HAM_1,x1,mel,,,,,\n"},
            "none of its 1 images, such as x1, is in the folder, which has pictures such as a.jpg",
        ),
    ],
)
def test_near_misses_are_named(tmp_path: Path, tables: Mapping[str, str], message: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        listing(tmp_path, tables)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_spreadsheet_that_names_pictures_is_refused_and_another_one_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "ISIC_1.jpg").touch()
    for text, refused in (("<t>costs</t>", False), ("<t>ISIC_1</t>", True)):
        with zipfile.ZipFile(tmp_path / "book.xlsx", "w") as book:
            book.writestr("xl/sharedStrings.xml", text)
        files = find_files(tmp_path)
        if not refused:
            assert archive.find(files) is None
            continue
        with pytest.raises(InvalidInputError, match=r"book\.xlsx: spreadsheets are not supported; save it as CSV"):
            archive.find(files)


def test_a_table_that_hardly_names_a_picture_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "3.jpg").touch()
    (tmp_path / "log.csv").write_text("epoch,loss\n1,0.5\n2,0.4\n3,0.3\n")
    assert archive.find(find_files(tmp_path)) is None


def test_a_chosen_table_is_read_alone(tmp_path: Path) -> None:
    table, other_table = HAM + "HAM_1,a,mel,,,,,\n", HAM + "HAM_2,a,nv,,,,,\n"
    for name, text in {"one.csv": table, "other.csv": other_table}.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "a.jpg").touch()
    chosen = tmp_path / "one.csv"
    listed = archive.list_images(chosen, find_files(tmp_path), only=chosen)
    assert [(record.label, record.lesion_id) for record in listed.records] == [("mel", "HAM_1")]


def test_a_format_that_is_not_read_is_named(tmp_path: Path) -> None:
    listed = listing(tmp_path, MADE["ham10000"], pictures="a.jpg b.HEIC")
    assert [bad.reason for bad in listed.bad] == ["b.HEIC: this format is not read; save it as PNG or JPEG"]


def test_a_submission_is_no_ground_truth(tmp_path: Path) -> None:
    listed = listing(tmp_path, {**MADE["isic2020"], "sample_submission.csv": "image_name,target\na,0\nb,0\n"})
    assert [record.label for record in listed.records] == ["malignant", "benign"]


@pytest.mark.parametrize(
    ("cell", "file"),
    [
        ("ISIC_1.jpg", "ISIC_1.jpg"), ("ISIC_1.JPG", "ISIC_1.jpeg"), ("images/ISIC_1.png", "ISIC_1.png"),
        ("images\\ISIC_1.jpg", "ISIC_1.jpg"), ("isic_1", "ISIC_1.JPG"), ("ISIC_1", "ISIC_1_downsampled.jpg"),
        ("ISIC_1_downsampled", "ISIC_1.jpg"), ("ISIC_1_downsampled", "ISIC_1_downsampled.jpg"), ("ISIC_1", "ISIC_1.dcm"),
        ("ISIC.1", "ISIC.1.jpg"),
    ],
)  # fmt: skip
def test_names_of_pictures(tmp_path: Path, cell: str, file: str) -> None:
    listed = listing(tmp_path, {"a.csv": HAM + f"HAM_1,{cell},mel,,,,,\n"}, pictures=f"{file} ._{file}")
    assert [record.files for record in listed.records] == [(tmp_path / file,)]


def test_an_exact_name_comes_before_one_that_is_alike(tmp_path: Path) -> None:
    lines = "HAM_1,ISIC_1,mel,,,,,\nHAM_2,ISIC_1_downsampled,nv,,,,,\n"
    listed = listing(tmp_path, {"a.csv": HAM + lines}, pictures="ISIC_1.jpg ISIC_1_downsampled.jpg")
    assert [record.files[0].stem for record in listed.records] == ["ISIC_1", "ISIC_1_downsampled"]


@pytest.mark.parametrize(
    ("cells", "name"), [("True False", "mel"), ("FALSE TRUE", "nv"), ("0 1,0", "nv"), ("true 0.0", "mel")]
)
def test_columns_of_classes_hold_numbers_or_words(cells: str, name: str) -> None:
    assert one_hot({"mel": "mel", "nv": "nv"})(dict(zip(("mel", "nv"), cells.split(), strict=True))) == name


@pytest.mark.parametrize(
    ("cell", "name"), [("TRUE", "malignant"), ("false", "benign"), ("Benign", "benign"), ("1,0", "malignant")]
)
def test_a_target_holds_a_number_or_a_word(cell: str, name: str) -> None:
    assert zero_or_one("target")({"target": cell}) == name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("HAM10000_metadata.xlsx", "spreadsheets are not supported; save it as CSV"),
        ("HAM10000_metadata.csv.gz", "packed tables are not supported; unpack it"),
        ("ISIC_2019_Training_GroundTruth.zip", "packed tables are not supported; unpack it"),
    ],
)
def test_a_table_that_cannot_be_opened_is_named(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / name).write_bytes(b"PK\3\4 no table")
    with pytest.raises(InvalidInputError, match=f"{re.escape(name)}: {message}"):
        recognise([tmp_path / name])


def test_pictures_that_are_still_packed_are_named(tmp_path: Path) -> None:
    (tmp_path / "HAM10000_metadata.csv").write_text(HAM + "HAM_1,a,mel,histo,,,,\n")
    (tmp_path / "part_1.zip").touch()
    with pytest.raises(InvalidInputError, match=r"which has no picture at all; unpack part_1\.zip"):
        archive.list_images(tmp_path / "HAM10000_metadata.csv", find_files(tmp_path))


@pytest.mark.parametrize("file", ["na\N{LATIN SMALL LETTER I WITH DIAERESIS}ve.jpg", "nai\N{COMBINING DIAERESIS}ve.JPG.jpg"])
def test_files_are_found_however_accents_are_stored_and_with_a_second_ending(tmp_path: Path, file: str) -> None:
    (tmp_path / file).touch()
    (tmp_path / "t.csv").write_text(HAM + "HAM_1,na\N{LATIN SMALL LETTER I WITH DIAERESIS}ve,mel,,,,,\n", encoding="utf-8")
    (record,) = archive.list_images(tmp_path / "t.csv", find_files(tmp_path)).records
    assert record.files == (tmp_path / file,)


def test_a_patient_written_as_a_decimal_number_is_the_same_patient(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / f"{name}.jpg").touch()
    (tmp_path / "t.csv").write_text("image_name,patient_id,target\na,12.0,1\nb,12,0\nc,12.5,0\n")
    records = archive.list_images(tmp_path / "t.csv", find_files(tmp_path)).records
    assert [record.patient_id for record in records] == ["12", "12", "12.5"]


@pytest.mark.parametrize(
    ("home", "problem"), [("NV", "the table says mel, but it lies in the folder NV"), ("mel", ""), ("x", "")]
)
def test_a_folder_named_after_another_class_contradicts_the_table(tmp_path: Path, home: str, problem: str) -> None:
    (tmp_path / home).mkdir()
    (tmp_path / home / "a.jpg").touch()
    (tmp_path / "t.csv").write_text(HAM + "HAM_1,a,mel,,,,,\n")
    bad = archive.list_images(tmp_path / "t.csv", find_files(tmp_path)).bad
    assert [item.reason for item in bad] == ([problem] if problem else [])
