"""The options of a TensorRT builder: one name each on the command line, passed to each library in its own way."""

from __future__ import annotations

from typing import Any

from skinaudit.artifacts.manifest import STRIPPED
from skinaudit.errors import InvalidInputError
from skinaudit.export.build import BuildOptions

_MIB = 1 << 20
_NO_TARGETS = ("NONE", "CURRENT")
"""Members of ComputeCapability that are not a capability."""


def check_batches(options: BuildOptions, *, where: str) -> None:
    """Raise InvalidInputError for batches that are not a valid profile."""
    low, usual, high = options.batches
    if not 1 <= low <= usual <= high:
        raise InvalidInputError(f"{where}: batches {low} {usual} {high}: give smallest, usual and largest in this order")


def check_options(trt: Any, options: BuildOptions, *, where: str) -> None:
    """Raise InvalidInputError, before anything is built, for an option that the library lacks; it is named as typed."""
    _flags(trt, options, where=where)
    _hardware_level(trt, options, where=where)
    _targets(trt, options, where=where)


def add_profile(builder: Any, config: Any, network: Any, options: BuildOptions, *, where: str) -> None:
    """Add one optimisation profile for the batches of the options.

    Raises InvalidInputError if the graph has a dynamic side besides the batch.
    """
    profile = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        port = network.get_input(index)
        sides = tuple(port.shape)
        if -1 in sides[1:]:
            raise InvalidInputError(f"{where}: input {port.name} has shape {sides}: only the batch may be dynamic in a plan")
        profile.set_shape(port.name, *((batch, *sides[1:]) for batch in options.batches))
    config.add_optimization_profile(profile)


def apply_options(trt: Any, config: Any, options: BuildOptions, *, where: str) -> list[str]:
    """Set the requested options, and turn TF32 off; returns the options as they were typed.

    Raises InvalidInputError as check_options does.
    """
    config.clear_flag(trt.BuilderFlag.TF32)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # so that the plan can report its layers' types
    typed = []
    for option, flag in _flags(trt, options, where=where).items():
        config.set_flag(flag)
        typed.append(option)
    level = _hardware_level(trt, options, where=where)
    if level is not None:
        config.hardware_compatibility_level = level
        typed.append("--hardware-compatible")
    targets = _targets(trt, options, where=where)
    if targets:
        config.num_compute_capabilities = len(targets)
    for index, (name, target) in enumerate(targets.items()):
        if not config.set_compute_capability(target, index):
            raise InvalidInputError(f"{where}: {trt.__name__} refuses --target {name} here; leave it out")
        typed.append(f"--target {name}")
    if options.workspace is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace * _MIB)
        typed.append(f"--workspace {options.workspace}")
    return typed


def _flags(trt: Any, options: BuildOptions, *, where: str) -> dict[str, Any]:
    """The requested builder flags, by what the user typed."""
    flags = (
        (options.version_compatible, "--version-compatible", "VERSION_COMPATIBLE"),
        (options.refit, "--refit", "REFIT"),
        (options.strip, STRIPPED, "STRIP_PLAN"),
    )
    return {option: _member(trt, "BuilderFlag", flag, option, where=where) for is_asked, option, flag in flags if is_asked}


def _hardware_level(trt: Any, options: BuildOptions, *, where: str) -> Any:
    if not options.hardware_compatible:
        return None
    if trt.__name__ == "tensorrt_rtx":
        raise InvalidInputError(f"{where}: tensorrt_rtx has no --hardware-compatible; name GPUs by --target")
    return _member(trt, "HardwareCompatibilityLevel", "AMPERE_PLUS", "--hardware-compatible", where=where)


def _member(trt: Any, table: str, name: str, option: str, *, where: str) -> Any:
    member = getattr(getattr(trt, table, None), name, None)
    if member is None:
        raise InvalidInputError(f"{where}: {trt.__name__} {trt.__version__} has no {option}; leave it out")
    return member


def _targets(trt: Any, options: BuildOptions, *, where: str) -> dict[str, Any]:
    """The library's compute capabilities by name; the user may write `sm86`, `SM86` or `8.6`."""
    if not options.targets:
        return {}
    members = getattr(getattr(trt, "ComputeCapability", None), "__members__", {})
    offered = {name: member for name, member in members.items() if name not in _NO_TARGETS}
    if not offered:
        raise InvalidInputError(
            f"{where}: {trt.__name__} {trt.__version__} builds only for the GPU of this machine and has no --target; leave "
            "it out"
        )
    names = dict.fromkeys(f"SM{target.upper().removeprefix('SM').replace('.', '')}" for target in options.targets)
    for name in names:
        if name not in offered:
            raise InvalidInputError(
                f"{where}: {trt.__name__} {trt.__version__} builds for no {name}; choose --target among {', '.join(offered)}"
            )
    return {name: offered[name] for name in names}
