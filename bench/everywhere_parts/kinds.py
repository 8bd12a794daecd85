"""What a stranger may put in the place of a file: things that are no files, and files that run code where one lets them."""

from __future__ import annotations

import io
import os
import pickle
import socket
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_TB = 2**40


@dataclass(frozen=True)
class Kind:
    """make: puts the thing at a path, which is free; marker: the file that its code writes if it runs. payload: it has such
    code."""

    make: Callable[[Path, Path], object]
    payload: bool = False


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self._marker = str(marker)

    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, (python(Path(self._marker)),))


def python(marker: Path) -> str:
    """Python that writes the marker."""
    return f"open({str(marker)!r}, 'w').close()"


def pickled(marker: Path) -> bytes:
    """A pickle."""
    return pickle.dumps(Payload(marker), protocol=2)


def of_torch(marker: Path) -> bytes:
    """A pickle in the archive that torch.save writes."""
    return zipped({"archive/data.pkl": pickled(marker), "archive/version": b"3\n", "archive/byteorder": b"little"})


def of_numpy(marker: Path) -> bytes:
    """Arrays of objects in an archive of NumPy."""
    head = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
    head += b" " * (-(len(head) + 11) % 64) + b"\n"
    array = b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + pickled(marker)
    return zipped({f"{name}.npy": array for name in ("images", "labels", "train_images", "train_labels", "test_images")})


def of_program(marker: Path) -> bytes:
    """An exported program of torch whose sample inputs are a pickle and whose sizes are Python."""
    model = '{"graph_module": {"range_constraints": {"s0": {"expr_str": "' + python(marker).replace('"', "'") + '"}}}}'
    return zipped({
        "p/archive_format": b"pt2", "p/version": b"6", "p/archive_version": b"0", "p/byteorder": b"little",
        "p/models/model.json": model.encode(), "p/data/sample_inputs/model.pt": of_torch(marker),
        "p/data/weights/model.pt": of_torch(marker), "p/data/constants/model.pt": of_torch(marker),
    })  # fmt: skip


def of_package(marker: Path) -> bytes:
    """A package of AOTInductor with a library of machine code."""
    return zipped({
        "p/archive_format": b"pt2", "p/version": b"6", "p/data/weights/model.pt": of_torch(marker),
        "p/data/aotinductor/model/a.so": machine_code(marker), "p/data/aotinductor/model/a.wrapper.json": b"{}",
    })  # fmt: skip


def zipped(members: Mapping[str, bytes]) -> bytes:
    """A ZIP archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def leaving(marker: Path) -> bytes:
    """A ZIP archive with a member that leads to the marker, above every folder and by its own path."""
    return zipped({"../" * 12 + str(marker).lstrip("/"): b"x", str(marker): b"x"})


def leaving_tar(marker: Path) -> bytes:
    """A TAR archive with a link out of it and a member behind that link."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        link = tarfile.TarInfo("run")
        link.type, link.linkname = tarfile.SYMTYPE, str(marker.parent)
        archive.addfile(link)
        member = tarfile.TarInfo(f"run/{marker.name}")
        archive.addfile(member, io.BytesIO())
    return buffer.getvalue()


def machine_code(marker: Path) -> bytes:
    """A library that writes the marker when it is loaded."""
    return _library().replace(b"M" * _LONGEST, str(marker).encode().ljust(_LONGEST, b"\0"))


_LONGEST = 250


@cache
def _library() -> bytes:
    source = (
        "#include <fcntl.h>\n#include <unistd.h>\nstatic volatile char marker[] = \"" + "M" * _LONGEST + "\";\n"
        "__attribute__((constructor)) static void run(void) {"
        " int file = open((const char *)marker, O_CREAT | O_WRONLY, 0600); if (file >= 0) close(file); }\n"
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "library.so"
        command = ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(library)]
        subprocess.run(command, input=source.encode(), capture_output=True, check=True)
        return library.read_bytes()


def script(marker: Path) -> bytes:
    """PostScript and a shell script in one, for readers of pictures that call a program."""
    return f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%touch {marker}) (w) file\n".encode()


def document(marker: Path) -> bytes:
    """YAML and XML that construct an object or read a file."""
    return (
        f'<?xml version="1.0"?><!DOCTYPE net [<!ENTITY x SYSTEM "file:///etc/passwd">]><net name="&x;">'
        f"<!-- !!python/object/apply:os.system ['touch {marker}'] --></net>"
    ).encode()


def text(marker: Path) -> bytes:
    """A file of Python, which is also what a template or an expression would be."""
    return f"__import__('pathlib').Path({str(marker)!r}).touch()  # {{{{ self.__init__.__globals__ }}}} ${{IFS}}\n".encode()


def _written(content: Callable[[Path], bytes]) -> Callable[[Path, Path], object]:
    return lambda path, marker: path.write_bytes(content(marker))


def _sparse(path: Path, marker: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(_TB)


def _pipes(path: Path, marker: Path) -> None:
    path.mkdir()
    for name in ("run.json", "clean.safetensors"):
        os.mkfifo(path / name)


def _socket(path: Path, marker: Path) -> None:
    before = Path.cwd()
    os.chdir(path.parent)  # a socket's path is short
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path.name)
    finally:
        os.chdir(before)


KINDS: Mapping[str, Kind] = {
    "pipe": Kind(lambda path, marker: os.mkfifo(path)),
    "link to /dev/zero": Kind(lambda path, marker: path.symlink_to("/dev/zero")),
    "link to itself": Kind(lambda path, marker: path.symlink_to(path.name)),
    "link to nowhere": Kind(lambda path, marker: path.symlink_to("nowhere/at/all")),
    "socket": Kind(_socket),
    "folder": Kind(lambda path, marker: path.mkdir()),
    "folder of pipes": Kind(_pipes),
    "1 TB of holes": Kind(_sparse),
    "nothing": Kind(lambda path, marker: path.touch()),
    "zeros": Kind(lambda path, marker: path.write_bytes(bytes(10_000))),
    "pickle": Kind(_written(pickled), payload=True),
    "pickle of torch": Kind(_written(of_torch), payload=True),
    "pickle of NumPy": Kind(_written(of_numpy), payload=True),
    "program of torch": Kind(_written(of_program), payload=True),
    "package of AOTInductor": Kind(_written(of_package), payload=True),
    "machine code": Kind(_written(machine_code), payload=True),
    "PostScript": Kind(_written(script), payload=True),
    "XML and YAML": Kind(_written(document), payload=True),
    "Python": Kind(_written(text), payload=True),
    "ZIP that leads out": Kind(_written(leaving), payload=True),
    "TAR that leads out": Kind(_written(leaving_tar), payload=True),
}  # fmt: skip
