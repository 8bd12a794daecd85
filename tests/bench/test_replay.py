"""Peak memory of another process."""

from __future__ import annotations

import sys

import numpy as np

from skinaudit.bench.replay import peak_memory

MEBIBYTES = 300


def test_peak_is_of_the_command_and_not_of_the_process_that_measures() -> None:
    ballast = np.ones(MEBIBYTES << 20, np.uint8)
    code, peak, _ = peak_memory([sys.executable, "-c", "pass"])
    assert code == 0
    assert 1 < peak < MEBIBYTES / 2
    assert ballast.all()


def test_peak_counts_what_was_freed_again() -> None:
    _, peak, _ = peak_memory([sys.executable, "-c", f"x = b'1' * ({MEBIBYTES} << 20); del x"])
    assert peak > MEBIBYTES


def test_exit_code_and_stderr_are_handed_on() -> None:
    code, _, message = peak_memory([sys.executable, "-c", "import sys; print('why', file=sys.stderr); sys.exit(3)"])
    assert (code, message) == (3, "why\n")
