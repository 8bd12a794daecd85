"""Threads that wait sleep, whatever imports torch first, and what the user has set stays."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from skinaudit import thread_waiting

SEEN = "import os, sys, skinaudit; print('torch' in sys.modules, *(os.environ.get(name) for name in {!r}))"


def after_import(**added: str) -> str:
    """Whether importing the package loads torch, and the variables behind it, in a process of its own."""
    clean = {name: value for name, value in os.environ.items() if name not in thread_waiting.VARIABLES}
    code = SEEN.format(thread_waiting.VARIABLES)
    process = subprocess.run(
        [sys.executable, "-c", code], env={**clean, **added}, capture_output=True, text=True, check=True
    )
    return process.stdout.strip()


def test_the_policy_is_set_with_the_package_and_before_torch() -> None:
    assert after_import() == "False PASSIVE None None"


@pytest.mark.parametrize(
    ("added", "answer"),
    [
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "False ACTIVE None None"),
        ({"GOMP_SPINCOUNT": "1000"}, "False None 1000 None"),
        ({"KMP_BLOCKTIME": "5"}, "False None None 5"),
    ],
)
def test_what_the_user_has_set_is_left_alone(added: dict[str, str], answer: str) -> None:
    assert after_import(**added) == answer
