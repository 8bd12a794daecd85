"""Bills of materials against the official schema of CycloneDX 1.6, and against what they list."""

from __future__ import annotations

import json
import shutil
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import jsonschema
from click.testing import CliRunner
from referencing import Registry, Resource

from skinaudit import cli
from skinaudit.artifacts.files import digest_file
from skinaudit.publish.bill import bill_text, package_bill, run_bill

SCHEMAS = Path(__file__).parents[1] / "data" / "cyclonedx"


@cache
def validator() -> Any:
    parts = {path.name: json.loads(path.read_text()) for path in SCHEMAS.glob("*.json")}
    registry: Any = Registry().with_resources(
        (f"http://cyclonedx.org/schema/{name}", Resource.from_contents(part)) for name, part in parts.items()
    )
    return jsonschema.Draft7Validator(parts["bom-1.6.SNAPSHOT.schema.json"], registry=registry)


def by_ref(bill: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {part["bom-ref"]: part for part in (bill["metadata"]["component"], *bill["components"])}


def test_the_bill_of_a_run_holds_what_it_is_made_of(exported_run: Path) -> None:
    bill, left_out = run_bill(exported_run, licence="CC-BY-NC-4.0")
    validator().validate(bill)
    parts = by_ref(bill)
    assert left_out == {}
    weights, engine = exported_run / "weights.safetensors", exported_run / "engines" / "fp16.onnx"
    assert parts["model"]["hashes"] == [{"alg": "SHA-256", "content": digest_file(weights).removeprefix("sha256:")}]
    assert parts["engine:fp16.onnx"]["hashes"][0]["content"] == digest_file(engine).removeprefix("sha256:")
    assert parts["model"]["licenses"] == [{"license": {"name": "CC-BY-NC-4.0"}}]
    assert parts["set:clean"]["type"] == parts["data"]["type"] == "data"
    assert parts["tool:torch"]["purl"] == f"pkg:pypi/torch@{metadata.version('torch')}"
    listed = set(parts)
    assert {ref for entry in bill["dependencies"] for ref in (entry["ref"], *entry["dependsOn"])} <= listed
    assert bill_text(run_bill(exported_run, licence="CC-BY-NC-4.0")[0]) == bill_text(bill)


def test_the_bill_of_the_package_holds_what_is_installed() -> None:
    bill = package_bill()
    validator().validate(bill)
    parts = by_ref(bill)
    assert parts["pypi:numpy"]["version"] == metadata.version("numpy")
    (own,) = (entry for entry in bill["dependencies"] if entry["ref"] == "pypi:skinaudit")
    assert {"pypi:numpy", "pypi:onnx", "pypi:click"} <= set(own["dependsOn"])
    assert "pypi:skinaudit" not in {part["bom-ref"] for part in bill["components"]}


def test_a_damaged_engine_is_left_out_with_the_reason(exported_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(exported_run, tmp_path / "run"))
    (run / "engines" / "fp16.onnx").write_bytes(b"other")
    bill, left_out = run_bill(run)
    assert "engine:fp16.onnx" not in by_ref(bill)
    assert "changed after it was written" in left_out["engine fp16.onnx"]


def test_the_command_writes_a_file_once(exported_run: Path, tmp_path: Path) -> None:
    output = tmp_path / "bom.json"
    assert CliRunner().invoke(cli.commands, ["bom", str(exported_run), "-o", str(output)]).exit_code == 0
    assert json.loads(output.read_text()) == run_bill(exported_run)[0]
    again = CliRunner().invoke(cli.commands, ["bom", str(exported_run), "-o", str(output)])
    assert "exists already" in str(again.exception)
    assert json.loads(CliRunner().invoke(cli.commands, ["bom"]).stdout)["metadata"]["component"]["name"] == "skinaudit"
