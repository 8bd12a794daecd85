"""TOML, JSON and the folders of runs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from skinaudit.bench.odd_parts.case import Case, Place, change_json

_TB = 2**40
_DEEP = 100_000


def policy(content: bytes | str) -> Callable[[Place], list[str]]:
    """An audit with this policy."""

    def build(place: Place) -> list[str]:
        place.write("policy.toml", content)
        return ["audit", str(place.source / "engines" / "fp32.onnx"), "--policy", "policy.toml"]

    return build


def report(content: bytes | str) -> Callable[[Place], list[str]]:
    """A report of an audit that is shown again."""
    return lambda place: ["report", place.write("audit.json", content)]


def million_keys(place: Place) -> list[str]:
    """A report of a million keys."""
    return report("{" + ",".join(f'"k{n}": 1' for n in range(1_000_000)) + "}")(place)


def manifest(text: str) -> Callable[[Place], list[str]]:
    """An audit of an engine whose manifest has this in place of its opening brace."""

    def build(place: Place) -> list[str]:
        engine = place.run() / "engines" / "fp32.onnx"
        path = engine.with_name("fp32.onnx.json")
        path.write_bytes(path.read_text().replace("{", text, 1).encode(errors="surrogatepass"))
        return ["audit", str(engine)]

    return build


def in_run(change: Callable[[Path, Place], None], *words: str) -> Callable[[Place], list[str]]:
    """A command on a run that was changed; RUN in its words stands for it."""

    def build(place: Place) -> list[str]:
        run = place.run()
        change(run, place)
        return [word.replace("RUN", str(run)) for word in words or ("audit", "RUN/engines/fp32.onnx")]

    return build


def moved(name: str) -> Callable[[Path, Place], None]:
    """A part of the run lies elsewhere, and a link in its place."""

    def change(run: Path, place: Place) -> None:
        (run / name).rename(place.folder / "elsewhere")
        (run / name).symlink_to(place.folder / "elsewhere")

    return change


def fifo(name: str) -> Callable[[Path, Place], None]:
    """A pipe in the place of a file."""

    def change(run: Path, place: Place) -> None:
        (run / name).unlink(missing_ok=True)
        os.mkfifo(run / name)

    return change


def linked(name: str, target: str) -> Callable[[Path, Place], None]:
    """A link in the place of a file."""

    def change(run: Path, place: Place) -> None:
        (run / name).unlink(missing_ok=True)
        (run / name).symlink_to(target)

    return change


def sparse(name: str) -> Callable[[Path, Place], None]:
    """A file of a TB in the place of another one."""
    return lambda run, place: (
        (run / name).unlink(missing_ok=True) or os.truncate(os.open(run / name, os.O_CREAT | os.O_RDWR), _TB)
    )


def hard_linked(run: Path, place: Place) -> None:
    """A set of the run is another name of a file that is none."""
    path = next((run / "sets").glob("*.safetensors"))
    path.unlink()
    path.hardlink_to(run / "weights.safetensors")


def named(name: str) -> Callable[[Path, Place], None]:
    """The run says that it is called so."""
    return lambda run, place: change_json(run / "run.json", lambda value: value.update(name=name))


def renamed(name: str) -> Callable[[Place], list[str]]:
    """An engine file of this name, without a manifest."""
    return lambda place: ["audit", place.write(name, b"nothing")]


def crowd(place: Place) -> list[str]:
    """A folder of sets with 200,000 other files."""
    folder = place.folder / "sets"
    folder.mkdir()
    for index in range(200_000):
        os.close(os.open(folder / f"{index}.safetensors.txt", os.O_CREAT))
    return ["audit", str(place.source / "engines" / "fp32.onnx"), "--sets", "sets"]


CASES = (
    Case("TOML: table of 100,000 parts", policy("[" + ".".join("a" * _DEEP) + "]\n")),
    Case("TOML: arrays in arrays", policy("a = " + "[" * _DEEP + "]" * _DEEP)),
    Case("TOML: tables in tables", policy("a = " + "{b=" * _DEEP + "1" + "}" * _DEEP)),
    Case("TOML: 100,000 tables of arrays", policy("[[a]]\n" * _DEEP)),
    Case("TOML: integer of 10,000 digits", policy("margin = " + "9" * 10_000)),
    Case("TOML: 1e400", policy("margin = 1e400")),
    Case("TOML: a date as a number", policy("margin = 1979-05-27T07:32:00Z")),
    Case("TOML: no UTF-8", policy(b"margin = \xff\xfe1.0")),
    Case("TOML: UTF-16", policy("margin = 1.0".encode("utf-16"))),
    Case("TOML: escape sequences in a key", policy('"\\u001b[2J\\u202e" = 1')),
    Case("JSON: 1e400", report('{"kind": "skinaudit-audit/9", "seconds": 1e400}')),
    Case("JSON: integer of 10,000 digits", report('{"kind": "a", "n": ' + "9" * 10_000 + "}")),
    Case("JSON: lone surrogate", report('{"kind": "\\ud800"}')),
    Case("JSON: no UTF-8", report(b'{"kind": "\xff"}')),
    Case("JSON: 1,000,000 lists in lists", report("[" * 1_000_000)),
    Case("JSON: a key twice", report('{"kind": "a", "kind": "b"}')),
    Case("JSON: Infinity", report('{"kind": Infinity}')),
    Case("JSON: a million keys", million_keys),
    Case("report: 1 TB of holes", lambda place: ["report", place.sparse("audit.json", _TB)]),
    Case("report: /dev/zero", lambda place: ["report", "/dev/zero"]),
    Case("report: compare with a folder", lambda place: ["compare", ".", "."]),
    Case("manifest: a key of a million signs", manifest('{"' + "k" * 1_000_000 + '": 1,')),
    Case("manifest: surrogate in UTF-8", manifest('{"a": "\ud800",')),
    Case("manifest: integer of 10,000 digits", manifest('{"a": ' + "9" * 10_000 + ",")),
    Case("run: engines lie behind a link", in_run(moved("engines")), codes=(0, 1, 2, 3)),
    Case("run: sets lie behind a link", in_run(moved("sets"))),
    Case("run: run.json is a pipe", in_run(fifo("run.json"))),
    Case("run: run.json is /dev/zero", in_run(linked("run.json", "/dev/zero"), "card", "RUN")),
    Case("run: run.json is a link to itself", in_run(linked("run.json", "run.json"), "card", "RUN")),
    Case("run: log.jsonl is a pipe", in_run(fifo("log.jsonl"), "card", "RUN")),
    Case("run: weights of 1 TB", in_run(sparse("weights.safetensors"), "attack", "RUN", "--attack", "fgsm")),
    Case("run: calibration of 1 TB", in_run(sparse("calibration.safetensors"), "export", "RUN", "--int8")),
    Case("run: set of 1 TB", in_run(sparse("sets/clean.safetensors"))),
    Case("run: a set is a hard link to the weights", in_run(hard_linked)),
    Case(
        "run: an audit is a pipe",
        in_run(
            lambda run, place: ((run / "audits").mkdir(exist_ok=True), os.mkfifo(run / "audits" / "a.json")), "card", "RUN"
        ),
        codes=(0,),
    ),
    Case("run: name with a line break", in_run(named("a\nPASS"), "card", "RUN")),
    Case("run: name with right-to-left marks", in_run(named("\u202eSSAP"), "card", "RUN")),
    Case("engine: name with a line break and ESC", renamed("a\n\x1b[2JPASS.onnx")),
    Case("engine: name with right-to-left marks", renamed("\u202ea.onnx")),
    Case("engine: name that is no UTF-8", renamed(os.fsdecode(b"\xff\xfe.onnx"))),
    Case("engine: a socket-like device", lambda place: ["contract", "/dev/null"]),
    Case("sets: 200,000 other files", crowd),
)
