"""The run's model compiled ahead of time for a device by AOTInductor, as one package (.aoti.pt2) that torch loads.

Source: https://docs.pytorch.org/docs/stable/torch.compiler_aot_inductor.html
"""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import asdict
from importlib.util import find_spec
from typing import Any

from skinaudit.engines.aotinductor_ import METADATA, Contents, found_in, quiet
from skinaudit.engines.pytorch_ import one_line, weights_of
from skinaudit.errors import InvalidInputError, NoDeviceError
from skinaudit.export.build import BuildOptions, Built, Request
from skinaudit.export.cuda_toolkit import cuda_toolkit
from skinaudit.export.to_pytorch import source_model, trace
from skinaudit.true_fp32 import true_fp32

_DTYPES = {"fp16": "float16", "bf16": "bfloat16"}


def check_aotinductor(options: BuildOptions, *, where: str) -> None:
    """Raise NoDeviceError if a package for a GPU is requested and torch finds no GPU. Without torch the build reports it."""
    if options.provider != "cuda" or find_spec("torch") is None:
        return
    import torch

    if not torch.cuda.is_available():
        raise NoDeviceError(
            f"{where}: compiling for cuda needs the GPU, but torch finds none; export it on the target machine, or leave "
            "--provider out"
        )


def build_aotinductor(request: Request) -> Built:
    """Trace the source model with folded batch norm and compile it for the device of the options; fp32 without TF32.

    fp16 and bf16 start after the normalisation and end before the logits, as in ONNX. The ONNX graph is not used here, but
    its weights were checked for fp16's range when it was made. Raises NoDeviceError if the package is for a GPU and torch
    finds none, InvalidInputError if torch cannot compile it, MissingDependencyError without torch.
    """
    torch, model = source_model(request)
    from skinaudit.trainer.models import folded

    device = request.options.provider
    check_aotinductor(request.options, where=request.where)
    processor = torch.backends.cpu.get_cpu_capability() if device == "cpu" else torch.cuda.get_device_name()
    with quiet():
        program = trace(torch, _typed(torch, folded(model), request.precision), request, device=device)
        contents = _contents(program, device=device, processor=processor)
        configs = {
            "aot_inductor.metadata": {METADATA: json.dumps(asdict(contents))},
            "cpp.dynamic_threads": True,  # use as many threads as torch has when it runs, not when it was compiled
        }
        try:
            with torch.no_grad(), true_fp32(), cuda_toolkit() if device == "cuda" else nullcontext():
                torch._inductor.aoti_compile_and_package(program, package_path=str(request.target), inductor_configs=configs)
        except Exception as error:  # a missing compiler, an operator without a kernel and many other causes
            raise InvalidInputError(
                f"{request.where}: torch {torch.__version__} cannot compile it ({one_line(error)}); compiling needs a C++ "
                "compiler such as g++"
            ) from error
    return Built(found=found_in(request.target), settings={"program": "AOTInductor", "compiled_for": processor})


def _typed(torch: Any, model: Any, precision: str) -> Any:
    """The model with the layers after its normalisation in another precision; logits stay float32."""
    if precision == "fp32":
        return model
    normalise, network = model
    dtype = _DTYPES[precision]

    class Cast(torch.nn.Module):  # type: ignore[misc]
        """Casts a value to another type."""

        def __init__(self, name: str) -> None:
            super().__init__()
            self.dtype = getattr(torch, name)

        def forward(self, value: Any) -> Any:
            return value.to(self.dtype)

    return torch.nn.Sequential(normalise, Cast(dtype), network.to(getattr(torch, dtype)), Cast("float32"))


def _contents(program: Any, *, device: Any, processor: str) -> Contents:
    signature = program.graph_signature
    names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    answer = next(node for node in program.graph.nodes if node.op == "output").args[0][0].meta["val"]
    image = next(node for node in program.graph.nodes if node.name in signature.user_inputs).meta["val"]
    return Contents(
        device=device,
        processor=processor,
        size=int(image.shape[-1]),
        classes=int(answer.shape[-1]),
        weighted=tuple(names[weights.name] for weights in weights_of(program)),
    )
