"""What the fake machine has; an environment variable hands it to child processes."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path

VARIABLE = "SKINAUDIT_TESTS_FAKE_GPU"


@dataclass(frozen=True)
class Machine:
    """devices: names. driver: CUDA version as 1000 * major + 10 * minor, 0 where none is installed. memory: bytes a device.
    tensorrt: version of the library of that name. plans: folder of what is known of plans that the real builder wrote.
    """

    devices: tuple[str, ...] = ("NVIDIA H100 80GB HBM3",)
    driver: int = 13050
    memory: int = 1 << 34
    tensorrt: str = "10.13.0"
    plans: str = ""

    def text(self) -> str:
        """What the variable holds for it."""
        return json.dumps(asdict(self))


def machine() -> Machine:
    """The machine of this process."""
    stored = json.loads(os.environ[VARIABLE])
    return replace(Machine(**stored), devices=tuple(stored["devices"]))


def plans_folder() -> Path:
    """Where the builder of TensorRT-RTX notes what its plans compute."""
    return Path(machine().plans)
