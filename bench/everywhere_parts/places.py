"""Every place in which a command meets a file: its arguments, its options, and the files of a run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Place:
    """words: of the command. In them FILE stands for the thing, FOLDER for the folder that it is in, RUN for a copy of a
    run, DATA for a folder of pictures. endings: of its name. inside: the path in the run that it replaces, else it has a
    name of its own."""

    words: str
    endings: tuple[str, ...] = ("",)
    inside: str = ""


ENGINES = (".onnx", ".xml", ".tflite", ".pt2", ".aoti.pt2", ".plan", ".rtx.plan")
FGSM = "--attack fgsm --eps 1/255 --threads 1"
OWN = "RUN/engines/fp32.onnx"
FOREIGN = f"{OWN} --contract CONTRACT --sets RUN/sets"
WITHOUT = "OTHER.onnx --contract CONTRACT"

ARGUMENTS: Mapping[str, Place] = {
    "attack RUN": Place(f"attack FILE {FGSM}"),
    "attack --data": Place(f"attack RUN {FGSM} --data FILE", ("", ".npz", ".csv", ".xlsx")),
    "attack --data, in a folder": Place(f"attack RUN {FGSM} --data FOLDER", (".png", ".dcm", ".csv")),
    "attack --classes": Place(f"attack RUN {FGSM} --data DATA --classes FILE", (".toml",)),
    "attack --against": Place(f"attack RUN {FGSM} --against FILE"),
    "audit ENGINES": Place("audit FILE --contract CONTRACT --sets RUN/sets --threads 1", ENGINES),
    "audit --sets": Place(f"audit {OWN} --sets FILE"),
    "audit --sets, in a folder": Place(f"audit {OWN} --sets FOLDER", (".safetensors",)),
    "audit --run": Place(f"audit {OWN} --run FILE"),
    "audit --contract": Place("audit OTHER.onnx --contract FILE --sets RUN/sets", (".toml",)),
    "audit --data": Place(f"audit {WITHOUT} --data FILE", ("", ".npz")),
    "audit --classes": Place(f"audit {WITHOUT} --data DATA --classes FILE", (".toml",)),
    "audit --control": Place(f"audit {OWN} --control FILE", ENGINES[:5]),
    "audit --policy": Place(f"audit {OWN} --policy FILE", (".toml",)),
    "audit --baseline": Place(f"audit {OWN} --baseline FILE", (".json",)),
    "audit --output": Place(f"audit {OWN} --threads 1 --output FILE", (".json",)),
    "audit --report": Place(f"audit {OWN} --threads 1 --report html=FILE", (".html",)),
    "audit --runtime-cache": Place(f"audit {OWN} --threads 1 --runtime-cache FILE", (".bin",)),
    "bom RUN": Place("bom FILE"),
    "bom --output": Place("bom RUN --force -o FILE", (".json",)),
    "card RUN": Place("card FILE"),
    "card --output": Place("card RUN --force -o FILE", (".md",)),
    "card --audits": Place("card RUN --audits FILE"),
    "card --audits, in a folder": Place("card RUN --audits FOLDER", (".json",)),
    "compare AUDITS": Place("compare AUDIT FILE", (".json",)),
    "compare --report": Place("compare AUDIT --report markdown=FILE", (".md",)),
    "contract ENGINE": Place("contract FILE", ENGINES),
    "contract --sets": Place("contract OTHER.onnx --sets FILE"),
    "contract --data": Place("contract OTHER.onnx --data FILE", ("", ".npz")),
    "contract --classes": Place("contract OTHER.onnx --data DATA --classes FILE", (".toml",)),
    "contract --contract": Place("contract OTHER.onnx --sets RUN/sets --contract FILE", (".toml",)),
    "contract --output": Place("contract OTHER.onnx --force -o FILE", (".toml",)),
    "export RUN": Place("export FILE --threads 1"),
    "export --output": Place("export RUN --format onnx --threads 1 --force -o FILE", (".onnx",)),
    "export --timing-cache": Place("export RUN --format tensorrt-rtx --force --timing-cache FILE", (".bin",)),
    "paper --config": Place("paper --scale tiny --config FILE --out NEW", (".toml",)),
    "paper --data": Place("paper --scale tiny --data FILE --out NEW", ("", ".npz")),
    "paper --weights": Place("paper --scale tiny --weights mobilenet=FILE --out NEW", (".pt", ".safetensors")),
    "paper --out": Place("paper --scale tiny --only nothing --out FILE"),
    "defences RUN": Place("defences FILE --images 8"),
    "defences --engine": Place("defences RUN --images 8 --engine FILE", ENGINES[:4]),
    "sweep RUN": Place("sweep FILE --images 8 --attack fgsm --eps 4/255 --picture NEW.png"),
    "sweep --picture": Place("sweep RUN --images 8 --attack fgsm --eps 4/255 --picture FILE", (".png",)),
    "demo --out": Place("demo --out FILE"),
    "policy RUN": Place("policy FILE"),
    "report AUDIT": Place("report FILE", (".json",)),
    "report --report": Place("report AUDIT --report sarif=FILE", (".sarif",)),
    "track PATHS": Place("track FILE", ("", ".json")),
    "train --data": Place("train --data FILE --epochs 1 --size 32 --threads 1 --out NEW", ("", ".npz", ".csv", ".xlsx")),
    "train --data, in a folder": Place(
        "train --data FOLDER --epochs 1 --size 32 --threads 1 --out NEW", (".png", ".dcm", ".csv", ".xlsx")
    ),
    "train --classes": Place("train --data DATA --classes FILE --epochs 1 --out NEW", (".toml",)),
    "train --weights": Place(
        "train --images 280 --size 32 --epochs 1 --weights FILE --out NEW", (".pt", ".safetensors", "")
    ),
    "train --out": Place("train --images 280 --size 32 --width 0.25 --epochs 1 --threads 1 --out FILE"),
    "transfer RUNS": Place("transfer RUN FILE"),
    "transfer --engine": Place("transfer RUN --engine FILE"),
}  # fmt: skip
"""By command and parameter; tests/bench compares them with the command line's."""

