from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from skinaudit.trainer.data.joined import joined

KEYS = st.lists(st.tuples(st.integers(0, 6), st.integers(-1, 4), st.integers(-1, 4)), min_size=1, max_size=12)


def test_chains_are_followed_to_their_end() -> None:
    lesions, patients = np.array([0, 0, 1, 1, 2, 3]), np.array([-1, 5, 5, 6, 6, -1])
    assert joined(lesions, patients).tolist() == [0, 0, 0, 0, 0, 1]
    assert joined(np.array([7, 3, 7])).tolist() == [1, 0, 1]


@settings(max_examples=60, deadline=None)
@given(KEYS)
def test_families_are_the_connected_components(rows: list[tuple[int, int, int]]) -> None:
    """Against the plain definition: spread from each row to all that share a known value, until nothing changes."""
    families = joined(*(np.array(key) for key in zip(*rows, strict=True)))
    for start in range(len(rows)):
        reached, grew = {start}, True
        while grew:
            near = {
                candidate
                for candidate, row in enumerate(rows)
                for reached_row in reached
                if any(a == b >= 0 for a, b in zip(row, rows[reached_row], strict=True))
            }
            grew = not near <= reached
            reached |= near
        assert reached == {member for member in range(len(rows)) if families[member] == families[start]}
