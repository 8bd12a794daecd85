"""Conversions to and from types that numpy lacks, against ml_dtypes, which onnx brings."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinaudit.engines.plans.tensor_types import tensor_type
from skinaudit.errors import EngineError

FLOATS = st.lists(st.floats(width=32, allow_nan=True), min_size=1, max_size=40)


@pytest.mark.parametrize(("name", "peer"), [("BF16", ml_dtypes.bfloat16), ("FP8", ml_dtypes.float8_e4m3fn)])
def test_every_code_means_what_it_means_elsewhere(name: str, peer: type) -> None:
    kind = tensor_type(name, tensor="image", where="a.plan")
    codes = np.arange(2 ** (8 * np.dtype(kind.memory).itemsize)).astype(kind.memory)
    values = kind.decoded(codes)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, codes.view(peer).astype(np.float32))
    numbers = ~np.isnan(values)
    np.testing.assert_array_equal(kind.encoded(values)[numbers], codes[numbers])


@given(FLOATS)
def test_bfloat16_rounds_to_the_nearest(values: list[float]) -> None:
    given_values = np.array(values, np.float32)
    kind = tensor_type("BF16", tensor="image", where="a.plan")
    expected = given_values.astype(ml_dtypes.bfloat16).astype(np.float32)
    np.testing.assert_array_equal(kind.decoded(kind.encoded(given_values)), expected)


@given(st.lists(st.floats(-448, 448, width=32), min_size=1, max_size=40))
def test_fp8_rounds_to_the_nearest(values: list[float]) -> None:
    given_values = np.array(values, np.float32)
    kind = tensor_type("FP8", tensor="image", where="a.plan")
    expected = given_values.astype(ml_dtypes.float8_e4m3fn).astype(np.float32)
    np.testing.assert_array_equal(kind.decoded(kind.encoded(given_values)), expected)


def test_fp8_saturates_and_keeps_nan() -> None:
    kind = tensor_type("FP8", tensor="image", where="a.plan")
    values = kind.decoded(kind.encoded(np.array([1e9, -np.inf, np.nan, 464.0], np.float32)))
    np.testing.assert_array_equal(values, [448, -448, np.nan, 448])


def test_what_cannot_be_exchanged_is_refused() -> None:
    with pytest.raises(EngineError, match="tensor image is FP4, which is not supported"):
        tensor_type("FP4", tensor="image", where="a.plan")
