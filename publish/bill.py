"""Bills of materials in CycloneDX 1.6, for the installed package or for a run with its model, data, sets and engines.

Equal inputs give equal bytes: a bill contains no time, and its serial number is computed from its content. The library
cyclonedx-python-lib is not used, because it does not support model cards, and a bill of a model needs one. Source:
https://cyclonedx.org/docs/1.6/json/
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import skinaudit
from skinaudit.artifacts.manifest import EngineManifest, RunManifest, read_engine_manifest, read_run
from skinaudit.artifacts.run_folder import RunFolder
from skinaudit.errors import SkinauditError

Plain = dict[str, Any]
_SPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://cyclonedx.org/skinaudit")
_HEX = re.compile(r"sha256:([0-9a-f]{64})")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_LICENCE = "License :: OSI Approved :: "
_LONGEST = 100
_PLATFORM = "python"
_MODEL, _DATA = "model", "data"


def package_bill() -> Plain:
    """The installed package and every installed distribution that it needs or can use, with versions and licences."""
    distributions = dict(_closure("skinaudit"))
    own = {"type": "application", "bom-ref": _ref("skinaudit"), "name": "skinaudit", "version": skinaudit.__version__,
           "licenses": [{"license": {"id": "Apache-2.0"}}]}  # fmt: skip
    parts = [_distribution(distributions[name]) for name in sorted(distributions) if name != "skinaudit"]
    needs = [
        {
            "ref": _ref(name),
            "dependsOn": sorted(_ref(other) for other in _needed(distributions[name]) if other in distributions),
        }
        for name in sorted(distributions)
    ]
    return _bill(own, parts, needs or [{"ref": _ref("skinaudit"), "dependsOn": []}])


def run_bill(folder: Path, *, licence: str | None = None) -> tuple[Plain, Mapping[str, str]]:
    """The bill of a finished run, and what could not be listed -> why. licence: of the model, an SPDX identifier or a name.

    Raises InvalidInputError if the run cannot be read. An engine that cannot be read is left out, with the reason.
    """
    run, engines, left_out = read_run(folder), dict[str, EngineManifest](), dict[str, str]()
    for name in RunFolder(folder).engine_names():
        try:
            engines[name] = read_engine_manifest(RunFolder(folder).engines / name)
        except SkinauditError as error:
            left_out[f"engine {name}"] = str(error).replace(f"{folder}/", "").split(": ", 1)[-1]
    tools = {**run.created_with, **{key: value for engine in engines.values() for key, value in engine.created_with.items()}}
    parts = [
        _data(run),
        *_sets(run),
        *(_engine(name, engine) for name, engine in engines.items()),
        *map(_tool, tools.items()),
    ]
    tool_refs = [_tool_ref(item) for item in sorted(tools.items())]
    needs = [
        {"ref": _MODEL, "dependsOn": [_DATA, *tool_refs]},
        *({"ref": f"engine:{name}", "dependsOn": [_MODEL]} for name in engines),
    ]
    model = _model(run, licence)
    return _bill(model, parts, needs), left_out


def bill_text(bill: Plain) -> str:
    """As indented JSON."""
    return json.dumps(bill, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _bill(subject: Plain, components: Sequence[Plain], dependencies: Sequence[Plain]) -> Plain:
    content = {
        "metadata": {
            "tools": {"components": [{"type": "application", "name": "skinaudit", "version": skinaudit.__version__}]},
            "component": subject,
        },
        "components": list(components),
        "dependencies": list(dependencies),
    }
    serial = uuid.uuid5(_SPACE, json.dumps(content, sort_keys=True))
    head = {"$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json", "bomFormat": "CycloneDX", "specVersion": "1.6"}
    return {**head, "serialNumber": f"urn:uuid:{serial}", "version": 1, **content}


def _closure(name: str) -> Iterator[tuple[str, metadata.Distribution]]:
    """The installed distributions that a distribution needs or can use, directly or indirectly, by normalised name."""
    waiting, visited = [name], set[str]()
    while waiting:
        wanted = waiting.pop()
        if wanted in visited:
            continue
        visited.add(wanted)
        try:
            distribution = metadata.distribution(wanted)
        except metadata.PackageNotFoundError:
            continue
        yield wanted, distribution
        waiting += _needed(distribution)


def _needed(distribution: metadata.Distribution) -> set[str]:
    """Normalised names of what a distribution needs, including extras."""
    matches = (_NAME.match(line) for line in distribution.requires or [])
    return {_normal(match.group()) for match in matches if match}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _ref(name: str) -> str:
    return f"pypi:{_normal(name)}"


def _distribution(distribution: metadata.Distribution) -> Plain:
    name, version = _normal(distribution.metadata["Name"]), distribution.version
    part = {"type": "library", "bom-ref": _ref(name), "name": name, "version": version, "purl": f"pkg:pypi/{name}@{version}"}
    licences = _licences(distribution)
    return {**part, "licenses": licences} if licences else part


def _licences(distribution: metadata.Distribution) -> list[Plain]:
    """The licence in a distribution's metadata: an expression, else its classifiers, else a short name; else nothing."""
    fields: Any = distribution.metadata
    if expression := fields.get("License-Expression"):
        return [{"expression": expression}]
    classifiers = [line.removeprefix(_LICENCE) for line in fields.get_all("Classifier") or [] if line.startswith(_LICENCE)]
    names = classifiers or [fields.get("License") or ""]
    return [{"license": {"name": name}} for name in names if name and len(name) <= _LONGEST and "\n" not in name]


