"""Names for the command line's lists: those of the files in a folder. No file is imported, so that help is fast."""

from __future__ import annotations

import pkgutil
from pathlib import Path

ROOT = Path(__file__).parents[1]


def names_in(folder: str) -> tuple[str, ...]:
    """The modules in a folder of the package, such as `trainer/attacks`, sorted, without those that start with `_`."""
    modules = (module.name for module in pkgutil.iter_modules([str(ROOT / folder)]))
    return tuple(sorted(name for name in modules if not name.startswith("_")))


def attack_names() -> tuple[str, ...]:
    """The attacks, by the files of trainer/attacks: `pgd_dlr.py` is pgd-dlr."""
    return tuple(name.replace("_", "-") for name in names_in("trainer/attacks"))


def hardening_names() -> tuple[str, ...]:
    """The methods of hardening, by the files of trainer/hardening: `fgsm_rs.py` is fgsm-rs."""
    return tuple(name.replace("_", "-") for name in names_in("trainer/hardening"))


def defence_names() -> tuple[str, ...]:
    """The defences, by the files of engines/defences: `crop_rescale.py` is crop-rescale."""
    return tuple(name.replace("_", "-") for name in names_in("engines/defences"))


def runtime_names() -> tuple[str, ...]:
    """The runtimes, by the files of engines/ whose names end in `_`: `tensorrt_rtx_.py` is tensorrt-rtx."""
    return tuple(name.rstrip("_").replace("_", "-") for name in names_in("engines") if name.endswith("_"))


def listed(names: tuple[str, ...]) -> str:
    """Names listed for a sentence: `a, b or c`."""
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last
