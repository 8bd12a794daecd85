"""TF32 is off inside the block, whatever was set before, and what was set before is back afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from skinaudit.true_fp32 import true_fp32  # noqa: E402

BACKENDS = torch.backends


def settings() -> dict[str, Any]:
    """The newer settings, and the older ones unless torch finds that they contradict the newer."""
    older: dict[str, Callable[[], Any]] = {
        "matmul allow_tf32": lambda: BACKENDS.cuda.matmul.allow_tf32,
        "cudnn allow_tf32": lambda: BACKENDS.cudnn.allow_tf32,
        "precision": torch.get_float32_matmul_precision,
    }
    values: dict[str, Any] = {
        "matmul": BACKENDS.cuda.matmul.fp32_precision,
        "conv": BACKENDS.cudnn.conv.fp32_precision,
        "rnn": BACKENDS.cudnn.rnn.fp32_precision,
        "cpu matmul": BACKENDS.mkldnn.matmul.fp32_precision,
        "cpu conv": BACKENDS.mkldnn.conv.fp32_precision,
    }
    for name, read in older.items():
        try:
            values[name] = read()
        except RuntimeError:
            values[name] = "contradicts"
    return values


OFF = {
    "matmul": "ieee", "conv": "ieee", "rnn": "ieee", "cpu matmul": "ieee", "cpu conv": "ieee",
    "matmul allow_tf32": False, "cudnn allow_tf32": False, "precision": "highest",
}  # fmt: skip


def older_on() -> None:
    BACKENDS.cuda.matmul.allow_tf32 = BACKENDS.cudnn.allow_tf32 = True


def newer_on() -> None:
    BACKENDS.fp32_precision = "tf32"
    BACKENDS.cudnn.conv.fp32_precision = BACKENDS.cuda.matmul.fp32_precision = "tf32"


def bf16_on_the_cpu() -> None:
    torch.set_float32_matmul_precision("medium")


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    yield
    BACKENDS.fp32_precision = "none"
    torch.set_float32_matmul_precision("highest")
    BACKENDS.cudnn.allow_tf32 = True


@pytest.mark.filterwarnings("ignore:Please use the new API")
@pytest.mark.parametrize("change", [lambda: None, older_on, newer_on, bf16_on_the_cpu])
def test_it_is_off_inside_and_as_before_afterwards(change: Callable[[], None]) -> None:
    change()
    before = settings()
    with true_fp32():
        inside = settings()
    on = {name: value for name, value in inside.items() if value != OFF[name]}
    assert on == {}
    assert settings() == before


def test_it_is_put_back_after_an_error() -> None:
    before = settings()
    with pytest.raises(ZeroDivisionError), true_fp32():
        raise ZeroDivisionError
    assert settings() == before
