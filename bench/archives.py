"""What `--data` makes of folders as people really have them: docs/results/archives.md.

    python bench/archives.py --data HAM10000 --work /tmp/odd [--before TABLE.md]

Variants of a HAM10000 folder are written below `--work` and read one after the other; a table goes to standard output. Only
figures are printed. An earlier state of the project reads the same folders with `PYTHONPATH=OTHER/.typing`; its table, given
as `--before`, is put beside.
"""

from __future__ import annotations

import argparse
import csv
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from skinaudit.errors import SkinauditError
from skinaudit.trainer.data.dataset import Dataset, Split
from skinaudit.trainer.data.load import load
from skinaudit.trainer.data.splits import split
from skinaudit.trainer.data.summary import summarise

Rows = list[dict[str, str]]
Case = Callable[[Path, Rows], None]
TABLE = "HAM10000_metadata.csv"
SIZE = 32
_LONGEST = 260  # letters of an error that are shown
TOLD = ("leaked", "identical", "turned", "note: the patient", "note: no image of class")
"""How lines of the summary begin that are shown."""

ISIC = {
    "mel": ("Malignant", "Malignant melanocytic proliferations (Melanoma)", "Melanoma, NOS"),
    "nv": ("Benign", "Benign melanocytic proliferations", "Nevus"),
    "bcc": ("Malignant", "Malignant adnexal epithelial proliferations - Follicular", "Basal cell carcinoma"),
    "akiec": ("Indeterminate", "Indeterminate epidermal proliferations", "Solar or actinic keratosis"),
    "bkl": ("Benign", "Benign epidermal proliferations", "Pigmented benign keratosis"),
    "df": ("Benign", "Benign soft tissue proliferations - Fibro-histiocytic", "Dermatofibroma"),
    "vasc": ("Benign", "Benign soft tissue proliferations - Vascular", ""),
}
ONE_HOT = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
ONE_HOT_2019 = ("MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK")


def main() -> None:
    """Parse the command line, write the folders, read them, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--images", type=int, default=30, help="of each class")
    parser.add_argument("--before", type=Path, help="table of an earlier state, to be put beside")
    options = parser.parse_args()
    cells = [] if options.before is None else [line.split(" | ", 1) for line in options.before.read_text().splitlines()]
    before = {title.removeprefix("| "): cells_after[0].removesuffix(" |") for title, *cells_after in cells if cells_after}
    rows = plain_folder(options.data, options.work / "base", options.images)
    plain = load(str(options.work / "base"), size=SIZE, cache=options.work / "cache")
    print(f"| folder |{' before |' if before else ''} what is read and said |\n|---|{'---|' if before else ''}---|")
    for case in CASES:
        folder = options.work / case.__name__
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(options.work / "base", folder)
        case(folder, [dict(row) for row in rows])
        title = (case.__doc__ or "").rstrip(".")
        earlier = [before.get(title, "")] if before else []
        print(f"| {' | '.join([title, *earlier, outcome(folder, options.work, plain)])} |")


def plain_folder(source: Path, folder: Path, of_each: int) -> Rows:
    """The first images of each class, as HAM10000 is distributed."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "images").mkdir(parents=True)
    with (source / TABLE).open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    kept: Rows = []
    for row in rows:
        if sum(earlier["dx"] == row["dx"] for earlier in kept) < of_each:
            kept.append(row)
            shutil.copy(next(source.rglob(f"{row['image_id']}.jpg")), folder / "images")
    write(folder / TABLE, kept)
    return kept


def outcome(folder: Path, work: Path, plain: Dataset, *, longest: int = _LONGEST) -> str:
    """What is read of a folder and said of it, in one cell of a table. longest: letters of an error that are shown."""
    try:
        dataset = load(str(folder), size=SIZE, cache=work / "cache")
        parts = split(dataset, kind="lesion", seed=0)
        lines = summarise(dataset, parts).lines()
    except SkinauditError as error:
        message = str(error).replace(f"{folder}/", "").replace(str(folder), "DIR").replace("|", "\\|").replace("\0", "")
        return f"refused: {message if len(message) <= longest else message[:longest] + '...'}"
    difference = f", {moved(dataset, plain)}" if len(dataset) == len(plain) else ""
    repeats = trained_on(dataset, parts)
    repeated = f", **{repeats} of {len(parts.test)} test pictures in training**" if repeats else ""
    read = f"{len(dataset)} images, {len(np.unique(dataset.groups))} lesions, {len(set(dataset.labels.tolist()))} classes"
    remarks = [line for line in lines if line.startswith(TOLD)]
    return f"{read}{difference}{repeated}; {'; '.join(remarks)}"


