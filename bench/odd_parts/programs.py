"""Exported programs (.pt2) with payloads, through every command that meets an engine."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

from skinaudit.bench.odd_parts.case import Case, Place, change_json
from skinaudit.bench.odd_parts.graphs import CONTRACT
from skinaudit.bench.odd_parts.tensors import Payload

Parts = dict[str, bytes]


def parts_of(program: Path) -> Parts:
    """The parts of a program by their names without the first folder."""
    with zipfile.ZipFile(program) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def first(parts: Parts, start: str, end: str = "") -> str:
    """The first part whose name begins and ends so."""
    return next(name for name in parts if name.startswith(start) and name.endswith(end))


def in_samples(parts: Parts, marker: str) -> None:
    """A payload among the sample inputs, as torch.save lays them down."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Payload(marker), protocol=2))
        archive.writestr("archive/version", "3\n")
    parts[first(parts, "data/sample_inputs/")] = buffer.getvalue()


def in_older_weights(parts: Parts, marker: str) -> None:
    """A payload in weights of the older format."""
    parts["data/weights/model.pt"] = pickle.dumps(Payload(marker), protocol=2)


def in_a_weight(parts: Parts, marker: str) -> None:
    """A payload in a single weight."""
    name = first(parts, "data/weights/", "_config.json")
    config = json.loads(parts[name])
    entry = next(iter(config["config"].values()))
    entry["use_pickle"] = True
    parts[f"data/weights/{entry['path_name']}"] = pickle.dumps(Payload(marker), protocol=2)
    parts[name] = json.dumps(config).encode()


def in_a_size(parts: Parts, marker: str) -> None:
    """A payload as the text of a size."""
    name = first(parts, "models/")
    text, model = json.dumps(f"__import__('pathlib').Path({marker!r}).touch()"), parts[name].decode()
    start = model.index('"expr_str": ') + len('"expr_str": ')
    _, end = json.JSONDecoder().raw_decode(model[start:])
    parts[name] = f"{model[:start]}{text}{model[start + end :]}".encode()


def bomb(parts: Parts, marker: str) -> None:
    """A weight of a GiB, compressed."""
    parts["data/weights/weight_99"] = bytes(2**30)


WAYS: dict[str, Callable[[Parts, str], None]] = {
    "in sample inputs": in_samples,
    "in older weights": in_older_weights,
    "in one weight": in_a_weight,
    "in a size": in_a_size,
}


def plant(place: Place, path: Path, way: Callable[[Parts, str], None]) -> None:
    """A copy of the run's program with a payload."""
    parts = parts_of(place.source / "engines" / "fp32.pt2")
    way(parts, str(place.marker))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if way is bomb else zipfile.ZIP_STORED) as archive:
        for name, content in parts.items():
            archive.writestr(f"program/{name}", content)


def foreign(way: Callable[[Parts, str], None], *words: str) -> Callable[[Place], list[str]]:
    """A stranger's file."""

    def build(place: Place) -> list[str]:
        plant(place, place.folder / "a.pt2", way)
        place.write("c.toml", CONTRACT.replace("size = 8", f"size = {_size(place)}"))
        return [word.replace("SETS", str(place.source / "sets")) for word in words]

    return build


def own(way: Callable[[Parts, str], None], *words: str) -> Callable[[Place], list[str]]:
    """A stranger's run, whose manifest names the file with its right digest. RUN stands for it."""

    def build(place: Place) -> list[str]:
        run = place.run()
        engine = run / "engines" / "fp32.pt2"
        plant(place, engine, way)
        digest = f"sha256:{hashlib.sha256(engine.read_bytes()).hexdigest()}"
        change_json(run / "engines" / "fp32.pt2.json", lambda value: value["engine"].update(digest=digest))
        for report in (run / "audits").glob("*.json"):
            shutil.copy(report, run / "audits" / "fp32.pt2.json")
            change_json(
                run / "audits" / "fp32.pt2.json",
                lambda value: value["engine"].update(path=str(engine)) if isinstance(value.get("engine"), dict) else None,
            )
        return [word.replace("RUN", str(run)) for word in words]

    return build


def _size(place: Place) -> int:
    return int(json.loads((place.source / "run.json").read_text())["contract"]["size"])


def _foreign_cases() -> list[Case]:
    audit = ("audit", "a.pt2", "--contract", "c.toml", "--sets", "SETS")
    contracts = [Case(f"payload {name}: contract", foreign(way, "contract", "a.pt2")) for name, way in WAYS.items()]
    return contracts + [Case(f"payload {name}: audit", foreign(way, *audit)) for name, way in WAYS.items()]


def _own_cases() -> list[Case]:
    way, audits = in_samples, []
    commands = {
        "audit of a stranger's run": ("audit", "RUN/engines/fp32.pt2"),
        "as the control": ("audit", "RUN/engines/fp32.onnx", "--control", "RUN/engines/fp32.pt2"),
        "several engines at once": ("audit", "RUN/engines/fp32.pt2", "RUN/engines/fp32.onnx"),
    }
    for name, words in commands.items():
        audits.append(Case(f"payload: {name}", own(way, *words)))
    quiet = {
        "card": ("card", "RUN"), "export": ("export", "RUN", "--fp32", "--threads", "1"),
        "attack": ("attack", "RUN", "--attack", "fgsm", "--eps", "1/255", "--threads", "1"),
        "bom": ("bom", "RUN"),
    }  # fmt: skip
    return audits + [
        Case(f"payload: {name}, which opens no .pt2", own(way, *words), codes=(0,)) for name, words in quiet.items()
    ]


CASES = (
    *_foreign_cases(),
    *_own_cases(),
    Case(".pt2: a GiB, compressed", foreign(bomb, "contract", "a.pt2")),
    Case(".pt2: 1 TB of holes", lambda place: ["contract", place.sparse("a.pt2", 2**40)]),
    Case(".pt2: no archive", lambda place: ["contract", place.write("a.pt2", b"PK\x05\x06" + bytes(18))]),
)
