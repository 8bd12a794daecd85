"""Runs TensorRT-RTX plans on a GPU, with the same code as tensorrt_."""

from __future__ import annotations

from functools import partial

from skinaudit.engines.plans.open_plan import open_plan
from skinaudit.engines.plans.plan_file import SUFFIXES, is_rtx
from skinaudit.engines.runtime import Runtime

LIBRARIES = ("tensorrt_rtx_cu13", "cuda-python")
RUNTIME = Runtime(
    SUFFIXES, "cuda", partial(open_plan, library="tensorrt_rtx"), recognises=is_rtx, runs_code=True,
    plan_options=("device", "specialisation", "runtime_cache", "cuda_graphs"),
)  # fmt: skip
