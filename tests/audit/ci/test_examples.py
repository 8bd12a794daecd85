"""The other CI examples: GitLab's job, the workflow that uses the action, and the git hook."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml", reason="the tests of the CI files need pyyaml, of the extra `dev`")

ROOT = Path(__file__).resolve().parents[3]
CI = ROOT / "examples" / "ci"
Run = Callable[..., subprocess.CompletedProcess[str]]
IDENTITY = {f"GIT_{role}_{field}": "test@localhost" for role in ("AUTHOR", "COMMITTER") for field in ("NAME", "EMAIL")}


@pytest.mark.parametrize(
    ("schema", "file"),
    [
        ("github-actions", ROOT / "action.yml"),
        ("github-workflows", CI / "github-workflow.yml"),
        ("custom.github-workflows-require-timeout", CI / "github-workflow.yml"),
        ("gitlab-ci", CI / "gitlab-ci.yml"),
    ],
)
def test_the_file_is_what_its_readers_schema_asks_for(schema: str, file: Path) -> None:
    pytest.importorskip("check_jsonschema", reason="the schemas of CI files come with check-jsonschema, of the extra `dev`")
    name = schema if schema.startswith("custom.") else f"vendor.{schema}"
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", name, str(file)]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stdout + process.stderr


def test_the_workflow_gives_the_action_only_what_it_takes() -> None:
    action = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
    workflow = yaml.safe_load((CI / "github-workflow.yml").read_text(encoding="utf-8"))
    steps = workflow["jobs"]["audit"]["steps"]
    (step,) = [step for step in steps if "/skinaudit@" in step.get("uses", "")]
    assert step["with"].keys() <= action["inputs"].keys()
    assert {name for name, setting in action["inputs"].items() if setting.get("required")} <= step["with"].keys()
    for later in steps[steps.index(step) + 1 :]:
        assert later["if"].startswith("always()"), "reports are wanted most when the audit failed"


def test_the_inputs_are_told_as_they_are() -> None:
    action = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
    rows = re.findall(r"^\| `([a-z-]+)` \| (.*?) \|", (CI / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert [name for name, _ in rows] == list(action["inputs"])
    for name, default_cell in rows:
        default = action["inputs"][name].get("default", "")
        assert default_cell == f"`{default}`" if default else "`" not in default_cell


@pytest.mark.parametrize(
    ("name", "ends"),
    [
        pytest.param("pass", 0, marks=pytest.mark.slow),
        ("fail", 1),
        ("inconclusive", 3),
        pytest.param("absent", 2, marks=pytest.mark.slow),
    ],
)
def test_the_gitlab_job_ends_as_the_verdict_says(shell: Run, workplace: Path, tmp_path: Path, name: str, ends: int) -> None:
    (job,) = yaml.safe_load((CI / "gitlab-ci.yml").read_text(encoding="utf-8")).values()
    variables = {**job["variables"], "ENGINE": f"{name}/engines/subject.onnx", "POLICY": "policy.toml"}
    policy = shell("skinaudit policy > policy.toml")
    assert policy.returncode == 0, policy.stderr
    process = shell("\n".join([*job["before_script"], *job["script"]]), **variables)
    assert process.returncode == ends, process.stderr
    assert (tmp_path / "pip.log").read_text() == "-m pip install --quiet skinaudit[cpu]\n"
    assert job["allow_failure"] == {"exit_codes": [3]}
    artifacts = [job["artifacts"]["reports"]["junit"], *job["artifacts"]["paths"]]
    assert all((workplace / file).exists() for file in artifacts[1:])
    assert (workplace / artifacts[0]).exists() is (name != "absent")


@pytest.fixture
def remote(shell: Run, workplace: Path) -> str:
    """A repository in the workplace with the hook, pushed once with the engine that passes."""
    if shutil.which("git") is None:
        pytest.skip("the hook is git's")
    process = shell(
        f"""git init -q -b main .
        git init -q --bare ../remote.git
        git remote add origin ../remote.git
        git add pass
        git commit -qm first
        cp "{CI / "pre-push"}" .git/hooks/pre-push
        git push -q origin main""",
        **IDENTITY,
    )
    assert process.returncode == 0, process.stderr
    assert "PASS: 2 sets are" in process.stderr
    return "main"


def push(shell: Run, lines: str, **environment: str) -> tuple[int, str]:
    process = shell(f"{lines}\ngit push -q origin HEAD 2>&1", **IDENTITY, **environment)
    return process.returncode, process.stdout + process.stderr


def test_the_hook_audits_what_a_push_publishes(shell: Run, workplace: Path, remote: str) -> None:
    code, message = push(shell, "git commit -q --allow-empty -m nothing")
    assert (code, "sets hold" in message) == (0, False), message
    code, message = push(shell, "git add fail; git commit -qm worse")
    assert code == 1, message
    assert "\nFAIL: " in message
    assert "pre-push: not pushed" in message
    reports = workplace / ".git" / "skinaudit"
    assert json.loads((reports / "fail-engines-subject.onnx.json").read_text())["verdict"] == "FAIL"
    assert shell("git status --porcelain").stdout.strip() == "?? inconclusive/"
    code, message = push(shell, "git reset -q HEAD~; git switch -qc other; git add inconclusive; git commit -qm unsure")
    assert code == 1, message
    code, message = push(shell, "true", SKINAUDIT_ALLOW_INCONCLUSIVE="1")
    assert code == 0, message
    code, message = push(shell, "git push -q origin :other 2>&1; git switch -qc third main")
    assert (code, "sets hold" in message) == (0, False), message


def test_the_hook_refuses_to_audit_another_file_than_is_pushed(shell: Run, workplace: Path, remote: str) -> None:
    code, message = push(shell, "git add fail; git commit -qm worse; cp pass/engines/*.onnx* fail/engines/")
    assert code == 1
    assert "differs from what is pushed" in message
