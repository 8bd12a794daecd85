from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinaudit.audit.figures.right_answers import pack_right, unpack_right
from skinaudit.errors import InvalidInputError


@given(st.lists(st.booleans(), max_size=70))
def test_right_answers_come_back(answers: list[bool]) -> None:
    right = np.array(answers, np.bool_)
    assert unpack_right(pack_right(right), images=len(right)).tolist() == answers


def test_the_first_image_is_the_highest_bit() -> None:
    assert pack_right(np.array([True] + [False] * 8)) == "gAA="


@pytest.mark.parametrize(
    ("text", "images", "message"),
    [
        ("!", 1, "are not base64"),
        ("gA", 1, "are not base64"),
        ("é", 1, "are not base64"),
        ("gA==", 9, "do not match 9 images"),
        ("gAA=", 8, "do not match 8 images"),
        ("wA==", 1, "do not match 1 images"),  # a bit behind the last image
    ],
)
def test_what_was_not_packed_for_so_many_images_is_refused(text: str, images: int, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        unpack_right(text, images=images)
