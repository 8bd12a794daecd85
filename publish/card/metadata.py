"""The YAML block at the start of a model card, as the Hugging Face Hub reads it.

Keys: https://github.com/huggingface/hub-docs/blob/main/modelcard.md
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from skinaudit.artifacts.contract import class_title
from skinaudit.artifacts.printable import printable
from skinaudit.errors import InvalidInputError
from skinaudit.publish.run_record import RunRecord, SourceFigures, settings

_LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,59}")
_DATASET = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[\w.-]{1,96})?", re.ASCII)
_PLAIN = re.compile(r"(?!(?:y|n|yes|no|on|off|true|false|null)\Z)[a-z_][\w-]*", re.ASCII)
"""Words that YAML reads as keys without quotes."""
_CHOOSE = "# license: choose one, such as apache-2.0, that the terms of the data allow (HAM10000 is CC BY-NC 4.0)"


def metadata_block(record: RunRecord, *, licence: str | None = None, dataset: str | None = None) -> str:
    """The block between its two fences.

    licence: the Hub's identifier; without it, a comment asks for one. dataset: the Hub's identifier of the data; by default
    made from their title. Raises InvalidInputError for a text that cannot be such an identifier.
    """
    if licence is not None and not _LICENSE.fullmatch(licence):
        raise InvalidInputError(f"--license {licence}: write the Hub's identifier, such as apache-2.0 or cc-by-nc-4.0")
    if dataset is not None and not _DATASET.fullmatch(dataset):
        raise InvalidInputError(f"--dataset {dataset}: write the Hub's identifier, such as NAME or OWNER/NAME")
    head = _CHOOSE if licence is None else f"license: {to_yaml(licence)[0]}"
    return "\n".join(("---", head, *to_yaml(_values(record, dataset or slug(str(record.manifest.data["title"])))), "---"))


def slug(title: str) -> str:
    """An identifier made from a title up to the first bracket or comma: `HAM10000` gives `ham10000`."""
    return re.sub(r"[^a-z0-9]+", "-", re.split(r"[(,]", title.lower())[0]).strip("-") or "unnamed"


def _values(record: RunRecord, dataset: str) -> dict[str, Any]:
    manifest = record.manifest
    hardened = settings(manifest).get("hardening.kind", "none") != "none"
    tags = ["image-classification", "dermatoscopy", "skin-lesions", "adversarial-robustness", "skinaudit"]
    tags += [str(manifest.model.get("arch", "")), "adversarial-training" if hardened else "", "not-a-medical-device"]
    tags += ["synthetic-data"] if manifest.synthetic else []
    results = [_result(record, figures, dataset) for figures in record.sets]
    return {
        "pipeline_tag": "image-classification",
        "library_name": "skinaudit",
        "tags": [tag for tag in tags if tag],
        "datasets": [dataset],
        "metrics": ["accuracy", "balanced_accuracy", "recall"],
        **({"model-index": [{"name": manifest.name, "results": results}]} if results else {}),
    }


def _result(record: RunRecord, figures: SourceFigures, dataset: str) -> dict[str, Any]:
    manifest, threat, comparison = record.manifest, figures.info.threat_model, figures.figures
    title = f"{'SYNTHETIC images: ' if manifest.synthetic else ''}{manifest.data['title']}, test images"
    tested_on: dict[str, Any] = {
        "type": dataset,
        "name": title if threat is None else f"{title} under {figures.info.title}, white-box",
    }
    tested_on |= {"config": figures.info.name, "split": "test"}
    if threat is not None:
        attack_settings = {
            key: value for key, value in figures.info.settings.items() if isinstance(value, (int, float, str))
        }
        access = {"access": "white-box", "attack": figures.info.attack, "norm": threat.norm, "eps": threat.eps_text}
        tested_on["args"] = {**access, **attack_settings, "seed": figures.info.seed}
    robust = "" if threat is None else "robust_"
    word = "Accuracy" if threat is None else f"Robust accuracy, {threat}"
    always, constant = f"always answering {comparison.majority_class}", f"{comparison.constant_balanced:.4f}"
    metrics = [
        _metric(f"{robust}accuracy", f"{word} ({always}: {comparison.majority_share:.4f})", comparison.engine_accuracy),
        _metric(
            f"{robust}balanced_accuracy",
            f"{word}, balanced ({always}: {constant})",
            comparison.engine_balanced,
        ),
    ]
    metrics += [
        _metric("recall", f"Sensitivity, {class_title(kind.name)}", kind.engine.share)
        for kind in comparison.classes
        if kind.malignant and kind.engine.share is not None
    ]
    return {
        "task": {"type": "image-classification", "name": "Image classification"},
        "dataset": tested_on,
        "metrics": metrics,
    }


def _metric(kind: str, name: str, value: float | None) -> dict[str, Any]:
    return {"type": kind, "name": name, "value": value}


def to_yaml(value: Any) -> list[str]:
    """Lines of block-style YAML for mappings, sequences, texts, numbers and booleans.

    Texts are cleaned by printable() and quoted as in JSON, which YAML can read.
    """
    return list(_lines(value))


def _lines(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping) and value:
        for key, entry in value.items():
            name = key if _PLAIN.fullmatch(key) else _scalar(key)
            if isinstance(entry, (Mapping, list, tuple)) and entry:
                yield f"{name}:"
                yield from (f"{'' if isinstance(entry, (list, tuple)) else '  '}{line}" for line in _lines(entry))
            else:
                yield f"{name}: {_scalar(entry)}"
    elif isinstance(value, (list, tuple)) and value:
        for entry in value:
            head, *tail = _lines(entry)
            yield f"- {head}"
            yield from (f"  {line}" for line in tail)
    else:
        yield _scalar(value)


def _scalar(value: Any) -> str:
    if isinstance(value, float):  # not as 1e-05, which YAML 1.1 reads as a text
        return f"{value:.6f}"
    if isinstance(value, str):
        return json.dumps(printable(value), ensure_ascii=False)
    return json.dumps(value)