def _model(run: RunManifest, licence: str | None) -> Plain:
    contract, hardening = run.contract, run.training.get("hardening")
    metrics = [
        {"type": name.replace("_", " "), "value": f"{value:.6g}", "slice": part}
        for part, figures in run.results.items()
        for name, value in figures.items()
    ]
    width = run.model.get("width")
    card = {
        "modelParameters": {
            "approach": {"type": "supervised"},
            "task": "image classification",
            "architectureFamily": "convolutional neural network",
            "modelArchitecture": str(run.model.get("arch", "unknown")) + ("" if width is None else f" x{width:g}"),
            "datasets": [{"ref": _DATA}],
            "inputs": [
                {"format": f"{contract.dtype} {contract.layout}, {contract.size} x {contract.size}, {contract.scale}"}
            ],
            "outputs": [{"format": f"logits of {', '.join(contract.classes)}"}],
        },
        "quantitativeAnalysis": {"performanceMetrics": metrics},
    }
    kind = hardening.get("kind", "unknown") if isinstance(hardening, Mapping) else "none"
    properties = _properties(
        hardening=kind, synthetic=str(run.synthetic).lower(), seed=str(run.training.get("seed", "unknown"))
    )
    model = {"type": "machine-learning-model", "bom-ref": _MODEL, "name": run.name, **_hashed(run.weights.digest)}
    return {**model, **_licensed(licence), "modelCard": card, "properties": properties}


def _data(run: RunManifest) -> Plain:
    kind = "synthetic" if run.synthetic else "images of skin lesions"
    contents = _properties(
        images=str(run.data.get("images", "unknown")),
        lesions=str(run.data.get("lesions", "unknown")),
        digest=str(run.data["digest"]),
    )
    entry = {"type": "dataset", "name": str(run.data["title"]), "classification": kind}
    return {"type": "data", "bom-ref": _DATA, "name": str(run.data["title"]), "data": [entry], "properties": contents}


def _sets(run: RunManifest) -> Iterator[Plain]:
    for name, record in run.sets.items():
        entry = {"type": "dataset", "name": name, "classification": "stored images that audits replay"}
        yield {"type": "data", "bom-ref": f"set:{name}", "name": name, "data": [entry], **_hashed(record.digest)}


def _engine(name: str, manifest: EngineManifest) -> Plain:
    layers = ", ".join(f"{key} {value}" for key, value in manifest.found.items())
    properties = _properties(
        precision=manifest.asked,
        layers=layers,
        runtime=manifest.runtime,
        device=manifest.device,
        weights=manifest.lineage["weights"],
    )
    return {
        "type": "machine-learning-model",
        "bom-ref": f"engine:{name}",
        "name": name,
        **_hashed(manifest.engine.digest),
        "properties": properties,
    }


def _tool_ref(item: tuple[str, str]) -> str:
    return f"tool:{item[0]}"


def _tool(item: tuple[str, str]) -> Plain:
    name, version = item
    part = {
        "type": "platform" if name == _PLATFORM else "library",
        "bom-ref": _tool_ref(item),
        "name": name,
        "version": version,
    }
    return part if name == _PLATFORM else {**part, "purl": f"pkg:pypi/{_normal(name)}@{version}"}


def _hashed(digest: str) -> Plain:
    match = _HEX.fullmatch(digest)
    return {"hashes": [{"alg": "SHA-256", "content": match.group(1)}]} if match else {}


def _licensed(licence: str | None) -> Plain:
    return {} if licence is None else {"licenses": [{"license": {"name": licence}}]}


def _properties(**values: str) -> list[Plain]:
    return [{"name": f"skinaudit:{name}", "value": value} for name, value in values.items()]