def moved(dataset: Dataset, plain: Dataset) -> str:
    """Whether all is as in the plain folder; else how many pictures differ by a grey level and more, and by how much."""
    if dataset.digest == plain.digest:
        return "the same as plain"
    far = np.abs(dataset.images.astype(int) - plain.images).mean((1, 2, 3))
    return (
        f"{(far >= 1).sum()} pictures {far[far >= 1].mean():.0f} grey levels from plain"
        if (far >= 1).any()
        else "pictures within a grey level of plain"
    )


def trained_on(dataset: Dataset, parts: Split) -> int:
    """How many test pictures have the very pixels of a picture of training or validation."""
    known = {dataset.images[row].tobytes() for part in (parts.train, parts.val) for row in part}
    return sum(dataset.images[row].tobytes() in known for row in parts.test)


def write(
    path: Path, rows: Sequence[dict[str, str]], *, encoding: str = "utf-8", delimiter: str = ",", end: str = "\n"
) -> None:
    """Write a table."""
    with path.open("w", newline="", encoding=encoding) as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]), delimiter=delimiter, lineterminator=end)
        writer.writeheader()
        writer.writerows(rows)


def replaced(folder: Path, name: str, rows: Sequence[dict[str, str]]) -> None:
    """Replace HAM10000's table with that of another archive."""
    (folder / TABLE).unlink()
    write(folder / name, rows)


def picture(folder: Path, row: dict[str, str]) -> Path:
    """The file of a row's picture."""
    return folder / "images" / f"{row['image_id']}.jpg"


def resaved(folder: Path, rows: Rows, suffix: str, mode: str = "RGB") -> None:
    """Save every picture anew in another format or pixel format, without loss."""
    for row in rows:
        old = picture(folder, row)
        Image.open(old).convert(mode).save(old.with_suffix(suffix), lossless=True)
        old.unlink()


def one_hot(rows: Rows, classes: Sequence[str]) -> Rows:
    """A ground truth of one column a class."""
    place = {"akiec": "AK"} if "AK" in classes else {}
    return [
        {"image": row["image_id"], **{name: str(float(place.get(row["dx"], row["dx"].upper()) == name)) for name in classes}}
        for row in rows
    ]


# Each case's first line is its row's title.


def plain(folder: Path, rows: Rows) -> None:
    """Plain."""


def browser_name(folder: Path, rows: Rows) -> None:
    """The table as `HAM10000_metadata (1).csv`."""
    (folder / TABLE).rename(folder / "HAM10000_metadata (1).csv")


def lower_case_name(folder: Path, rows: Rows) -> None:
    """The table as `ham10000_metadata.csv`."""
    (folder / TABLE).rename(folder / TABLE.lower())


def semicolons(folder: Path, rows: Rows) -> None:
    """Semicolons."""
    write(folder / TABLE, rows, delimiter=";")


def excel(folder: Path, rows: Rows) -> None:
    """`sep=;` as Excel writes it, CRLF, a byte-order mark at the start."""
    write(folder / TABLE, rows, delimiter=";", end="\r\n")
    text = (folder / TABLE).read_bytes()
    (folder / TABLE).write_bytes(b"\xef\xbb\xbfsep=;\r\n" + text)


def tabs(folder: Path, rows: Rows) -> None:
    """Tabs."""
    write(folder / TABLE, rows, delimiter="\t")


def utf_16(folder: Path, rows: Rows) -> None:
    """UTF-16."""
    write(folder / TABLE, rows, encoding="utf-16")


def utf_16_bare(folder: Path, rows: Rows) -> None:
    """UTF-16 without a byte-order mark."""
    write(folder / TABLE, rows, encoding="utf-16-le")


