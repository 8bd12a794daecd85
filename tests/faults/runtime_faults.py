"""Honest files that a runtime, or its tool, makes something else of."""

from __future__ import annotations

from pathlib import Path

from skinaudit.tests.faults.lab import Fault, Lab
from skinaudit.tests.faults.reexports import LEVELS, optimised_file


def _as_exported(lab: Lab, folder: Path) -> Path:
    return lab.run / "engines" / "int8.xml"


RUNTIME_FAULTS: tuple[Fault, ...] = (
    *(
        Fault(
            f"optimised {level.lower()}, fp16.onnx",
            "ONNX Runtime's optimiser ran where there is no fp16, and wrote a file of fp32 layers",
            lambda lab, folder, level=level: optimised_file(lab, "fp16", level),  # type: ignore[misc]
            ("precision found",),
        )
        for level in LEVELS
    ),
    Fault(
        "single images, int8.xml",
        "OpenVINO 2026.4.1 answers 26 of 32 single images wrongly where the file has a dynamic batch",
        _as_exported,
        ("batches",),
    ),
)
"""bench/faults.py audits them after `export_all`. Whether the last one is a fault depends on the runtime's version."""
