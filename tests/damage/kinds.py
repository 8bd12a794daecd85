"""Each kind of file that skinaudit reads, in a small workplace, and the command that relies on it."""

from __future__ import annotations

import contextlib
import io
import json
import re
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from skinaudit import cli
from skinaudit.errors import SkinauditError
from skinaudit.tests.damage.damages import NEVER_VALID, Place, damaged, places, title
from skinaudit.tests.damage.damages import to_json as json_text
from skinaudit.tests.damage.damages import to_toml as toml_text

_KEY = "skinaudit.adversarial_set"
_AUDIT = ("audit", "run/engines/subject.onnx", "--output", "out.json", "--threads", "1")
_PAST_AUDIT = ("audit", "past/engines/subject.onnx", *_AUDIT[2:], "--policy", "wide.toml")  # it has too few lesions
_EXTERNAL = (*_AUDIT, "--sets", "run/external/hospital-b")
_CARD = ("card", "bare", "--output", "card.md", "--force")


@dataclass(frozen=True)
class Kind:
    """A kind of file. command: relies on the file and ends with `code` where it is whole.

    passing: whether its 0 says PASS. free: patterns of damages, as `named` tells them, that may leave a valid file
    which says the same to the command: names, notes for people, figures of other commands, settings with a
    default. only: beginnings of the fields that are damaged, where another kind has all others.
    """

    name: str
    file: str
    command: tuple[str, ...]
    code: int = 0
    passing: bool = True
    free: tuple[str, ...] = ()
    only: tuple[str, ...] = ("",)

    def places(self, value: Any) -> Iterator[Place]:
        """Every field that is damaged."""
        return (place for place in places(value) if title(place).startswith(self.only))

    def is_free(self, words: str) -> bool:
        """Whether the command may pass with this damage."""
        possible = not any(f"({damage})" in words for damage in NEVER_VALID)
        return not self.passing or (possible and any(re.fullmatch(pattern, words) for pattern in self.free))

    def value(self, folder: Path) -> Any:
        """The whole file as plain values; of a set its description, of a log its last line."""
        path = folder / self.file
        if path.suffix == ".safetensors":
            with safe_open(path, framework="numpy") as file:
                return json.loads(file.metadata()[_KEY])
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".toml":
            return tomllib.loads(text)
        return json.loads(text.splitlines()[-1] if path.suffix == ".jsonl" else text)

    def write(self, folder: Path, value: Any) -> None:
        """Write the file with other plain values, and all else as it was."""
        path = folder / self.file
        if path.suffix == ".safetensors":
            save_file(load_file(path), path, metadata={_KEY: json_text(value)})
            return
        text = toml_text(value) if path.suffix == ".toml" else json_text(value)
        if path.suffix == ".jsonl":
            text = "\n".join([*path.read_text(encoding="utf-8").splitlines()[:-1], text]) + "\n"
        path.write_bytes(text.encode("utf-8", "surrogatepass"))


