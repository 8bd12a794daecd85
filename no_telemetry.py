"""Switches off what the libraries of this package tell their makers. Nothing phones home from an audit of medical models.

Loaded by the package itself, so that it runs before any of these libraries is imported, by whichever module. A library that
a process imported before `skinaudit` has made its own decision already.
"""

from __future__ import annotations

import os
import sys

SWITCHES = {
    # Events in a database in the user's cache, sent to Microsoft: system, interpreter, node and tensor names in error texts.
    "ORT_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
"""Environment variables, inherited by the processes that this one starts. What the user set does not count: one wrong value
would send names out of a confidential model."""

ABSENT = "openvino_telemetry"
"""Through this module OpenVINO and NNCF write a client number into the user's home and send events to Google Analytics.

They work without it, by a stub of their own. The official way to opt out is a file in the home folder, which is the user's.
"""


def switch_off() -> None:
    """Set the environment variables, and let the module of OpenVINO and NNCF be missing where it is not loaded yet."""
    os.environ.update(SWITCHES)
    sys.modules.setdefault(ABSENT, None)  # type: ignore[arg-type]  # import then raises ModuleNotFoundError
