"""Any number of images is covered by calls that some profile takes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinaudit.engines.plans.plan_batches import Call, Profile, calls, unused

SIDES = (3, 8, 8)


def profile(smallest: int, usual: int, largest: int) -> Profile:
    return Profile((smallest, *SIDES), (usual, *SIDES), (largest, *SIDES))


PROFILES = st.lists(
    st.lists(st.integers(1, 40), min_size=3, max_size=3).map(lambda sizes: profile(*sorted(sizes))), min_size=1, max_size=4
)


@given(st.integers(1, 200), PROFILES)
def test_every_image_is_in_one_call_that_its_profile_takes(count: int, profiles: list[Profile]) -> None:
    planned = list(calls(count, SIDES, profiles))
    assert [call.start for call in planned] == [0, *(call.stop for call in planned[:-1])]
    assert planned[-1].stop == count
    for call in planned:
        limits = profiles[call.profile].batches
        assert limits.smallest <= call.batch <= limits.largest
        assert call.stop - call.start <= call.batch


@pytest.mark.parametrize(
    ("count", "limits", "expected"),
    [
        (129, [(1, 32, 128)], [Call(0, 128, 128, 0), Call(128, 129, 1, 0)]),
        (70, [(8, 16, 64)], [Call(0, 64, 64, 0), Call(64, 70, 8, 0)]),
        (3, [(1, 1, 1), (8, 8, 8)], [Call(0, 3, 8, 1)]),
        (9, [(1, 1, 1), (8, 8, 8)], [Call(0, 8, 8, 1), Call(8, 9, 1, 0)]),
        (10, [(1, 64, 64), (1, 8, 64)], [Call(0, 10, 10, 1)]),
    ],
)
def test_the_calls(count: int, limits: list[tuple[int, int, int]], expected: list[Call]) -> None:
    assert list(calls(count, SIDES, [profile(*sizes) for sizes in limits])) == expected


def test_images_that_no_profile_takes() -> None:
    assert list(calls(4, (3, 9, 8), [profile(1, 2, 3)])) == []
    assert list(calls(4, (8, 8), [profile(1, 2, 3)])) == []


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ([(1, 32, 128)], 0),
        ([(1, 1, 1), (8, 32, 64)], 0),
        ([(1, 8, 128), (1, 64, 128)], 0),
        ([(1, 32, 128), (1, 32, 128)], 1),
        ([(1, 32, 128), (1, 32, 64)], 1),
        ([(4, 4, 4), (4, 4, 4), (4, 4, 4)], 2),
        ([], 0),
    ],
)
def test_profiles_that_no_batch_chooses_are_counted(limits: list[tuple[int, int, int]], expected: int) -> None:
    assert unused([profile(*sizes) for sizes in limits]) == expected
