"""Who may import whom, and what each folder may need: read from the sources, and tried with libraries taken away."""

from __future__ import annotations

import ast
import importlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("artifacts", "audit", "commands", "engines", "export", "publish", "trainer")

# Folder or module -> those of the package that it may import, besides itself.
MAY_IMPORT = {
    "errors": set(),
    "artifacts": {"errors"},
    "engines": {"artifacts", "errors", "true_fp32"},
    "audit": {"engines", "artifacts", "errors"},
    "trainer": {"artifacts", "errors", "true_fp32"},
    "export": {"trainer", "engines", "artifacts", "errors", "true_fp32"},
    "publish": {"audit", "engines", "artifacts", "errors"},
    "commands": {"trainer", "export", "audit", "publish", "engines", "artifacts", "errors"},
    "cli": {"commands", "errors"},
    "__main__": {"cli", "commands"},
    "no_telemetry": set(),
    "thread_waiting": set(),
    "true_fp32": set(),
    "__init__": {"no_telemetry", "thread_waiting", "commands"},
}

# What an audit on a deployment box may lack; each may be missing when any module of the other folders is imported.
TRAINING = ("torch", "torchvision", "PIL", "matplotlib", "onnxscript", "onnxconverter_common")
RUNS_PROGRAMS = "skinaudit.engines.pytorch_"
"""The one runtime that is torch: it may import it, inside its functions."""
DRAWS = ("skinaudit.audit.reports.html", "skinaudit.audit.reports.page.", "skinaudit.engines.defences.jpeg")
"""The report that is a page, and the defence that is a JPEG: they may import REPORTING, inside their functions."""
REPORTING = ("jinja2", "matplotlib", "PIL")
RUNTIMES = ("onnxruntime", "tensorrt", "tensorrt_rtx", "openvino", "nncf", "cuda")
BASE = {"click", "numpy", "onnx", "google", "rich", "safetensors"}  # google: protobuf, which onnx brings
# Folder or module -> libraries beyond the base that its modules may need at import. All else is imported inside functions.
TORCH = {"torch", "torchvision", "PIL"}
NEEDS_AT_IMPORT = {"trainer": TORCH, "export": TORCH, "commands.demo_run": TORCH}


def sources() -> Iterator[tuple[str, Path]]:
    """(dotted name, file) of every module of the package."""
    for path in sorted(set(ROOT.glob("*.py")) - {ROOT / "setup.py"}):  # that is no module of the package
        yield ("skinaudit" if path.stem == "__init__" else f"skinaudit.{path.stem}"), path
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(("skinaudit", *(parts[:-1] if parts[-1] == "__init__" else parts))), path


MODULES = dict(sources())


def part_of(module: str) -> str:
    """`trainer` for skinaudit.trainer.attacks.pgd; `__init__` for the package itself."""
    return module.split(".")[1] if "." in module else "__init__"


def needs_at_import(module: str) -> set[str]:
    """The libraries of NEEDS_AT_IMPORT for this module or for the folder that it is in."""
    inside = module.removeprefix("skinaudit.")
    return set().union(*(names for owner, names in NEEDS_AT_IMPORT.items() if f"{inside}.".startswith(f"{owner}.")))


def imported(path: Path, *, at_import_only: bool = False) -> Iterator[str]:
    """Dotted names that a file imports, type checking aside; those inside functions too unless told otherwise."""

    def walk(node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name in MODULES else str(node.module)
        elif isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return
        elif not (at_import_only and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)):
            for child in ast.iter_child_nodes(node):
                yield from walk(child)

    return walk(ast.parse(path.read_text(encoding="utf-8")))


def test_the_table_knows_every_part() -> None:
    assert {part_of(module) for module in MODULES} == set(MAY_IMPORT)
    assert len(MODULES) > 50


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_imports_go_one_way(part: str) -> None:
    allowed = MAY_IMPORT[part] | {part, "__init__"}
    wrong = [
        f"{module} imports {name}"
        for module, path in MODULES.items()
        if part_of(module) == part
        for name in imported(path)
        if name.split(".")[0] == "skinaudit" and part_of(name) not in allowed
    ]
    assert wrong == []