def latin_1(folder: Path, rows: Rows) -> None:
    """Latin-1 with an accent."""
    rows[0]["localization"] = "crâne"
    write(folder / TABLE, rows, encoding="latin-1")


def capital_columns(folder: Path, rows: Rows) -> None:
    """Capitals in the columns' names and in `dx`."""
    write(
        folder / TABLE,
        [{key.upper(): value.upper() if key == "dx" else value for key, value in row.items()} for row in rows],
    )


def suffixed_ids(folder: Path, rows: Rows) -> None:
    """Ids that end in `.jpg`."""
    write(folder / TABLE, [{**row, "image_id": f"{row['image_id']}.jpg"} for row in rows])


def paths_as_ids(folder: Path, rows: Rows) -> None:
    """Ids that are paths with backslashes."""
    write(folder / TABLE, [{**row, "image_id": f"images\\{row['image_id']}.jpg"} for row in rows])


def downsampled(folder: Path, rows: Rows) -> None:
    """Files that end in `_downsampled.jpg`."""
    for row in rows:
        picture(folder, row).rename(folder / "images" / f"{row['image_id']}_downsampled.jpg")


def quoted_line_break(folder: Path, rows: Rows) -> None:
    """A note with a line break in every row."""
    write(folder / TABLE, [{"note": 'two\nlines, "quoted"', **row} for row in rows])


def doubled_column(folder: Path, rows: Rows) -> None:
    """The column `dx` twice, with different values."""
    lines = (folder / TABLE).read_text().splitlines()
    doubled = [f"{lines[0]},dx", *(f"{line},nv" for line in lines[1:])]
    (folder / TABLE).write_text("\n".join(doubled) + "\n")


def loose_comma(folder: Path, rows: Rows) -> None:
    """An unquoted comma in one row, which shifts its cells."""
    text = (folder / TABLE).read_text()
    (folder / TABLE).write_text(text.replace("scalp", "scalp, left", 1))


def renamed_column(folder: Path, rows: Rows) -> None:
    """`diagnosis` instead of `dx`."""
    write(folder / TABLE, [{("diagnosis" if key == "dx" else key): value for key, value in row.items()} for row in rows])


def own_names(folder: Path, rows: Rows) -> None:
    """Other names of columns: `file`, `label`."""
    replaced(folder, "labels.csv", [{"file": f"{row['image_id']}.jpg", "label": row["dx"]} for row in rows])


def spreadsheet(folder: Path, rows: Rows) -> None:
    """The table as `.xlsx`."""
    (folder / TABLE).rename((folder / TABLE).with_suffix(".xlsx"))


def hidden_files(folder: Path, rows: Rows) -> None:
    """macOS' `._` files beside pictures and table."""
    (folder / f"._{TABLE}").write_bytes(b"\0\5\x16\7" * 30)
    for row in rows:
        (folder / "images" / f"._{row['image_id']}.jpg").write_bytes(b"\0\5\x16\7" * 30)


def isic_archive(folder: Path, rows: Rows) -> None:
    """The present table of the ISIC Archive."""
    levels = [dict(zip(("diagnosis_1", "diagnosis_2", "diagnosis_3"), ISIC[row["dx"]], strict=True)) for row in rows]
    lines = [
        {"isic_id": row["image_id"], "attribution": "ViDIR", "age_approx": row["age"], "sex": row["sex"],
         "anatom_site_general": row["localization"], **level, "lesion_id": row["lesion_id"], "patient_id": ""}
        for row, level in zip(rows, levels, strict=True)
    ]  # fmt: skip
    replaced(folder, "metadata.csv", lines)


def isic2018_test(folder: Path, rows: Rows) -> None:
    """ISIC 2018's test table."""
    replaced(folder, "ISIC2018_Task3_Test_GroundTruth.csv", one_hot(rows, ONE_HOT))


def isic2019(folder: Path, rows: Rows) -> None:
    """ISIC 2019, metadata in a second table."""
    replaced(folder, "ISIC_2019_Training_GroundTruth.csv", one_hot(rows, ONE_HOT_2019))
    metadata = [{"image": row["image_id"], "age_approx": row["age"], "lesion_id": row["lesion_id"]} for row in rows]
    write(folder / "ISIC_2019_Training_Metadata.csv", metadata)


