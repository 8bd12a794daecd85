"""Tables of images, spreadsheets, archives of arrays and weights that grow when they are read."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from typing import Any

from skinaudit.bench.odd_parts.case import Case, Place
from skinaudit.bench.odd_parts.pictures import png
from skinaudit.bench.odd_parts.tensors import npy

_WORDS = ("--out", "new", "--epochs", "1", "--size", "32", "--threads", "1")
_COLUMNS = "lesion_id,image_id,dx,dx_type,age,sex,localization"
_LINE = "L0,a,mel,histo,50,male,back\n"
_CONTENT = "[Content_Types].xml"


def table(content: Callable[[], bytes], name: str = "HAM10000_metadata.csv") -> Callable[[Place], list[str]]:
    """A training on a folder with this table and a picture."""

    def build(place: Place) -> list[str]:
        place.write("data/a.png", png(8, 8))
        place.write(f"data/{name}", content())
        return ["train", "--data", "data", *_WORDS]

    return build


def wide(lines: int) -> bytes:
    """A million columns, and so many lines that leave nearly all of them out."""
    return (_COLUMNS + "".join(f",c{index}" for index in range(10**6)) + "\n" + _LINE * lines).encode()


def many_cells() -> bytes:
    """A thousand columns, and 200,000 lines that leave nearly all of them out."""
    return (_COLUMNS + "".join(f",c{index}" for index in range(1000)) + "\n" + _LINE * 200_000).encode()


def spreadsheet() -> bytes:
    """A book of 2,000 parts of 128 MiB that are all the same bytes of the file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as book:
        book.writestr(_CONTENT, b"x" * 2**27)
    whole = buffer.getvalue()
    start = whole.index(b"PK\x01\x02")
    entry = whole[start : start + 46 + len(_CONTENT)]
    end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 2000, 2000, 2000 * len(entry), start, 0)
    return whole[:start] + entry * 2000 + end


def medmnist(name: str, member: Callable[[zipfile.ZipFile], None]) -> Callable[[Place], list[str]]:
    """A training on a file of MedMNIST, one array of which is written like this."""

    def build(place: Place) -> list[str]:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as target:
            member(target)
            for part, count in (("train", 8), ("val", 2), ("test", 2)):
                for key, whole in (
                    (f"{part}_images.npy", npy(f"({count}, 28, 28, 3)", body=bytes(count * 28 * 28 * 3))),
                    (f"{part}_labels.npy", npy(f"({count}, 1)", body=bytes(range(2)) * (count // 2))),
                ):
                    if key != name:
                        target.writestr(key, whole)
        return ["train", "--data", place.write("data.npz", buffer.getvalue()), *_WORDS]

    return build


def long_member(name: str, head: bytes, body: int) -> Callable[[Place], list[str]]:
    """The array begins like this, and so many MiB of zeros follow."""

    def write(target: zipfile.ZipFile) -> None:
        with target.open(name, "w", force_zip64=True) as stream:
            stream.write(head)
            for _ in range(body):
                stream.write(bytes(2**20))

    return medmnist(name, write)


def short_member(name: str, content: bytes) -> Callable[[Place], list[str]]:
    """The array is this."""
    return medmnist(name, lambda target: target.writestr(name, content))


def weights(make: Callable[[], Any], *, packed: bool = False) -> Callable[[Place], list[str]]:
    """A training that starts from these weights."""

    def build(place: Place) -> list[str]:
        import torch

        buffer = io.BytesIO()
        torch.save(make(), buffer)
        content = buffer.getvalue()
        if packed:
            packed_again = io.BytesIO()
            with zipfile.ZipFile(buffer) as archive, zipfile.ZipFile(packed_again, "w", zipfile.ZIP_DEFLATED) as target:
                for member in archive.namelist():
                    target.writestr(member, archive.read(member))
            content = packed_again.getvalue()
        return ["train", "--weights", place.write("weights.pth", content), "--images", "280", *_WORDS]

    return build


def repeated() -> dict[str, Any]:
    """One number that stands for 2^40."""
    import torch

    return {"features.0.weight": torch.zeros(1).expand(2**20, 2**20)}


def zeros() -> dict[str, Any]:
    """A GiB of zeros."""
    import torch

    return {"features.0.weight": torch.zeros(2**28)}


def of_no_places() -> dict[str, Any]:
    """A tensor that lists no places, of a shape of 2^60."""
    import torch

    empty = torch.zeros((2, 0), dtype=torch.int64), torch.zeros(0)
    return {"features.0.weight": torch.sparse_coo_tensor(*empty, (2**30, 2**30), check_invariants=False)}


def numbered() -> dict[Any, Any]:
    """A tensor whose name is a number."""
    import torch

    return {7: torch.zeros(3)}


def header(content: bytes, *, length: int | None = None) -> Callable[[Place], list[str]]:
    """A training that starts from a safetensors file with this header."""

    def build(place: Place) -> list[str]:
        stated_length = struct.pack("<Q", len(content) if length is None else length)
        return ["train", "--weights", place.write("w.safetensors", stated_length + content), "--images", "280", *_WORDS]

    return build


CASES = (
    Case("bomb: table of a million columns", table(lambda: wide(1))),
    Case("bomb: table of a million columns and short lines", table(lambda: wide(1000))),
    Case("bomb: table of 200 million cells that are left out", table(many_cells)),
    Case("bomb: table with a line of 400 MB", table(lambda: f"{_COLUMNS}\n".encode() + b"," * (4 * 10**8))),
    Case("bomb: table of 600 MB", table(lambda: f"{_COLUMNS}\n".encode() + b"\n" * (6 * 10**8))),
    Case("bomb: table of 100 million empty lines", table(lambda: f"{_COLUMNS}\n".encode() + b"\n" * 10**8)),
    Case("bomb: table with a quote that is never closed", table(lambda: f'{_COLUMNS}\n"{_LINE * 20_000}'.encode())),
    Case("bomb: table of NULs", table(lambda: f"{_COLUMNS}\n".encode() + b"\0" * 10**6)),
    Case("bomb: table that names a quote as what separates", table(lambda: f'sep="\n{_COLUMNS}\n{_LINE}'.encode())),
    Case("bomb: spreadsheet of 256 GB", table(spreadsheet, "book.xlsx")),
    Case(
        "bomb: .npz of 3 GiB of zeros",
        long_member("train_images.npy", npy("(1048576, 32, 32, 3)"), 3 * 2**10),
    ),
    Case(
        "bomb: .npz, a header of 2 GiB", long_member("train_images.npy", b"\x93NUMPY\x02\0" + struct.pack("<I", 2**31), 2048)
    ),
    Case("bomb: .npz, a header of brackets", short_member("train_images.npy", npy("(" * 9000 + ")" * 9000))),
    Case("bomb: .npz, labels of objects", short_member("train_labels.npy", npy("(8, 1)", dtype="|O", body=bytes(64)))),
    Case("bomb: .npz, version 9 of arrays", short_member("train_images.npy", b"\x93NUMPY\x09\x09" + bytes(64))),
    Case("bomb: weights that repeat a number 2^40 times", weights(repeated)),
    Case("bomb: weights of a GiB, packed", weights(zeros, packed=True)),
    Case("bomb: weights of no places", weights(of_no_places)),
    Case("bomb: weights whose name is a number", weights(numbered)),
    Case("bomb: .safetensors, header of 2^63 bytes", header(b"{}", length=2**63)),
    Case(
        "bomb: .safetensors, a shape of 2^80",
        header(b'{"a":{"dtype":"F32","shape":[1099511627776,1099511627776],"data_offsets":[0,0]}}'),
    ),
)
