"""The optional libraries and their extras. Checked before a command spends time, and named if one is missing."""

from __future__ import annotations

from importlib.util import find_spec

from skinaudit.errors import MissingDependencyError, missing

OPTIONAL = {
    "torch": ("torch", "train"),
    "torchvision": ("torchvision", "train"),
    "PIL": ("pillow", "report"),  # also in `train`; a machine that only audits needs no torch for its images
    "matplotlib": ("matplotlib", "train"),
    "onnxscript": ("onnxscript", "train"),
    "jinja2": ("jinja2", "report"),
    "onnxruntime": ("onnxruntime", "cpu"),
    "openvino": ("openvino", "openvino"),
    "nncf": ("nncf", "openvino"),
    "tensorrt": ("tensorrt", "gpu"),
    "cuda": ("cuda-python", "gpu"),
    "tensorrt_rtx": ("tensorrt-rtx-cu13", "rtx"),
    "mlflow": ("mlflow-skinny", "tracking"),
    "sqlalchemy": ("sqlalchemy", "tracking"),
    "alembic": ("alembic", "tracking"),
}
"""Module -> (the distribution that contains it, the extra that installs it)."""
ALWAYS = ("click", "numpy", "onnx", "rich", "safetensors")
"""Installed with skinaudit itself. If one of them is missing, the installation is damaged."""
TRAINING = ("torch", "torchvision", "PIL", "matplotlib")
"""Modules that a training needs, the last of them only after its last epoch."""


def need(purpose: str, *modules: str) -> None:
    """Raise MissingDependencyError for the first of these modules of OPTIONAL that is not installed; imports none."""
    for module in modules:
        if find_spec(module) is None:
            raise missing(*OPTIONAL[module], purpose)


def absent(error: ImportError, purpose: str) -> MissingDependencyError | None:
    """The message for an import that failed because a library is missing; None if it failed for another reason."""
    module = (error.name or "").partition(".")[0]
    if isinstance(error, ModuleNotFoundError) and module in ALWAYS:
        return MissingDependencyError(
            f"{purpose} needs {module}, which is always installed with skinaudit: pip install skinaudit again"
        )
    if not isinstance(error, ModuleNotFoundError) or module not in OPTIONAL:
        return None
    return missing(*OPTIONAL[module], purpose)
