"""Switches off the usage reports of this package's libraries. An audit of medical models must not phone home.

The package itself loads this module, so that it runs before any of these libraries is imported. A library that a process
imports before `skinaudit` has already made its own decision.
"""

from __future__ import annotations

import os
import sys

SWITCHES = {
    # Events in a database in the user's cache, sent to Microsoft: system, interpreter, node and tensor names in error texts.
    "ORT_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
"""Environment variables, inherited by child processes.

They overwrite the user's values: one wrong value would send names out of a confidential model.
"""

ABSENT = "openvino_telemetry"
"""The module with which OpenVINO and NNCF write a client number into the user's home and send events to Google Analytics.

They work without it, with their own stub. The official way to opt out is a file in the user's home folder.
"""


def switch_off() -> None:
    """Set the environment variables, and make the module of OpenVINO and NNCF unavailable if it is not loaded yet."""
    os.environ.update(SWITCHES)
    sys.modules.setdefault(ABSENT, None)  # type: ignore[arg-type]  # import then raises ModuleNotFoundError
