"""Runs TensorRT-RTX plans on a GPU: the code of tensorrt_ with the library of that name."""

from __future__ import annotations

from functools import partial

from skinaudit.engines.plans.open_plan import open_plan
from skinaudit.engines.plans.plan_file import SUFFIXES, is_rtx
from skinaudit.engines.runtime import Runtime

LIBRARIES = ("tensorrt_rtx_cu13", "cuda-python")
_open = partial(open_plan, library="tensorrt_rtx")
RUNTIME = Runtime(SUFFIXES, "cuda", _open, configured=lambda options: partial(_open, options=options), recognises=is_rtx)