_READ = "audit RUN/engines/fp32.onnx --threads 1"
_FGSM = f"attack RUN {FGSM}"
_OTHER = f"attack RUN {FGSM} --data DATA"
_EXPORT = "export RUN --force --threads 1"
_TRAIN = "train --weights RUN --images 280 --size 48 --out NEW"
_RESUME = "train --resume --images 280 --size 32 --width 0.25 --epochs 2 --threads 1 --out RUN"
_SHOWN = ("card RUN", "bom RUN", "track RUN")
_COMMANDS: Mapping[str, tuple[str, ...]] = {
    "run.json": (_READ, _FGSM, _EXPORT, *_SHOWN, "transfer RUN RUN"),
    "weights.safetensors": (_READ, _FGSM, _EXPORT, _TRAIN),
    "structure.json": (_READ,),
    "pictures.safetensors": (_OTHER,),
    "calibration.safetensors": (f"{_EXPORT} --int8 --format onnx",),
    "log.jsonl": ("card RUN", "track RUN"),
    "curves.png": ("card RUN", "track RUN"),
    "sets/clean.safetensors": (_READ, *_SHOWN, "transfer RUN RUN", _FGSM),
    "engines/fp32.onnx": (_READ, *_SHOWN, "transfer RUN RUN", f"{_EXPORT} --fp16 --format onnx"),
    "engines/fp32.onnx.json": (_READ, *_SHOWN, "transfer RUN RUN"),
    "audits/fp32.onnx.json": (_READ, "card RUN", "track RUN"),
    "audits": (_READ, "card RUN"),
    "external": ("card RUN", _OTHER),
    ".run.lock": (_FGSM,),
    ".training.lock": (_RESUME,),
    "options.json": (_RESUME,),
    "checkpoint.safetensors": (_RESUME,),
    "best.safetensors": (_RESUME,),
}
OF_RUN: Mapping[str, Place] = {
    f"{part} of a run: {words.split()[0]}": Place(words, inside=part)
    for part, commands in _COMMANDS.items()
    for words in commands
}
"""The files of a stranger's run, whose digests the run vouches for."""


def vouch(run: Path, inside: str) -> None:
    """Write the digest of a file into the manifests of its run, where they name it."""
    path = run / inside
    if not path.is_file() or path.is_symlink() or path.stat().st_size > 2**30:
        return
    digest = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    for manifest in (run / "run.json", run / "engines" / "fp32.onnx.json"):
        if manifest != path and manifest.is_file():
            value = json.loads(manifest.read_text())
            _set_digests(value, path.name, digest)
            manifest.write_text(json.dumps(value))


def _set_digests(value: object, name: str, digest: str) -> None:
    if isinstance(value, dict):
        if isinstance(value.get("file"), str) and value["file"].rpartition("/")[2] == name:
            value["digest"] = digest
        if "onnx" in value and name == "fp32.onnx":
            value["onnx"] = digest
        for item in value.values():
            _set_digests(item, name, digest)
    elif isinstance(value, list):
        for item in value:
            _set_digests(item, name, digest)