def isic2020(folder: Path, rows: Rows) -> None:
    """ISIC 2020, five pictures per patient."""
    lines = [
        {"image_name": row["image_id"], "patient_id": f"IP_{number // 5}", "target": str(int(row["dx"] == "mel"))}
        for number, row in enumerate(rows)
    ]
    replaced(folder, "train.csv", lines)


def pad_ufes_20(folder: Path, rows: Rows) -> None:
    """PAD-UFES-20, PNG."""
    names = {"mel": "MEL", "nv": "NEV", "bcc": "BCC", "akiec": "ACK", "bkl": "SEK"}
    kept = [row for row in rows if row["dx"] in names]
    resaved(folder, rows, ".png")
    lines = [
        {"patient_id": f"PAT_{row['lesion_id']}", "lesion_id": row["lesion_id"][4:], "diagnostic": names[row["dx"]],
         "img_id": f"{row['image_id']}.png", "fitspatrick": "2.0", "gender": "FEMALE"}
        for row in kept
    ]  # fmt: skip
    replaced(folder, "metadata.csv", lines)


def two_archives(folder: Path, rows: Rows) -> None:
    """The tables of two archives in one folder."""
    write(folder / "ISIC2018_Task3_Training_GroundTruth.csv", one_hot(rows, ONE_HOT))


def png(folder: Path, rows: Rows) -> None:
    """PNG."""
    resaved(folder, rows, ".png")


def tiff(folder: Path, rows: Rows) -> None:
    """TIFF."""
    resaved(folder, rows, ".TIF")


def webp(folder: Path, rows: Rows) -> None:
    """Lossless WebP."""
    resaved(folder, rows, ".webp")


def opaque(folder: Path, rows: Rows) -> None:
    """PNG with an opaque alpha channel."""
    resaved(folder, rows, ".png", "RGBA")


def cmyk(folder: Path, rows: Rows) -> None:
    """TIFF in CMYK."""
    resaved(folder, rows, ".tif", "CMYK")


def grey_16_bits(folder: Path, rows: Rows) -> None:
    """PNG, grey in 16 bits."""
    for row in rows:
        old = picture(folder, row)
        grey = np.asarray(Image.open(old).convert("L")).astype(np.uint16) * 257
        Image.fromarray(grey).save(old.with_suffix(".png"))
        old.unlink()


def orientation(folder: Path, rows: Rows) -> None:
    """Five pictures stored rotated, with an orientation tag that corrects it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    for row in rows[:5]:
        Image.open(picture(folder, row)).transpose(Image.Transpose.ROTATE_90).save(
            picture(folder, row), quality=95, exif=exif
        )


def twice(folder: Path, rows: Rows) -> None:
    """Every picture twice, the second time under another id and lesion; five with another diagnosis."""
    again = []
    for number, row in enumerate(rows):
        copied_row = {**row, "image_id": f"ISIC_9{number:06d}", "lesion_id": f"HAM_9{number:06d}"}
        if number < 5:
            copied_row["dx"] = "mel" if row["dx"] != "mel" else "nv"
        shutil.copy(picture(folder, row), picture(folder, copied_row))
        again.append(copied_row)
    write(folder / TABLE, [*rows, *again])


def twice_as_png(folder: Path, rows: Rows) -> None:
    """The same, with the second copy as PNG: different bytes, the same pixels."""
    twice(folder, rows)
    for path in (folder / "images").glob("ISIC_9*.jpg"):
        Image.open(path).save(path.with_suffix(".png"))
        path.unlink()


CASES: tuple[Case, ...] = (
    plain, browser_name, lower_case_name, semicolons, excel, tabs, utf_16, utf_16_bare, latin_1, capital_columns,
    suffixed_ids, paths_as_ids, downsampled, quoted_line_break, doubled_column, loose_comma, renamed_column, own_names,
    spreadsheet,
    hidden_files, isic_archive, isic2018_test, isic2019, isic2020, pad_ufes_20, two_archives, png, tiff, webp, opaque, cmyk,
    grey_16_bits, orientation, twice, twice_as_png,
)  # fmt: skip


if __name__ == "__main__":
    main()
