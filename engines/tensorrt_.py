"""Runs plans of TensorRT on a CUDA device. The code shared with TensorRT-RTX is in skinaudit.engines.plans."""

from __future__ import annotations

from functools import partial

from skinaudit.engines.plans.open_plan import open_plan
from skinaudit.engines.plans.plan_file import SUFFIXES
from skinaudit.engines.runtime import Runtime

LIBRARIES = ("tensorrt", "cuda-python")
RUNTIME = Runtime(
    SUFFIXES, "cuda", partial(open_plan, library="tensorrt"), runs_code=True, plan_options=("device", "cuda_graphs")
)
