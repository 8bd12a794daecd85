"""The peers' packages, in a folder of their own: they pin and pull in far more than skinaudit needs."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import types
import warnings
from importlib import metadata
from pathlib import Path

from skinaudit.errors import MissingDependencyError

FOLDER = Path(__file__).resolve().parents[1] / ".bench-peers"

PEERS = {
    "torchattacks": "3.5.1",
    "foolbox": "3.3.4",
    "adv-lib": "0.2.8",
    "adversarial-robustness-toolbox": "1.20.1",
}
"""Distributions compared with, by version."""

# What they import, without what they merely declare: their own requirements pin an old torch and numpy, and visdom (of
# adv-lib) does not build any more.
_IMPORTED = (
    "certifi", "charset-normalizer", "cloudpickle", "eagerpy", "gitdb", "gitpython", "idna", "joblib", "narwhals",
    "requests", "scikit-learn", "scipy", "six", "smmap", "threadpoolctl", "tqdm", "urllib3",
)  # fmt: skip
_MODULES = {
    "torchattacks": ("torchattacks",),
    "foolbox": ("foolbox",),
    "adv-lib": ("adv_lib.attacks",),
    "adversarial-robustness-toolbox": (
        "art.attacks.evasion", "art.estimators.classification", "art.defences.trainer",
    ),
}  # fmt: skip


def install(folder: Path = FOLDER) -> None:
    """Install the peers into `folder` with pip, unless they are there in these versions."""
    if _found(folder) == PEERS:
        return
    wanted = [*(f"{name}=={version}" for name, version in PEERS.items()), *_IMPORTED]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade", "--target", str(folder)]
    subprocess.run([*pip, *wanted], check=True)


def check(*peers: str, folder: Path = FOLDER) -> dict[str, str]:
    """The versions of `peers`, or of all of them; MissingDependencyError where one is not installed in that of PEERS."""
    wanted = {name: PEERS[name] for name in peers or PEERS}
    found = _found(folder)
    if any(found.get(name) != version for name, version in wanted.items()):
        raise MissingDependencyError(f"{folder.name}: the peers are not installed: python bench/libraries.py installs them")
    return wanted


def enable(*peers: str, folder: Path = FOLDER) -> dict[str, str]:
    """Make `peers`, or all of them, importable and import them; returns their versions. Raises as `check` does."""
    wanted = check(*peers, folder=folder)
    if str(folder) not in sys.path:
        sys.path.append(str(folder))  # at the end: what skinaudit itself uses comes from its own environment
    # adv-lib imports visdom for plots that nobody asks for here; an empty module does.
    sys.modules.setdefault("visdom", types.ModuleType("visdom"))
    os.environ["TQDM_DISABLE"] = "1"  # ART draws progress bars in places where it cannot be told not to
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they import names that scipy and the standard library deprecate
        for module in (module for name in wanted for module in _MODULES[name]):
            importlib.import_module(module)
    return wanted


def _found(folder: Path) -> dict[str, str]:
    installed = {found.name.lower(): found.version for found in metadata.distributions(path=[str(folder)])}
    return {name: installed[name] for name in PEERS if name in installed}


if __name__ == "__main__":
    install()
