"""The peers' packages, in folders of their own: they pin and pull in far more than skinaudit needs."""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
import types
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from skinaudit.errors import MissingDependencyError

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Group:
    """Peers that one script compares with.

    peers: versions by distribution. imported: what they import, without what they merely declare, as pip's requirements.
    modules: what `enable` imports of each. folder: where they are installed.
    """

    folder: Path
    peers: Mapping[str, str]
    imported: tuple[str, ...]
    modules: Mapping[str, tuple[str, ...]]


ATTACKS = Group(
    folder=ROOT / ".bench-peers",
    peers={
        "torchattacks": "3.5.1",
        "foolbox": "3.3.4",
        "adv-lib": "0.2.8",
        "adversarial-robustness-toolbox": "1.20.1",
    },
    # Their own requirements pin an old torch and numpy, and visdom (of adv-lib) does not build any more.
    imported=(
        "certifi", "charset-normalizer", "cloudpickle", "eagerpy", "gitdb", "gitpython", "idna", "joblib", "narwhals",
        "requests", "scikit-learn", "scipy", "six", "smmap", "threadpoolctl", "tqdm", "urllib3",
    ),
    modules={
        "torchattacks": ("torchattacks",),
        "foolbox": ("foolbox",),
        "adv-lib": ("adv_lib.attacks",),
        "adversarial-robustness-toolbox": (
            "art.attacks.evasion", "art.estimators.classification", "art.defences.trainer",
        ),
    },
)  # fmt: skip
"""Attacks and hardening: `bench/run.py`."""

QUANTISERS = Group(
    folder=ROOT / ".bench-quantisers",
    peers={"nvidia-modelopt": "0.47.0"},
    # Its own requirements pin an old onnx and an old onnxruntime-gpu, which takes the place of onnxruntime.
    imported=(
        "annotated-types", "antlr4-python3-runtime==4.9.3", "cppimport", "lief", "mako", "nvidia-ml-py", "omegaconf",
        "onnx-graphsurgeon", "onnxconverter-common", "onnxslim", "polygraphy", "pulp", "pydantic", "pydantic-core", "pyyaml",
        "regex", "scipy", "tqdm", "typing-inspection",
    ),
    modules={"nvidia-modelopt": ("modelopt.onnx.quantization",)},
)  # fmt: skip
"""int8 and fp8: `bench/quantisers.py`. NNCF is not among them: the extra `openvino` brings it."""

GROUPS: Mapping[str, Group] = {"attacks": ATTACKS, "quantisers": QUANTISERS}


def install(group: Group) -> None:
    """Install the peers of a group into its folder with pip, unless they are there in these versions."""
    if _installed(group) == group.peers:
        return
    requirements = [*(f"{name}=={version}" for name, version in group.peers.items()), *group.imported]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade", "--target", str(group.folder)]
    subprocess.run([*pip, *requirements], check=True)


def enable(*peers: str, group: Group = ATTACKS) -> dict[str, str]:
    """Make `peers`, or all of a group, importable and import them; returns their versions.

    Raises MissingDependencyError where one is not installed in the version of the group.
    """
    versions = require(*peers, group=group)
    if str(group.folder) not in sys.path:
        sys.path.append(str(group.folder))  # at the end: what skinaudit itself uses comes from its own environment
    # adv-lib imports visdom for plots that nobody asks for here; an empty module does.
    sys.modules.setdefault("visdom", types.ModuleType("visdom"))
    os.environ["TQDM_DISABLE"] = "1"  # ART draws progress bars in places where it cannot be told not to
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they import names that scipy and the standard library deprecate
        for module in (module for name in versions for module in group.modules[name]):
            importlib.import_module(module)
    return versions


def require(*peers: str, group: Group = ATTACKS) -> dict[str, str]:
    """The versions of `peers`, or of all of a group, without importing them; raises as `enable`."""
    versions = {name: group.peers[name] for name in peers or group.peers}
    installed = _installed(group)
    if any(installed.get(name) != version for name, version in versions.items()):
        name = next((name for name, candidate in GROUPS.items() if candidate.peers == group.peers), "")
        raise MissingDependencyError(
            f"{group.folder.name}: the peers are not installed: python bench/libraries.py {name} installs them"
        )
    return versions


def _installed(group: Group) -> dict[str, str]:
    installed = {
        distribution.name.lower(): distribution.version for distribution in metadata.distributions(path=[str(group.folder)])
    }
    return {name: installed[name] for name in group.peers if name in installed}


def selected(arguments: Sequence[str]) -> list[Group]:
    """The groups that the command line names, all without any."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("groups", nargs="*", choices=[*GROUPS, "all"], default="all", help="which (default: all)")
    names = parser.parse_args(arguments).groups
    return [GROUPS[name] for name in (GROUPS if "all" in names else names)]


if __name__ == "__main__":
    for group in selected(sys.argv[1:]):
        install(group)