# What may know a diagnosis by its name: the contract's list of HAM10000 and the readers of distributions.
KNOW_DIAGNOSES = ("artifacts/contract.py", "trainer/data/")


def test_what_is_malignant_is_known_by_the_contract_and_the_readers_of_data_alone() -> None:
    """Elsewhere no text is, or is made of, the name of a malignant class; sentences, as in help, are no such names."""
    from skinaudit.artifacts.contract import CLASS_TITLES, MALIGNANT

    names = {*MALIGNANT, *(CLASS_TITLES[name] for name in MALIGNANT)}
    uses = []
    for module, path in MODULES.items():
        if path.relative_to(ROOT).as_posix().startswith(KNOW_DIAGNOSES):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " not in node.value.strip():
                if names & {node.value, *node.value.split("_")}:
                    uses.append(f"{module}: {node.value}")
            elif isinstance(node, ast.Name) and node.id in ("MALIGNANT", "CLASSES"):
                uses.append(f"{module}: {node.id}")
    assert uses == []


def test_the_table_itself_keeps_trainer_and_audit_apart_and_only_the_entry_point_imports_the_command_line() -> None:
    assert "audit" not in MAY_IMPORT["trainer"]
    assert "trainer" not in MAY_IMPORT["audit"]
    assert [part for part, allowed in MAY_IMPORT.items() if "cli" in allowed] == ["__main__"]


# Room of audit/, or module beside them -> the rooms and modules of audit/ that it may import, besides itself.
ROOMS = {
    "evidence": set(),
    "figures": {"evidence"},
    "checks": {"figures", "evidence"},
    "judgement": {"checks", "figures", "evidence"},
    "request": {"judgement", "evidence"},
    "contract_search": {"figures", "evidence"},
    "audit": {"contract_search", "request", "judgement", "checks", "figures", "evidence"},
    "several": {"audit", "request", "judgement"},
    "transfer": {"figures", "evidence"},
    "study": {"figures", "evidence"},
    "reports": {"transfer", "study", "judgement", "checks", "figures", "evidence"},
}


def room_of(module: str) -> str:
    """`figures` for skinaudit.audit.figures.drift; empty for what lies outside of audit/."""
    parts = module.split(".")
    return parts[2] if parts[:2] == ["skinaudit", "audit"] and len(parts) > 2 else ""


def test_the_rooms_of_audit_are_those_of_the_table() -> None:
    assert {room_of(module) for module in MODULES} - {""} == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_inside_audit_imports_go_one_way(room: str) -> None:
    """Gathered, computed, checked, judged, reported: each room knows only those before it."""
    allowed = ROOMS[room] | {room, ""}
    wrong = [
        f"{module} imports {name}"
        for module, path in MODULES.items()
        if room_of(module) == room
        for name in imported(path)
        if room_of(name) not in allowed
    ]
    assert wrong == []


@pytest.mark.parametrize("folder", ["bench", "examples", "tests"])
def test_what_is_imported_from_the_package_is_there(folder: str) -> None:
    """Also by files that no test runs, and inside functions that none calls."""
    wrong = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "skinaudit":
                module = importlib.import_module(str(node.module))
                wrong += [
                    f"{path.relative_to(ROOT)}:{node.lineno} {node.module}.{alias.name}"
                    for alias in node.names
                    if not hasattr(module, alias.name) and find_spec(f"{node.module}.{alias.name}") is None
                ]
    assert wrong == []


