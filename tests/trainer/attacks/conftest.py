"""The small network that several tests of attacks share."""

from __future__ import annotations

import pytest

from skinaudit.tests.attacked_models import Tiny, tiny_case


@pytest.fixture(scope="module")
def tiny() -> Tiny:
    """See tiny_case."""
    return tiny_case()
