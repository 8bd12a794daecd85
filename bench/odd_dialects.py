"""What `--data` makes of folders that no test has: docs/results/archives.md, "Odd folders".

    python bench/odd_dialects.py --data HAM10000 --work /tmp/odd [--images 9]

As bench/archives.py: variants of a HAM10000 folder are written below `--work`, read, and told in a table; only figures are
printed.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from skinaudit.bench.archives import ONE_HOT_2019, TABLE, Rows, one_hot, outcome, picture, plain_folder, replaced, write
from skinaudit.errors import SkinauditError
from skinaudit.trainer.data.load import load

Case = Callable[[Path, Rows], None]


def main() -> None:
    """Parse the command line, write the folders, read them, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--images", type=int, default=9, help="of each class")
    parser.add_argument("--only", help="the case of this name alone")
    options = parser.parse_args()
    rows = plain_folder(options.data, options.work / "base", options.images)
    plain = load(str(options.work / "base"), size=32, cache=options.work / "cache")
    print("| folder | what is read and said |\n|---|---|")
    for case in CASES:
        if options.only not in (None, case.__name__):
            continue
        folder = options.work / case.__name__
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(options.work / "base", folder)
        case(folder, [dict(row) for row in rows])
        message = f"{outcome(folder, options.work, plain, longest=900)}{_classes_and_notes(folder, options.work)}"
        print(f"| {(case.__doc__ or '').rstrip('.')} | {message} |")


def _classes_and_notes(folder: Path, work: Path) -> str:
    try:
        dataset = load(str(folder), size=32, cache=work / "cache")
    except SkinauditError:
        return ""
    return "; ".join(["", f"classes {', '.join(dataset.classes)}", *dataset.notes])


def tree(folder: Path, rows: Rows, *, parts: bool = False) -> None:
    """Move the pictures into folders named after their diagnoses, without a table."""
    (folder / TABLE).unlink()
    for number, row in enumerate(rows):
        part = ("train", "train", "test")[number % 3] if parts else "."
        home = folder / part / row["dx"]
        home.mkdir(parents=True, exist_ok=True)
        picture(folder, row).rename(home / f"{row['image_id']}.jpg")
    (folder / "images").rmdir()


# Each case's first line is its row's title.


def row_names_of_r(folder: Path, rows: Rows) -> None:
    """A table as R's `write.table` makes it: row numbers under no header."""
    lines = (folder / TABLE).read_text().splitlines()
    (folder / TABLE).write_text("\n".join([lines[0], *(f"{n},{line}" for n, line in enumerate(lines[1:], 1))]) + "\n")


def index_of_pandas(folder: Path, rows: Rows) -> None:
    """A table as pandas' `to_csv` makes it: row numbers under an empty name."""
    lines = (folder / TABLE).read_text().splitlines()
    (folder / TABLE).write_text("\n".join([f",{lines[0]}", *(f"{n},{line}" for n, line in enumerate(lines[1:]))]) + "\n")


def comments(folder: Path, rows: Rows) -> None:
    """Three lines of comment (`# ...`) above the header."""
    text = (folder / TABLE).read_text()
    (folder / TABLE).write_text(f"# HAM10000\n# exported 2026-11-01, 10:00\n#\n{text}")


def markdown(folder: Path, rows: Rows) -> None:
    """A table with bars at both ends and a line of dashes, as Markdown has it."""
    lines = [line.split(",") for line in (folder / TABLE).read_text().splitlines()]
    lines.insert(1, ["---"] * len(lines[0]))
    (folder / TABLE).write_text("".join(f"| {' | '.join(cells)} |\n" for cells in lines))


def table_as_json(folder: Path, rows: Rows) -> None:
    """The table as JSON, a list of records."""
    (folder / TABLE).unlink()
    (folder / "HAM10000_metadata.json").write_text(json.dumps(rows))


def table_as_parquet(folder: Path, rows: Rows) -> None:
    """The table as Parquet."""
    (folder / TABLE).unlink()
    (folder / "HAM10000_metadata.parquet").write_bytes(b"PAR1" + bytes(200) + b"PAR1")


