"""A radius is written, read and computed exactly."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinaudit.artifacts.threat_model import ThreatModel, parse_eps
from skinaudit.errors import InvalidInputError

radii = st.integers(1, 10**15 - 1).map(lambda number: Fraction(number, 10**9))


@given(eps=radii, norm=st.sampled_from(["linf", "l2"]))
def test_what_is_written_reads_back_as_the_same_number(eps: Fraction, norm: str) -> None:
    threat_model = ThreatModel(norm, eps)  # type: ignore[arg-type]
    assert parse_eps(threat_model.eps_text) == eps
    assert ThreatModel(threat_model.norm, parse_eps(threat_model.eps_text)) == threat_model


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("8/255", 8),
        ("8", 8),
        (" 8 / 255 ", 8),
        ("1.5/255", Fraction(3, 2)),
        ("0.03/255", Fraction(3, 100)),
        ("255/255", 255),
    ],
)
def test_ways_to_write_eps(text: str, steps: Fraction) -> None:
    assert parse_eps(text) == steps


def test_eps_is_in_pixel_units_and_titled_as_written() -> None:
    threat_model = ThreatModel("linf", Fraction(8))
    assert threat_model.eps == 8 / 255
    assert str(threat_model) == "linf 8/255"
    assert str(ThreatModel("l2", Fraction(255, 2))) == "l2 127.5/255"


@pytest.mark.parametrize(
    "text",
    [
        "0.03",
        "8/256",
        "8/",
        "/255",
        "",
        "nan",
        "inf",
        "1e999",
        "1e99999999/255",
        "eight",
        "8/255/3",
        "8//255",
        "1_0",
        "٨",
        "--8",
    ],
)
def test_ambiguous_or_unreadable_eps_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="write it as a fraction of 255, for example 8/255"):
        parse_eps(text)


@pytest.mark.parametrize("text", ["0", "0/255", "-8/255", "-8"])
def test_eps_must_be_positive(text: str) -> None:
    with pytest.raises(InvalidInputError, match="must be positive"):
        parse_eps(text)


@pytest.mark.parametrize("eps", [Fraction(0), Fraction(-1), Fraction(10**6), Fraction(10**400)])
def test_a_threat_model_outside_the_range_is_refused(eps: Fraction) -> None:
    with pytest.raises(InvalidInputError, match="must be positive and below"):
        ThreatModel("linf", eps)


def test_a_radius_that_no_text_tells_exactly_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="more than 9 decimals"):
        ThreatModel("linf", Fraction(1, 3))


def test_an_unknown_norm_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="choose linf or l2"):
        ThreatModel("l1", Fraction(8))  # type: ignore[arg-type]


def test_a_radius_between_two_steps_of_the_grid_is_refused_under_linf() -> None:
    with pytest.raises(InvalidInputError, match=r"eps linf 1.9/255: .* so this equals 1/255; choose 1/255 or 2/255"):
        ThreatModel("linf", Fraction(19, 10)).on_grid()
    for threat_model in (ThreatModel("linf", Fraction(2)), ThreatModel("l2", Fraction(19, 10))):
        assert threat_model.on_grid() is threat_model
