"""What is expensive to build and read by many tests: built once a session, also where pytest-xdist runs several workers."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


def built_once(factory: pytest.TempPathFactory, name: str, build: Callable[[Path], object]) -> Path:
    """The folder `name`, in which `build` has worked in one of the workers; the others wait for it.

    A build that fails raises in every worker that asks. The folder is there under its own name while it is built, because
    runs record where they lie. Read only: copy it to change it.
    """
    own = factory.getbasetemp()
    shared = own.parent if os.environ.get("PYTEST_XDIST_WORKER") else own  # a worker's own folder lies in that of all
    folder, complete = shared / name, shared / f"{name}.complete"
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # ends with the file, whatever happens to this process
        if not complete.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            build(folder)
            complete.touch()
    return folder