def pictures_in_zip(folder: Path, rows: Rows) -> None:
    """The pictures still packed in a .zip beside the table."""
    with zipfile.ZipFile(folder / "HAM10000_images_part_1.zip", "w") as pack:
        for row in rows:
            pack.write(picture(folder, row), f"{row['image_id']}.jpg")
            picture(folder, row).unlink()


def names_composed(folder: Path, rows: Rows) -> None:
    """Names with an umlaut, composed in the table and decomposed in the files, as macOS writes them."""
    for row in rows:
        old, name = picture(folder, row), f"Läsion_{row['image_id']}"
        row["image_id"] = unicodedata.normalize("NFC", name)
        old.rename(old.with_name(f"{unicodedata.normalize('NFD', name)}.jpg"))
    write(folder / TABLE, rows)


def double_suffix(folder: Path, rows: Rows) -> None:
    """Files that end in `.jpg.jpg`."""
    for row in rows:
        picture(folder, row).rename(folder / "images" / f"{row['image_id']}.jpg.jpg")


def zeros_lost(folder: Path, rows: Rows) -> None:
    """Ids that were numbers: `00001.jpg` in the folder, `1` in the table, as Excel saves it."""
    for number, row in enumerate(rows):
        picture(folder, row).rename(folder / "images" / f"{number:05d}.jpg")
        row["image_id"] = str(number)
    write(folder / TABLE, rows)


def float_patients(folder: Path, rows: Rows) -> None:
    """ISIC 2020 whose patients are `12.0` in one half and `12` in the other."""
    lines = [
        {"image_name": row["image_id"], "patient_id": f"{n % 20}{'.0' if n % 40 < 20 else ''}",
         "target": str(int(row["dx"] == "mel"))}
        for n, row in enumerate(rows)
    ]  # fmt: skip
    replaced(folder, "train.csv", lines)


def soft_labels(folder: Path, rows: Rows) -> None:
    """ISIC 2019 with two columns of 0.5 in three rows."""
    lines = one_hot(rows, ONE_HOT_2019)
    for line in lines[:3]:
        line.update({"MEL": "0.5", "NV": "0.5", **dict.fromkeys(ONE_HOT_2019[2:], "0.0")})
    replaced(folder, "ISIC_2019_Training_GroundTruth.csv", lines)


def no_class(folder: Path, rows: Rows) -> None:
    """ISIC 2019 with three rows of zeros."""
    lines = one_hot(rows, ONE_HOT_2019)
    for line in lines[:3]:
        line.update(dict.fromkeys(ONE_HOT_2019, "0.0"))
    replaced(folder, "ISIC_2019_Training_GroundTruth.csv", lines)


def same_line_twice(folder: Path, rows: Rows) -> None:
    """Every line twice, word for word."""
    write(folder / TABLE, [*rows, *rows])


def html_for_a_picture(folder: Path, rows: Rows) -> None:
    """Two pictures that are pages of a server (`<html>`), one of no bytes, one cut in half."""
    picture(folder, rows[0]).write_text("<html><body>403 Forbidden</body></html>")
    picture(folder, rows[1]).write_text("<!DOCTYPE html><title>Sign in</title>")
    picture(folder, rows[2]).write_bytes(b"")
    path = picture(folder, rows[3])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def broken_links(folder: Path, rows: Rows) -> None:
    """Pictures that are links, two of which lead nowhere."""
    (folder / "store").mkdir()
    for n, row in enumerate(rows):
        path = picture(folder, row)
        target = folder / "store" / f"{n}.bin"
        path.rename(target)
        path.symlink_to(target if n > 1 else folder / "gone.jpg")


def ages_and_sexes(folder: Path, rows: Rows) -> None:
    """Ages such as `45-50`, `450`, `-1`, `fifty`; sexes `M`, `Female`, `x`."""
    for n, row in enumerate(rows):
        row["age"], row["sex"] = ("45-50", "450", "-1", "fifty", "60.0")[n % 5], ("M", "Female", "x", "", "w")[n % 5]
    write(folder / TABLE, rows)


