"""Every command without the libraries of an extra: one line that names the extra."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from skinaudit import cli
from skinaudit.commands.library.optional import ALWAYS, OPTIONAL, TRAINING, absent, need
from skinaudit.errors import MissingDependencyError

ROOT = Path(__file__).resolve().parents[3]
OF_TRAINING = ("torch", "torchvision", "PIL", "matplotlib", "onnxscript")


def skinaudit(*arguments: str, without: tuple[str, ...], cwd: Path) -> tuple[int, str]:
    """(exit code, last line on stderr) of the program on a machine that lacks these modules."""
    code = f"import sys\nsys.modules.update(dict.fromkeys({without!r}))\nfrom skinaudit.__main__ import main\nmain()"
    process = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )  # fmt: skip
    assert "Traceback" not in process.stderr
    return process.returncode, process.stderr.splitlines()[-1]


def test_the_table_is_that_of_the_project() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    brought = {name: {re.split(r"[>=\[]", package)[0] for package in packages} for name, packages in extras.items()}
    assert [module for module, (library, extra) in OPTIONAL.items() if library not in brought[extra]] == []
    always = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    assert sorted(re.split(r"[>=\[]", package)[0] for package in always) == sorted(ALWAYS)
    assert brought["train"] <= {library for library, _ in OPTIONAL.values()}


@pytest.mark.parametrize("module", ALWAYS)
def test_a_damaged_installation_says_what_is_missing(module: str, exported_run: Path, tmp_path: Path) -> None:
    code, line = skinaudit("audit", str(exported_run / "engines" / "fp32.onnx"), without=(module,), cwd=tmp_path)
    assert (code, line) == (
        2, f"skinaudit: audit needs {module}, which is always installed with skinaudit: pip install skinaudit again"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "purpose"),
    [
        (["train", "--images", "280", "--out", "new"], "train needs torch"),
        (["demo", "--out", "new"], "demo needs torch"),
        (["attack", "run", "--attack", "fgsm"], "attack needs torch"),
        (["export", "bare", "--fp16"], "bare: export needs torch"),
        (["audit", "run/engines/fp32.onnx", "--probe", "whitebox"], "probe whitebox needs torch"),
        (["audit", "run/engines/fp32.onnx", "--probe", "disagree"], "probe disagree needs torch"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_box_that_only_audits_says_what_brings_training(
    arguments: list[str], purpose: str, exported_run: Path, tiny_run: Path, tmp_path: Path
) -> None:
    shutil.copytree(exported_run, tmp_path / "run")
    shutil.copytree(tiny_run, tmp_path / "bare")
    code, line = skinaudit(*arguments, without=OF_TRAINING, cwd=tmp_path)
    assert (code, line) == (2, f"skinaudit: {purpose}, which is not installed: pip install 'skinaudit[train]'")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bare", "run"]


@pytest.mark.parametrize(
    ("arguments", "module", "message"),
    [
        (["attack", "run", "--attack", "fgsm"], "torchvision", "attack needs torchvision"),
        (["audit", "run/engines/fp32.onnx", "--probe", "whitebox"], "torchvision", "probe whitebox needs torchvision"),
        (["export", "bare"], "torchvision", "bare: export needs torchvision"),
        (["export", "bare"], "onnxscript", "export to ONNX needs onnxscript"),
        (["transfer", "run", "copy"], "onnxruntime", "running an .onnx engine needs onnxruntime"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_one_library_that_is_missed_later_is_named(
    arguments: list[str], module: str, message: str, exported_run: Path, tiny_run: Path, tmp_path: Path
) -> None:
    for name, source in (("run", exported_run), ("copy", exported_run), ("bare", tiny_run)):
        shutil.copytree(source, tmp_path / name)
        if module == "torchvision":  # which builds one architecture and not the other
            manifest = tmp_path / name / "run.json"
            manifest.write_text(manifest.read_text().replace('"arch": "mobilenet"', '"arch": "mobilenet_v2"'))
    code, line = skinaudit(*arguments, without=(module,), cwd=tmp_path)
    assert code == 2
    assert line.startswith(f"skinaudit: {message}, which is not installed: pip install 'skinaudit[{OPTIONAL[module][1]}]'")


@pytest.mark.parametrize("module", [*TRAINING, "onnxscript", "onnxruntime"])
@pytest.mark.parametrize("command", ["train", "demo"])
def test_what_is_needed_last_is_asked_for_first(
    command: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if command == "train" and module not in TRAINING:
        return  # a training exports nothing
    monkeypatch.setitem(sys.modules, module, None)
    outcome = CliRunner().invoke(cli.commands, [command, "--out", str(tmp_path / "new")])
    assert isinstance(outcome.exception, MissingDependencyError)
    library, extra = OPTIONAL[module]
    assert str(outcome.exception) == f"{command} needs {library}, which is not installed: pip install 'skinaudit[{extra}]'"
    assert list(tmp_path.iterdir()) == []


def test_only_an_absent_optional_library_is_called_missing() -> None:
    assert "audit needs openvino" in str(absent(ModuleNotFoundError("no", name="openvino.runtime"), "audit"))
    assert absent(ModuleNotFoundError("no", name="colorsys"), "audit") is None
    assert absent(ModuleNotFoundError("no", name="skinaudit.absent"), "audit") is None
    assert absent(ImportError("undefined symbol", name="torch._C"), "audit") is None
    need("this test", "onnxruntime")


def test_reading_own_images_does_not_ask_for_torch() -> None:
    error = absent(ModuleNotFoundError("no PIL", name="PIL"), "--data")
    assert str(error) == "--data needs pillow, which is not installed: pip install 'skinaudit[report]'"
