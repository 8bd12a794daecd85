"""The run itself as an exported program (.pt2): the control engine where torch is at hand, without the trainer's code."""

from __future__ import annotations

from skinaudit.engines.pytorch_ import found_precisions
from skinaudit.engines.session import INPUT
from skinaudit.errors import missing
from skinaudit.export.build import Built, Request


def build_pytorch(request: Request) -> Built:
    """Trace the source model in evaluation mode with a dynamic batch; nothing is folded or cast. The graph is not used.

    Raises MissingDependencyError without torch. Source: https://docs.pytorch.org/docs/stable/export.html
    """
    try:
        import torch

        from skinaudit.trainer.checkpoint import load_run_model
    except ImportError as error:
        raise missing("torch", "train", f"{request.where}: exporting a program") from error

    class Named(torch.nn.Module):
        """The model with its input by the name that all engines have."""

        def __init__(self) -> None:
            super().__init__()
            self.model = load_run_model(request.run)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.model(image)
            return logits

    size = request.calibration.images.shape[-1]
    with torch.no_grad():
        program = torch.export.export(
            Named().eval().requires_grad_(False),
            (torch.zeros(2, 3, size, size),),  # a batch of 1 would be taken for a constant
            dynamic_shapes={INPUT: {0: torch.export.Dim("batch", min=1)}},
        )
    torch.export.save(program, request.target)
    return Built(found=found_precisions(program), settings={"program": "torch.export"})
