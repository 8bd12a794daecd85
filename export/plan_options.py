"""What a user may ask of a TensorRT builder, and how each library is told: by one name on the command line."""

from __future__ import annotations

from typing import Any

from skinaudit.artifacts.manifest import STRIPPED
from skinaudit.errors import InvalidInputError
from skinaudit.export.build import BuildOptions

_MIB = 1 << 20
_NO_TARGETS = ("NONE", "CURRENT")
"""Members of ComputeCapability that name none."""


def add_profile(builder: Any, config: Any, network: Any, options: BuildOptions, *, where: str) -> None:
    """One optimisation profile for the batches of the options; raises InvalidInputError where only the batch may be dynamic
    and more is."""
    low, usual, high = options.batches
    if not 1 <= low <= usual <= high:
        raise InvalidInputError(f"{where}: batches {low} {usual} {high}: give smallest, usual and largest in this order")
    profile = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        port = network.get_input(index)
        sides = tuple(port.shape)
        if -1 in sides[1:]:
            raise InvalidInputError(f"{where}: input {port.name} has shape {sides}: only the batch may be dynamic in a plan")
        profile.set_shape(port.name, *((batch, *sides[1:]) for batch in options.batches))
    config.add_optimization_profile(profile)


def apply_options(trt: Any, config: Any, options: BuildOptions, *, where: str) -> list[str]:
    """Set what was asked for, and TF32 off; returns it as it was typed.

    Raises InvalidInputError for an option that the library does not have, named as it was typed.
    """
    config.clear_flag(trt.BuilderFlag.TF32)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # so that the plan can tell its layers' types
    typed = []
    for asked, option, flag in (
        (options.version_compatible, "--version-compatible", "VERSION_COMPATIBLE"),
        (options.refit, "--refit", "REFIT"),
        (options.strip, STRIPPED, "STRIP_PLAN"),
    ):
        if asked:
            config.set_flag(_member(trt, "BuilderFlag", flag, option, where=where))
            typed.append(option)
    if options.hardware_compatible:
        if trt.__name__ == "tensorrt_rtx":
            raise InvalidInputError(f"{where}: tensorrt_rtx has no --hardware-compatible; name GPUs by --target")
        level = _member(trt, "HardwareCompatibilityLevel", "AMPERE_PLUS", "--hardware-compatible", where=where)
        config.hardware_compatibility_level = level
        typed.append("--hardware-compatible")
    if options.targets:
        typed += _set_targets(trt, config, options.targets, where=where)
    if options.workspace is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace * _MIB)
        typed.append(f"--workspace {options.workspace}")
    return typed


def _member(trt: Any, table: str, name: str, option: str, *, where: str) -> Any:
    member = getattr(getattr(trt, table, None), name, None)
    if member is None:
        raise InvalidInputError(f"{where}: {trt.__name__} {trt.__version__} has no {option}; leave it out")
    return member


def _set_targets(trt: Any, config: Any, targets: tuple[str, ...], *, where: str) -> list[str]:
    """Compute capabilities as `sm86`, `SM86` or `8.6`."""
    members = getattr(getattr(trt, "ComputeCapability", None), "__members__", {})
    offered = {name: member for name, member in members.items() if name not in _NO_TARGETS}
    if not offered:
        raise InvalidInputError(
            f"{where}: {trt.__name__} {trt.__version__} builds for the GPU that is here and has no --target; leave it out"
        )
    names = list(dict.fromkeys(f"SM{target.upper().removeprefix('SM').replace('.', '')}" for target in targets))
    for name in names:
        if name not in offered:
            raise InvalidInputError(
                f"{where}: {trt.__name__} {trt.__version__} builds for no {name}; choose --target among {', '.join(offered)}"
            )
    config.num_compute_capabilities = len(names)
    for index, name in enumerate(names):
        if not config.set_compute_capability(offered[name], index):
            raise InvalidInputError(f"{where}: {trt.__name__} refuses --target {name} here; leave it out")
    return [f"--target {name}" for name in names]