def test_no_module_is_imported_as_if_the_root_were_no_package() -> None:
    wrong = [
        f"{module} imports {name}"
        for module, path in MODULES.items()
        for name in imported(path)
        if name.split(".")[0] in {*FOLDERS, "errors", "cli"}
    ]
    assert wrong == []


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_only_the_libraries_of_its_folder_are_needed_at_import(part: str) -> None:
    allowed = BASE | {"skinaudit"} | sys.stdlib_module_names
    wrong = [
        f"{module} imports {name}"
        for module, path in MODULES.items()
        if part_of(module) == part
        for name in imported(path, at_import_only=True)
        if name.split(".")[0] not in allowed | needs_at_import(module)
    ]
    assert wrong == []


@pytest.mark.parametrize("part", ["artifacts", "engines", "audit", "publish", "errors"])
def test_what_runs_on_a_deployment_box_never_imports_torch(part: str) -> None:
    wrong = [
        f"{module} imports {name}"
        for module, path in MODULES.items()
        if part_of(module) == part and module != RUNS_PROGRAMS
        for name in imported(path)
        if name.split(".")[0] in TRAINING and not (module.startswith(DRAWS) and name.split(".")[0] in REPORTING)
    ]
    assert wrong == []
    assert not any(name.split(".")[0] in TRAINING for name in imported(MODULES[RUNS_PROGRAMS], at_import_only=True))


def run_without(libraries: tuple[str, ...], code: str) -> str:
    blocked = f"import sys\nsys.modules.update(dict.fromkeys({libraries!r}))\n"
    process = subprocess.run([sys.executable, "-c", blocked + code], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr[-2000:]
    return process.stdout


def test_every_other_module_imports_without_any_optional_library() -> None:
    """Also those that import others: what the sources say, tried."""
    names = [module for module in MODULES if not needs_at_import(module)]
    assert "skinaudit.cli" in names
    absent = (*TRAINING, *RUNTIMES, *REPORTING)
    run_without(absent, f"import importlib\nfor name in {names!r}: importlib.import_module(name)")


def test_training_modules_import_with_torch_and_pillow_alone() -> None:
    names = [module for module in MODULES if needs_at_import(module)]
    absent = tuple(name for name in (*TRAINING, *RUNTIMES) if name not in TORCH)
    code = "import importlib, sys\nimport skinaudit.trainer.train\n"
    code += "assert 'torchvision' not in sys.modules, 'its import takes a second, for models that have it alone'\n"
    run_without(absent, f"{code}for name in {names!r}: importlib.import_module(name)")


def test_an_audit_runs_without_torch(exported_run: Path, tmp_path: Path) -> None:
    """A real one, from engine to verdict, with everything of training taken away."""
    run = Path(shutil.copytree(exported_run, tmp_path / "run"))
    code = f"""
from pathlib import Path
from skinaudit.audit.audit import audit_engine
result = audit_engine(Path({str(run / "engines" / "fp32.onnx")!r}), threads=1)
print(len(result.sets))
"""
    assert run_without(TRAINING, code).split() == ["3"]


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["audit", "--help"], ["--version"]])
def test_help_loads_no_heavy_library(arguments: list[str]) -> None:
    code = f"""
import sys
from skinaudit import cli
sys.argv = ["skinaudit", *{arguments!r}]
try:
    cli.main()
except SystemExit as stop:
    assert not stop.code, stop.code
heavy = {{"numpy", "rich", "torch", "onnx", "onnxruntime", "safetensors", "matplotlib", "PIL"}} & set(sys.modules)
assert not heavy, heavy
"""
    assert run_without((), code)


def test_paths_are_resolved_where_a_circle_of_links_raises_nothing() -> None:
    raising = re.compile(r"(?<!Path\(__file__\))\.(resolve|expanduser)\(\)")
    product = {path for module, path in MODULES.items() if not module.startswith(("skinaudit.tests", "skinaudit.bench"))}
    files = {str(path.relative_to(ROOT)) for path in product if raising.search(path.read_text(encoding="utf-8"))}
    assert files == {"artifacts/outside.py", "artifacts/files.py"}
