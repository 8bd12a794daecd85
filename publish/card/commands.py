"""The section of a model card with the commands that reproduce everything."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from skinaudit.artifacts.run_sets import CLASSES_FROM
from skinaudit.publish.run_record import RunRecord, settings

_FORMATS = {
    ".rtx.plan": "tensorrt-rtx", ".plan": "tensorrt", ".xml": "openvino", ".aoti.pt2": "aotinductor", ".pt2": "pytorch",
    ".onnx": "onnx",
}  # fmt: skip
_RECIPE = ("epochs", "batch", "learning-rate", "class-weighting", "averaging")
"""Options of `skinaudit train` that replace a setting of the recipe."""
_LATER = ("logit-adjustment", "label-smoothing", "swa")
"""Options that a recipe records if they are on."""
_COST = "recipe.class_costs."
_CLASS_EPS = "hardening.class_eps."
_METHOD = "hardening.settings."
_CLASSES_FILE = "classes.toml"


def reproduce(record: RunRecord) -> Iterator[str]:
    """The commands that reproduce the run, its sets and its audits."""
    yield "## How to reproduce it"
    yield ""
    yield "DATA is the folder or file with the images. Equal data, settings and threads give equal weights on one machine."
    yield ""
    yield from _classes_file(record)
    yield "```sh"
    run = f"runs/{record.manifest.name}"
    for command in (train_command(record), *_attack_commands(record, run), *_engine_commands(record, run)):
        yield shlex.join(" ".join(part.split()) for part in command)
    yield "```"


def _classes_file(record: RunRecord) -> Iterator[str]:
    """The file that named the classes of the task, if there was one."""
    merged: Mapping[str, Sequence[str]] = record.manifest.data.get(CLASSES_FROM, {})
    if not merged:
        return
    yield f"{_CLASSES_FILE}:"
    yield ""
    yield "```toml"
    yield f"malignant = {_texts(record.manifest.contract.malignant)}"
    yield 'leave_out = ["*"]'
    yield "[classes]"
    yield from (f"{json.dumps(name, ensure_ascii=False)} = {_texts(members)}" for name, members in merged.items())
    yield "```"
    yield ""


def _texts(names: Sequence[str]) -> str:
    return json.dumps(list(names), ensure_ascii=False)


def train_command(record: RunRecord) -> tuple[str, ...]:
    """The command for this training. DATA stands for images that are not synthetic."""
    settings_by_name, manifest = settings(record.manifest), record.manifest
    norm, _, eps = str(settings_by_name.get("threat_model", "linf 4/255")).partition(" ")
    synthetic = re.fullmatch(r"synthetic \(procedural, seed \d+, (\d+) images\)", str(manifest.data.get("title")))
    options: dict[str, Any] = {"data": "synthetic", "images": synthetic[1]} if synthetic else {"data": "DATA"}
    options |= {
        name: settings_by_name.get(name) for name in ("arch", "width", "size", "split", "weights", "seed", "threads")
    }
    if settings_by_name.get("head", "classes") != "classes":
        options |= {name: settings_by_name.get(name) for name in ("head", "threshold")}
    if "for_int8" in settings_by_name:
        options["for-int8"] = settings_by_name["for_int8"]
    if CLASSES_FROM in manifest.data:
        options["classes"] = _CLASSES_FILE
    options |= {"recipe": settings_by_name.get("recipe.name"), "norm": norm, "eps": eps}
    options |= {name: settings_by_name.get(f"recipe.{name.replace('-', '_')}") for name in _RECIPE}
    if settings_by_name.get("hardening.kind", "none") != "none":
        options |= {"hardening": _method(settings_by_name), "steps": settings_by_name.get("hardening.steps")}
        options |= {"awp": settings_by_name.get("hardening.awp")}
        options |= {"warm-up": settings_by_name.get("hardening.warm_up", 0), "ramp": settings_by_name.get("hardening.ramp")}
        options |= {"clean-share": settings_by_name.get("hardening.clean_share")}
        options["attack-batch-norm"] = settings_by_name.get("hardening.batch_norm")
        options["hardening-eps"] = (
            None if settings_by_name.get("hardening.train_eps") == eps else settings_by_name.get("hardening.train_eps")
        )
    if isinstance(settings_by_name.get("recipe.augment"), str):  # earlier runs only say whether they followed their recipe
        options["augment"] = settings_by_name["recipe.augment"]
    options |= {name: settings_by_name.get(f"recipe.{name.replace('-', '_')}") for name in _LATER}
    usual = "tf32" if str(settings_by_name.get("device")).startswith("cuda") else "fp32"
    if settings_by_name.get("precision", usual) != usual:  # earlier runs do not record it
        options["precision"] = settings_by_name["precision"]
    flags = ["--skip-bad"] if manifest.data.get("skipped") else []
    flags += ["--compile"] if settings_by_name.get("compiled") else []
    flags += ["--cuda-graphs"] if settings_by_name.get("cuda_graphs") else []
    for name in (name for name in settings_by_name if name.startswith(_COST)):
        flags += ["--class-cost", f"{name.removeprefix(_COST)}={settings_by_name[name]:g}"]
    for name in (name for name in settings_by_name if name.startswith(_CLASS_EPS)):
        flags += ["--class-eps", f"{name.removeprefix(_CLASS_EPS)}={settings_by_name[name]}"]
    return ("skinaudit", "train", *_options(options), *flags, "--out", f"runs/{manifest.name}")


def _method(settings_by_name: Mapping[str, Any]) -> str:
    """The hardening method with its settings, in the form that `--hardening` accepts."""
    given = [(name, value) for name, value in settings_by_name.items() if name.startswith(_METHOD)]
    stated = ",".join(f"{name.removeprefix(_METHOD)}={json.dumps(value).strip(chr(34))}" for name, value in given)
    return ":".join(filter(None, (settings_by_name["hardening.kind"], stated)))


def _attack_commands(record: RunRecord, run: str) -> Iterator[tuple[str, ...]]:
    """The attack commands for the sets that training itself did not write."""
    for figures in record.sets:
        if figures.info.threat_model is not None and figures.info.name not in record.manifest.results:
            threat, attack_settings = figures.info.threat_model, figures.info.settings
            stated = ((key, value) for key, value in sorted(attack_settings.items()) if value is not None)
            given = ",".join(f"{key}={json.dumps(value).strip(chr(34))}" for key, value in stated)
            attack = f"{figures.info.attack}:{given}" if given else figures.info.attack
            options = {"attack": attack, "norm": threat.norm, "eps": threat.eps_text, "seed": figures.info.seed}
            yield ("skinaudit", "attack", run, *_options(options))


def _engine_commands(record: RunRecord, run: str) -> Iterator[tuple[str, ...]]:
    for filed in record.audits:
        name, precision = PurePath(filed.result.engine).name, filed.result.asked
        build = next((build for suffix, build in _FORMATS.items() if name.endswith(suffix)), None)
        if build is not None and precision is not None:
            yield "skinaudit", "export", run, "--format", build, f"--{precision}"
    for filed in record.audits:
        program, command, _, *options = filed.result.arguments
        portable = (PurePath(part).name if PurePath(part).is_absolute() else part for part in options)
        yield program, command, f"{run}/engines/{PurePath(filed.result.engine).name}", *portable


def _options(options: Mapping[str, Any]) -> list[str]:
    present = {name: value for name, value in options.items() if value is not None}
    texts = {
        name: repr(value).removesuffix(".0") if isinstance(value, float) else str(value) for name, value in present.items()
    }
    return [part for name, text in texts.items() for part in (f"--{name}", text)]