def notebook_checkpoints(folder: Path, rows: Rows) -> None:
    """A tree with `.ipynb_checkpoints` beside and in the classes, `Thumbs.db` and `desktop.ini`."""
    tree(folder, rows)
    for home in (folder, folder / "mel"):
        (home / ".ipynb_checkpoints").mkdir()
        shutil.copy(next((folder / "mel").glob("*.jpg")), home / ".ipynb_checkpoints" / "ISIC-checkpoint.jpg")
    (folder / "mel" / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    (folder / "nv" / "desktop.ini").write_text("[.ShellClassInfo]\n")


def capitals_differ(folder: Path, rows: Rows) -> None:
    """A tree whose training has `MEL` and whose test has `mel`."""
    tree(folder, rows, parts=True)
    for home in sorted((folder / "train").iterdir()):
        home.rename(home.with_name(home.name.upper()))


def parts_in_capitals(folder: Path, rows: Rows) -> None:
    """A tree of `Training`, `Validation` and `TEST`."""
    tree(folder, rows, parts=True)
    (folder / "train").rename(folder / "Training")
    (folder / "test").rename(folder / "TEST")
    (folder / "Validation").mkdir()
    for home in sorted((folder / "Training").iterdir()):
        (folder / "Validation" / home.name).mkdir()
        first = min(home.iterdir())
        first.rename(folder / "Validation" / home.name / first.name)


def folds(folder: Path, rows: Rows) -> None:
    """A tree of five folds: `fold_1/CLASS/*.jpg`."""
    tree(folder, rows)
    for home in sorted(path for path in folder.iterdir() if path.is_dir()):
        for n, path in enumerate(sorted(home.iterdir())):
            target = folder / f"fold_{n % 5 + 1}" / home.name
            target.mkdir(parents=True, exist_ok=True)
            path.rename(target / path.name)
        home.rmdir()


def patients_below_classes(folder: Path, rows: Rows) -> None:
    """A tree with a folder for each patient: `CLASS/patient_7/*.jpg`."""
    tree(folder, rows)
    for home in sorted(path for path in folder.iterdir() if path.is_dir()):
        for n, path in enumerate(sorted(home.iterdir())):
            target = home / f"patient_{n // 2}"
            target.mkdir(exist_ok=True)
            path.rename(target / path.name)


def masks_beside(folder: Path, rows: Rows) -> None:
    """A tree with a mask beside each picture (`_segmentation.png`)."""
    tree(folder, rows)
    for path in sorted(folder.rglob("*.jpg")):
        Image.new("L", (200, 150), 255).save(path.with_name(f"{path.stem}_segmentation.png"))


def masks_in_a_folder(folder: Path, rows: Rows) -> None:
    """A tree whose masks lie in a folder `masks` beside the classes."""
    tree(folder, rows)
    (folder / "masks").mkdir()
    for path in sorted(folder.rglob("*.jpg")):
        Image.new("L", (200, 150), 255).save(folder / "masks" / f"{path.stem}.png")


def numbered_classes(folder: Path, rows: Rows) -> None:
    """A tree of classes `1` to `11`, two of them with one picture."""
    tree(folder, rows)
    for n, name in enumerate(("mel", "nv", "bcc", "akiec", "bkl", "df", "vasc"), 1):
        (folder / name).rename(folder / f"{n}")
    for name in ("10", "11"):
        (folder / name).mkdir()
        path = min((folder / "1").iterdir())
        path.rename(folder / name / path.name)


def one_class(folder: Path, rows: Rows) -> None:
    """A tree of one class."""
    tree(folder, rows)
    for home in sorted(path for path in folder.iterdir() if path.is_dir() and path.name != "mel"):
        shutil.rmtree(home)


def table_in_a_tree(folder: Path, rows: Rows) -> None:
    """A tree with the table of HAM10000 beside it, which tells another class of three pictures."""
    text = (folder / TABLE).read_text()
    tree(folder, rows)
    lines = list(csv.DictReader(text.splitlines()))
    for line in lines[:3]:
        line["dx"] = "df"
    write(folder / TABLE, lines)


def names_of_their_own(folder: Path, rows: Rows) -> None:
    """A tree of `Basal cell carcinoma (BCC)`, `Nävus`, `naevus; benign`, `mel "in situ"`."""
    tree(folder, rows)
    names = {"bcc": "Basal cell carcinoma (BCC)", "nv": "Nävus", "bkl": "naevus; benign", "mel": 'mel "in situ"'}
    for old, new in names.items():
        (folder / old).rename(folder / new)


def animated(folder: Path, rows: Rows) -> None:
    """One picture as animated WebP, one as APNG, one as MPO with a preview, one PNG with `tRNS`, one of two bits."""
    frames = [Image.open(picture(folder, row)).convert("RGB") for row in rows[:2]]
    for row, suffix, name in zip(rows, ("webp", "png", "jpg"), ("WEBP", "PNG", "MPO"), strict=False):
        path = picture(folder, row)
        path.unlink()
        frames[0].save(path.with_suffix(f".{suffix}"), format=name, save_all=True, append_images=frames[1:])
    path = picture(folder, rows[3])
    image = Image.open(path).convert("RGB")
    path.unlink()
    image.save(path.with_suffix(".png"), transparency=image.getpixel((0, 0)))
    path = picture(folder, rows[4])
    image = Image.open(path).convert("L").point(lambda grey: grey // 64).convert("P")
    image.putpalette([level for grey in (0, 85, 170, 255) for level in (grey,) * 3])
    path.unlink()
    image.save(path.with_suffix(".png"), bits=2)


def turned_png_and_webp(folder: Path, rows: Rows) -> None:
    """Three pictures turned in the file, with a tag that turns them back, as PNG, WebP and TIFF."""
    exif = Image.Exif()
    exif[0x0112] = 8
    for row, suffix in zip(rows, (".png", ".webp", ".tif"), strict=False):
        path = picture(folder, row)
        image = Image.open(path).convert("RGB").transpose(Image.Transpose.ROTATE_270)
        path.unlink()
        image.save(path.with_suffix(suffix), exif=exif, lossless=True)


def adobe_cmyk(folder: Path, rows: Rows) -> None:
    """Three pictures as CMYK JPEG."""
    for row in rows[:3]:
        path = picture(folder, row)
        Image.open(path).convert("CMYK").save(path, quality=98)


def twelve_bits(folder: Path, rows: Rows) -> None:
    """Two 16-bit PNG that use 12 bits."""
    for row in rows[:2]:
        path = picture(folder, row)
        grey = np.asarray(Image.open(path).convert("L")).astype(np.uint16) * 16
        path.unlink()
        Image.fromarray(grey).save(path.with_suffix(".png"))


def decimal_commas(folder: Path, rows: Rows) -> None:
    """ISIC 2019 with semicolons and `1,0`, thousands of spaces, the header in quotes and capitals."""
    lines = one_hot(rows, ONE_HOT_2019)
    (folder / TABLE).unlink()
    head = ";".join(f'" {name.upper()} "' for name in lines[0])
    body = [";".join(f"  {value.replace('.', ',')}  " for value in line.values()) for line in lines]
    (folder / "ISIC_2019_Training_GroundTruth.csv").write_text("\n".join([head, *body]) + "\n")


def old_mac_encoding(folder: Path, rows: Rows) -> None:
    """UTF-32."""
    write(folder / TABLE, rows, encoding="utf-32")


CASES: tuple[Case, ...] = (
    row_names_of_r, index_of_pandas, comments, markdown, table_as_json, table_as_parquet, pictures_in_zip, names_composed,
    double_suffix, zeros_lost, float_patients, soft_labels, no_class, same_line_twice, html_for_a_picture, broken_links,
    ages_and_sexes, notebook_checkpoints, capitals_differ, parts_in_capitals, folds, patients_below_classes, masks_beside,
    masks_in_a_folder, numbered_classes, one_class, table_in_a_tree, names_of_their_own, animated, turned_png_and_webp,
    adobe_cmyk, twelve_bits, decimal_commas, old_mac_encoding,
)  # fmt: skip


if __name__ == "__main__":
    main()
