"""The run itself as an exported program (.pt2): an engine for comparison that needs torch, but not the trainer's code."""

from __future__ import annotations

from typing import Any

from skinaudit.engines.pytorch_ import found_precisions
from skinaudit.engines.session import INPUT
from skinaudit.errors import not_imported
from skinaudit.export.build import Built, Request


def build_pytorch(request: Request) -> Built:
    """Trace the source model in evaluation mode with a dynamic batch. Nothing is folded or cast; the graph is not used.

    Raises MissingDependencyError without torch.
    """
    torch, model = source_model(request)
    program = trace(torch, model, request)
    torch.export.save(program, request.target)
    return Built(found=found_precisions(program), settings={"program": "torch.export"})


def source_model(request: Request) -> tuple[Any, Any]:
    """torch and the run's model as it is exported, in evaluation mode; raises MissingDependencyError without torch."""
    try:
        import torch

        from skinaudit.trainer.checkpoint import load_run_model
        from skinaudit.trainer.models import exported_part
    except ImportError as error:
        raise not_imported(error, "torch", "train", f"{request.where}: exporting a program") from error
    return torch, exported_part(load_run_model(request.run))


def trace(torch: Any, model: Any, request: Request, *, device: str = "cpu") -> Any:
    """The model as an exported program with a dynamic batch, on a device.

    It is traced on the CPU and then moved, because GPU kernels limit the batch size: 2 to 65,535 in torch 2.11. Source:
    https://docs.pytorch.org/docs/stable/export.html
    """

    class Named(torch.nn.Module):  # type: ignore[misc]
        """The model with the input name that all engines have."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, image: Any) -> Any:
            return self.model(image)

    size = request.calibration.images.shape[-1]
    with torch.no_grad():
        program = torch.export.export(
            Named().eval().requires_grad_(False).to("cpu"),
            (torch.zeros(2, 3, size, size),),  # a batch of 1 would be treated as a constant
            dynamic_shapes={INPUT: {0: torch.export.Dim("batch", min=1)}},
        )
    if device == "cpu":
        return program
    from torch.export.passes import move_to_device_pass

    return move_to_device_pass(program, device)
