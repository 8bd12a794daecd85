"""Draws the synthetic images on several cores, with the same bytes as on one core."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
from numpy.typing import NDArray

from skinaudit.errors import SkinauditError
from skinaudit.trainer.data.synthetic.rows import draw_rows

# Separate processes, because drawing holds Python's lock. Started by name, because a script without a main guard may call
# us.
_DRAW = """
import json, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
sys.path[:], settings = json.loads(sys.argv[1])
from skinaudit.trainer.data.synthetic.rows import draw_rows
for pixels in draw_rows(**settings):
    sys.stdout.buffer.write(pixels.tobytes())
"""


def draw(*, images: int, size: int, seed: int, processes: int) -> Iterator[NDArray[np.uint8]]:
    """Pixels of all rows in order, each uint8 (3, size, size) RGB, drawn by `processes` processes including this one.

    Raises SkinauditError if another process ends before its last row or writes anything else.
    """
    with ExitStack() as stack:
        settings = {"images": images, "size": size, "seed": seed, "step": processes}
        helpers = [stack.enter_context(_helper({**settings, "first": first})) for first in range(1, processes)]
        for row, pixels in enumerate(draw_rows(images=images, size=size, seed=seed, step=processes)):
            yield pixels
            for helper in helpers[: images - 1 - row * processes]:
                yield _next(helper, size)
        for helper in helpers:
            _expect_no_more(helper)


@contextmanager
def _helper(settings: dict[str, int]) -> Iterator[subprocess.Popen[bytes]]:
    path = [entry for entry in sys.path if entry]
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", _DRAW, json.dumps([path, settings])],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _next(helper: subprocess.Popen[bytes], size: int) -> NDArray[np.uint8]:
    assert helper.stdout is not None
    length = 3 * size * size
    content = helper.stdout.read(length)
    if len(content) < length:
        raise SkinauditError(
            f"a process that draws synthetic images ended too early (code {helper.wait()}): free some memory and try again"
        )
    return np.frombuffer(content, np.uint8).reshape(3, size, size)


def _expect_no_more(helper: subprocess.Popen[bytes]) -> None:
    assert helper.stdout is not None
    if helper.stdout.read(1):
        raise SkinauditError(
            "a process that draws synthetic images wrote more than its images: see what this Python prints when it starts"
        )
