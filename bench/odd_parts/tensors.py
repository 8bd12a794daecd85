"""Sets, and archives of arrays."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

from skinaudit.bench.odd_parts.case import Case, Place

_TB = 2**40


def sets(header: Any, *, size: int | None = None, body: bytes = b"\0" * 64) -> Callable[[Place], list[str]]:
    """An audit with a folder of sets that holds a file with this header. size: as the file says."""

    def build(place: Place) -> list[str]:
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        place.write("sets/clean.safetensors", (len(text) if size is None else size).to_bytes(8, "little") + text + body)
        return ["audit", str(place.source / "engines" / "fp32.onnx"), "--sets", "sets"]

    return build


def tensor(shape: list[int], start: int, end: int, dtype: str = "U8") -> dict[str, Any]:
    """The entry of a tensor."""
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def data(content: Callable[[Place], bytes]) -> Callable[[Place], list[str]]:
    """A training on an archive of arrays."""
    return lambda place: ["train", "--data", place.write("data.npz", content(place)), "--out", "new", "--epochs", "1"]


def archive(**members: bytes) -> bytes:
    """A compressed archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as target:
        for name, member in members.items():
            target.writestr(f"{name}.npy", member)
    return buffer.getvalue()


def npy(shape: str, *, dtype: str = "|u1", body: bytes = b"") -> bytes:
    """An array whose header says so."""
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + body


def bomb(place: Place) -> bytes:
    """Four GiB of zeros in four MiB."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as target:
        for name in ("images", "labels"):
            with target.open(f"{name}.npy", "w", force_zip64=True) as stream:
                stream.write(npy("(1398101, 3, 32, 32)"))
                for _ in range(2**9):
                    stream.write(bytes(2**23))
    return buffer.getvalue()


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, (f"open({self.marker!r}, 'w').close()",))


def pickled(place: Place) -> bytes:
    """Arrays of objects."""
    objects = np.empty(3, object)
    objects[:] = [Payload(str(place.marker))] * 3
    buffer = io.BytesIO()
    np.savez(buffer, images=objects, labels=objects)
    return buffer.getvalue()


def overlapping(place: Place) -> bytes:
    """Two members in one place."""
    content = bytearray(archive(images=npy("(4, 3, 8, 8)", body=bytes(768)), labels=npy("(4,)", body=bytes(4))))
    second = content.rindex(b"PK\x01\x02")
    content[second + 42 : second + 46] = bytes(4)
    return bytes(content)


def weights(place: Place) -> list[str]:
    """Weights that are a pickle."""
    place.write("weights.pt", pickle.dumps(Payload(str(place.marker))))
    return ["train", "--weights", "weights.pt", "--images", "280", "--size", "32", "--epochs", "1", "--out", "new"]


HUGE = {"images": tensor([2**40, 3, 2**10, 2**10], 0, 2**62)}
OVERLAP = {name: tensor([64], 0, 64) for name in ("images", "labels", "group", "ids", "source_logits")}
CASES = (
    Case("set: header of 2^63 bytes", sets({}, size=2**63)),
    Case("set: header of 90 MB of blanks", lambda place: sets(b"{" + b" " * 90_000_000 + b"}")(place)),
    Case("set: 2^92 bytes of images", sets(HUGE)),
    Case("set: shape beyond 64 bits", sets({"images": tensor([2**63, 2**63, 3, 3], 0, 64)})),
    Case("set: negative shape", sets({"images": tensor([-1, 3, 8, 8], 0, 64)})),
    Case("set: overlapping tensors", sets(OVERLAP)),
    Case("set: offsets backwards", sets({"images": tensor([64], 64, 0)})),
    Case("set: 100,000 tensors", sets({f"t{n}": tensor([0], 0, 0) for n in range(100_000)}, body=b"")),
    Case("set: lists in lists", sets(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}")),
    Case("set: header without UTF-8", sets(b'{"\xff": 1}')),
    Case("archive .npz: bomb of 8 GiB", data(bomb)),
    Case("archive .npz: pickled payload", data(pickled)),
    Case(
        "archive .npz: shape of 2^100",
        data(lambda _: archive(images=npy(f"({2**50}, {2**50})"), labels=npy("(3,)", body=b"abc"))),
    ),
    Case(
        "archive .npz: negative shape", data(lambda _: archive(images=npy("(-1, 3, 8, 8)"), labels=npy("(3,)", body=b"abc")))
    ),
    Case(
        "archive .npz: a header that is Python",
        data(lambda _: archive(images=npy("(__import__('os').getpid(),)"), labels=b"")),
    ),
    Case(
        "archive .npz: header of nested brackets", data(lambda _: archive(images=npy("(" * 9000 + ")" * 9000), labels=b""))
    ),
    Case("archive .npz: members that overlap", data(overlapping)),
    Case("archive .npz: 1 TB of holes", lambda place: ["train", "--data", place.sparse("data.npz", _TB), "--out", "new"]),
    Case(
        "archive .npz: structured type",
        data(lambda _: archive(images=npy("(2,)", dtype="|V99999999"), labels=npy("(2,)", body=b"ab"))),
    ),
    Case("weights: a pickled payload", weights),
)
