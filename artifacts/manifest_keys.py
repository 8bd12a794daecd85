"""Keys in a manifest's free mappings on which code relies: their types, and which of them are required.

Other keys may have any value: what an attack, a recipe or a runtime records there is for people.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from skinaudit.artifacts.typed_json import Count, Known, Range, Share

BUILT_TYPED: Literal["strongly typed network"] = "strongly typed network"
"""Value of the setting `found_in` if `found` was counted in the network at build time, not in the built file."""

COUNT = Count
_SKIPPED = Annotated[
    Mapping[str, str], Known({"image_id": str, "reason": str}, required=("image_id", "reason"), others=False)
]
RELU6: Literal["relu6"] = "relu6"
"""Value of a model's `activations` if training for int8 gave each of its ReLUs an upper bound."""

MODEL = Known({
    "arch": str, "width": Annotated[float, Range(0)], "parameters": COUNT, "activations": Literal["relu6"],
})  # fmt: skip
DATA = Known(
    {
        "title": str, "digest": str, "synthetic": bool, "size": COUNT, "images": COUNT, "lesions": COUNT,
        "counts": Mapping[str, Mapping[str, COUNT]], "part_images": Mapping[str, COUNT],
        "part_lesions": Mapping[str, COUNT], "majority_class": str, "majority_share": Share,
        "leaked_lesions": COUNT, "skipped": tuple[_SKIPPED, ...], "notes": tuple[str, ...], "split": str,
        "test_set": str, "patients": COUNT, "part_patients": Mapping[str, COUNT], "leaked_patients": COUNT,
        "identical": COUNT, "contradictions": tuple[str, ...], "turned": COUNT,
        "classes_from": Mapping[str, tuple[str, ...]],
    },
    required=("title", "digest"),
)  # fmt: skip
_RECIPE = Known({
    "name": str, "epochs": COUNT, "batch": COUNT, "learning_rate": float, "class_weighting": float,
    "class_costs": Mapping[str, float], "monitor": Literal["accuracy", "balanced_accuracy"],
})  # fmt: skip
_HARDENING = Known(
    {
        "kind": str, "steps": COUNT, "ramp": Share, "clean_share": Share, "batch_norm": str, "train_eps": str,
        "threat_model": Annotated[Mapping[str, str], Known({"norm": str, "eps": str}, required=("norm", "eps"))],
    },
    required=("kind",),
)  # fmt: skip
_TEMPERATURE = Known({"value": Annotated[float, Range(0)], "before": float, "after": float})
TRAINING = Known({
    "recipe": Annotated[Mapping[str, Any], _RECIPE], "hardening": Annotated[Mapping[str, Any], _HARDENING],
    "threat_model": str, "seed": COUNT, "weights": str | None, "threads": COUNT, "start": str, "kept_epoch": COUNT,
    "epochs": COUNT, "device": str, "temperature": Annotated[Mapping[str, float], _TEMPERATURE],
})  # fmt: skip
RESULT = Known({"accuracy": Share, "balanced_accuracy": Share}, required=("accuracy",))
_REBUILDS = Known(
    {"builds": COUNT, "files": COUNT, "flips": COUNT | None, "images": COUNT},
    required=("builds", "files", "flips", "images"),
    others=False,
)
PARITY = Known({
    "images": COUNT, "max_abs": Annotated[float, Range(0)], "mean_abs": Annotated[float, Range(0)],
    "scale": Annotated[float, Range(0)], "agreement": Share, "near_ties": COUNT, "measured_on": str,
    "rebuilds": Annotated[Mapping[str, Any], _REBUILDS],
})  # fmt: skip
SETTINGS = Known({
    "found_in": Literal["strongly typed network"], "opset": COUNT, "graph": str, "flags": tuple[str, ...],
})  # fmt: skip
LINEAGE = Known(
    dict.fromkeys(("weights", "onnx", "data", "calibration", "test_set"), str), required=("weights", "onnx", "data")
)