_VALID = r"\((removed|emptied|large|a little more)\)"
_OF_REPORTS = (
    r"(?!kind|classes|sets).*",
    r"(sets|sets\.0\.comparison\.classes) \(reversed\)",  # only the answers to the sets are compared
    r"sets\.0\.(?!images_digest|right|comparison).*",  # a set is found by its digest
    r"sets\.0\.comparison\.(?!images|engine_accuracy |classes\b).*",
    r"sets\.0\.comparison\.classes\.0\.(?!name |engine\.right|engine ).*",
)
KINDS = (
    Kind("run manifest", "run/run.json", _AUDIT, free=(
        r"name .*",
        r"contract\.(input|output) .*",  # the opened engine has its own
        r"(model|training|created_with|calibration)\b.*",  # not part of an audit
        r"data(\.(?!digest).*)? .*",
        r"weights\.file .*",
        r"results(\.\w+)? .*",  # a set that was written after the training has none
        r"results\.\w+\.(?!accuracy ).*",
        r"pictures(\.\w+)? .*",  # only images of another data set are compared with these
    )),
    Kind("run manifest, for external images", "run/run.json", _EXTERNAL, only=("pictures", "operating_points")),
    Kind("run manifest, for a model card", "bare/run.json", _CARD, passing=False),
    Kind("engine manifest", "run/engines/subject.onnx.json", _AUDIT, free=(
        r"(engine|graph)\.file .*",  # the engine is named by who asks; this graph is the engine itself
        r"contract\.(input|output) .*",
        r"(run_name|device) .*",
        r"operating_points \((removed|emptied)\)",  # those of the run count; a copy that differs is refused
        r"(parity|settings|created_with)\b.*",
        r"companions \(emptied\)",  # an ONNX file needs none
    )),
    Kind("clean set", "run/sets/clean.safetensors", (*_AUDIT, "--sets", "run/sets")),
    Kind("adversarial set", "run/sets/pgd.safetensors", (*_AUDIT, "--sets", "run/sets")),
    Kind("policy", "policy.toml", (*_AUDIT, "--policy", "policy.toml"), free=(rf".* {_VALID}",)),  # another policy
    Kind("report of an earlier engine", "earlier.json", (*_AUDIT, "--baseline", "earlier.json"), free=_OF_REPORTS),
    Kind(
        "report of the earlier format", "format-1.json", (*_PAST_AUDIT, "--baseline", "format-1.json"),
        code=3, free=_OF_REPORTS,  # it does not say which images its engine calls malignant
    ),
    Kind(
        "contract of a foreign engine", "contract.toml",
        ("audit", "foreign.onnx", "--contract", "contract.toml", "--sets", "run/sets", "--output", "out.json",
         "--threads", "1"), code=3,
    ),
    Kind(
        "contract of one column for seven classes", "column.toml",
        ("audit", "column.onnx", "--contract", "column.toml", "--sets", "run/sets", "--output", "out.json",
         "--threads", "1"), code=3, only=("output",),
    ),
    Kind("description of external sets", "run/external/hospital-b/external.json", _EXTERNAL, free=(
        r"(name|dataset|data) .*",
        r"(left_out|created_with|frames)\b.*",
        r"sets\.\w+ \(renamed\)",  # a set is found by its file and digest, and its file says what it is
    )),
    Kind(
        "report on external images", "external-report.json", (*_EXTERNAL, "--baseline", "external-report.json"),
        free=(_OF_REPORTS[0], _OF_REPORTS[2]), only=("external", "operating_point", "sets.0.at_threshold", "sets.0.scores"),
    ),
    Kind("training log", "bare/log.jsonl", _CARD, passing=False),
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """How a command ended: its exit code, None for an unexpected exception, and what it said of it."""

    code: int | None
    message: str


def run(folder: Path, command: tuple[str, ...]) -> Outcome:
    """Run `skinaudit` in this process, in the folder: what its entry point would turn into a line is an outcome."""
    printed = io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            code = cli.commands.main(list(command), prog_name="skinaudit", standalone_mode=False) or 0
        except SkinauditError as error:
            return Outcome(2, str(error))
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        except Exception as error:  # a crash is what is looked for
            return Outcome(None, f"{type(error).__name__}: {error}")
    return Outcome(code, printed.getvalue())


@dataclass(frozen=True)
class Trial:
    """One damage of one field, and what the command made of it."""

    kind: Kind
    place: Place
    damage: str
    outcome: Outcome

    @property
    def what(self) -> str:
        """`parity.rebuilds.flips (negative)`."""
        return named(self.place, self.damage)

    @property
    def refused(self) -> bool:
        """Whether the command ended with exit code 2 and one printable line of bounded length.

        It names the damaged file, or one of the run that contradicts it.
        """
        message = self.outcome.message
        tidy = message.isprintable() and len(message) < 800
        files = (Path(self.kind.file).name, "run/", "foreign.onnx", "column.onnx")
        named = any(part in message for part in (*files, "policy: no ", "precision "))
        return self.outcome.code == 2 and tidy and named


def named(place: Place, damage: str) -> str:
    """A damage of a field in words."""
    return f"{title(place)} ({damage})"


def trials(kind: Kind, folder: Path, *, wanted: Callable[[int, str], bool] = lambda number, words: True) -> Iterator[Trial]:
    """Every damage of every field for whose number and words `wanted` holds; the folder is as it was after each."""
    value, number = kind.value(folder), 0
    for place in kind.places(value):
        for damage, broken in damaged(value, place):
            number += 1
            if wanted(number, named(place, damage)):
                yield Trial(kind, place, damage, attempt(kind, folder, broken))


def attempt(kind: Kind, folder: Path, broken: Any) -> Outcome:
    """Write the file with these values, run the command, and put the file back."""
    path = folder / kind.file
    content = path.read_bytes()
    kind.write(folder, broken)
    try:
        return run(folder, kind.command)
    finally:
        path.write_bytes(content)
