"""The section of a model card on how to get everything again, as commands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

from skinaudit.publish.run_record import RunRecord, settings

_FORMATS = {".rtx.plan": "tensorrt-rtx", ".plan": "tensorrt", ".xml": "openvino", ".pt2": "pytorch", ".onnx": "onnx"}
_RECIPE = ("epochs", "batch", "learning-rate", "class-weighting")
"""Options of `skinaudit train` that replace a setting of the recipe."""
_COST = "recipe.class_costs."


def reproduce(record: RunRecord) -> Iterator[str]:
    """The commands that give the run, its sets and its audits again."""
    yield "## How to get it again"
    yield ""
    yield "DATA stands for the images' folder or file. Equal data, settings and threads give equal weights on one machine."
    yield ""
    yield "```sh"
    run = f"runs/{record.manifest.name}"
    for command in (train_command(record), *_attack_commands(record, run), *_engine_commands(record, run)):
        yield shlex.join(" ".join(part.split()) for part in command)
    yield "```"


def train_command(record: RunRecord) -> tuple[str, ...]:
    """What to type for this training; DATA stands for images that are not the embedded ones."""
    told, manifest = settings(record.manifest), record.manifest
    norm, _, eps = str(told.get("threat_model", "linf 4/255")).partition(" ")
    synthetic = re.fullmatch(r"synthetic \(procedural, seed \d+, (\d+) images\)", str(manifest.data.get("title")))
    given: dict[str, Any] = {"data": "synthetic", "images": synthetic[1]} if synthetic else {"data": "DATA"}
    given |= {name: told.get(name) for name in ("arch", "width", "size", "split", "weights", "seed", "threads")}
    given |= {"recipe": told.get("recipe.name"), "norm": norm, "eps": eps}
    given |= {name: told.get(f"recipe.{name.replace('-', '_')}") for name in _RECIPE}
    if told.get("hardening.kind", "none") != "none":
        given |= {"hardening": told["hardening.kind"], "steps": told.get("hardening.steps")}
        given |= {"warm-up": told.get("hardening.warm_up", 0), "ramp": told.get("hardening.ramp")}
        given |= {"clean-share": told.get("hardening.clean_share")}
        given["attack-batch-norm"] = told.get("hardening.batch_norm")
        given["hardening-eps"] = None if told.get("hardening.train_eps") == eps else told.get("hardening.train_eps")
    if isinstance(told.get("recipe.augment"), str):  # earlier runs only say whether they did as their recipe does
        given["augment"] = told["recipe.augment"]
    flags = ["--skip-bad"] if manifest.data.get("skipped") else []
    for name in (one for one in told if one.startswith(_COST)):
        flags += ["--class-cost", f"{name.removeprefix(_COST)}={told[name]:g}"]
    return ("skinaudit", "train", *_options(given), *flags, "--out", f"runs/{manifest.name}")


def _attack_commands(record: RunRecord, run: str) -> Iterator[tuple[str, ...]]:
    """Of the sets that were added to those that the training ends with."""
    for one in record.sets:
        if one.info.threat_model is not None and one.info.name not in record.manifest.results:
            threat, told = one.info.threat_model, one.info.settings
            given = {"attack": one.info.attack, "norm": threat.norm, "eps": threat.eps_text, "seed": one.info.seed}
            given |= {name: told.get(name) for name in ("steps", "restarts")}
            yield "skinaudit", "attack", run, *_options(given), *(["--targeted"] if told.get("targeted") else [])


def _engine_commands(record: RunRecord, run: str) -> Iterator[tuple[str, ...]]:
    for filed in record.audits:
        name, asked = PurePath(filed.result.engine).name, filed.result.asked
        build = next((build for suffix, build in _FORMATS.items() if name.endswith(suffix)), None)
        if build is not None and asked is not None:
            yield "skinaudit", "export", run, "--format", build, f"--{asked}"
    for filed in record.audits:
        first, second, _, *rest = filed.result.arguments
        kept = (PurePath(part).name if PurePath(part).is_absolute() else part for part in rest)
        yield first, second, f"{run}/engines/{PurePath(filed.result.engine).name}", *kept


def _options(given: Mapping[str, Any]) -> list[str]:
    told = {name: value for name, value in given.items() if value is not None}
    texts = {
        name: repr(value).removesuffix(".0") if isinstance(value, float) else str(value) for name, value in told.items()
    }
    return [part for name, text in texts.items() for part in (f"--{name}", text)]
