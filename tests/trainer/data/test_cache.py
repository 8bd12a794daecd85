from __future__ import annotations

import hashlib
import io
import json
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from skinaudit.artifacts.files import digest_parts
from skinaudit.trainer.data.cache import (
    cache_key,
    dataset_digest,
    open_entry,
    write_entry,
)
from skinaudit.trainer.data.decode import Unreadable

Images = NDArray[np.uint8]
KEY = cache_key(name="test")


def some(number: int = 5, *, size: int = 8) -> Images:
    return np.random.default_rng(number).integers(0, 256, (number, 3, size, size), dtype=np.uint8)


def test_round_trip(tmp_path: Path) -> None:
    images = some()
    write_entry(tmp_path, KEY, images, size=8, details={"title": "é", "labels": [1, 2]})
    entry = open_entry(tmp_path, KEY)
    assert entry is not None
    np.testing.assert_array_equal(entry.images, images)
    assert entry.pixels_digest == f"sha256:{hashlib.sha256(images.tobytes()).hexdigest()}"
    assert entry.unreadable == {}
    assert entry.details == {"title": "é", "labels": [1, 2]}
    # The file is a plain .npy, whatever number of rows its header was first written for.
    np.testing.assert_array_equal(np.load(tmp_path / f"{KEY}.npy", allow_pickle=False), images)


@pytest.mark.parametrize("number", [0, 1, 300])
def test_any_number_of_images(tmp_path: Path, number: int) -> None:
    images = some(number)
    write_entry(tmp_path, KEY, images, size=8)
    entry = open_entry(tmp_path, KEY)
    assert entry is not None
    np.testing.assert_array_equal(entry.images, images)


def test_unreadable_images_are_left_out_and_listed(tmp_path: Path) -> None:
    images = some(4)
    write_entry(tmp_path, KEY, [images[0], Unreadable("one"), images[1], images[2], Unreadable("four"), images[3]], size=8)
    entry = open_entry(tmp_path, KEY)
    assert entry is not None
    np.testing.assert_array_equal(entry.images, images)
    assert entry.unreadable == {1: "one", 4: "four"}


def damaged(kind: str, array: bytes, table: bytes) -> tuple[bytes | None, bytes | None]:
    """The two files after one kind of damage; None where it is gone."""
    sealed = json.loads(table)
    match kind:
        case "no array":
            return None, table
        case "no table":
            return array, None
        case "array truncated":
            return array[:-1], table
        case "array header only":
            return array[:128], table
        case "array empty":
            return b"", table
        case "array longer":
            return array + b"\0", table
        case "last pixel":
            return array[:-1] + bytes([array[-1] ^ 1]), table
        case "shape":
            return array.replace(b"(5, 3, 8, 8)", b"(5, 3, 4, 16)").replace(b" \n", b"\n", 1), table
        case "table truncated":
            return array, table[:-10]
        case "reason added":
            sealed["content"]["unreadable"]["0"] = "gone"
        case "details changed":
            sealed["content"]["details"]["title"] = "real"
        case "other key":
            sealed["content"]["key"] = "0" * 64
            sealed["digest"] = digest_parts(json.dumps(sealed["content"], sort_keys=True).encode())
        case "archive":
            stream = io.BytesIO()
            np.savez(stream, some())
            return stream.getvalue(), table
        case "pickle":
            return pickle.dumps(np.zeros((5, 3, 8, 8), np.uint8)), table
    return array, json.dumps(sealed).encode()


@pytest.mark.parametrize(
    "kind",
    [
        "no array",
        "no table",
        "array truncated",
        "array header only",
        "array empty",
        "array longer",
        "last pixel",
        "shape",
        "table truncated",
        "reason added",
        "details changed",
        "other key",
        "archive",
        "pickle",
    ],
)
def test_damage_is_noticed_and_repaired(tmp_path: Path, kind: str) -> None:
    files = (tmp_path / f"{KEY}.npy", tmp_path / f"{KEY}.json")
    write_entry(tmp_path, KEY, some(), size=8, details={"title": "synthetic"})
    contents = [path.read_bytes() for path in files]
    for path, content in zip(files, damaged(kind, *contents), strict=True):
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
    assert [path.read_bytes() if path.exists() else None for path in files] != contents
    assert open_entry(tmp_path, KEY) is None
    write_entry(tmp_path, KEY, some(), size=8, details={"title": "synthetic"})
    assert open_entry(tmp_path, KEY) is not None
    assert [path.read_bytes() for path in files] == contents


def test_interrupted_write_leaves_nothing(tmp_path: Path) -> None:
    def stop() -> Iterator[Images]:
        yield from some(3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_entry(tmp_path, KEY, stop(), size=8)
    assert list(tmp_path.iterdir()) == []


def test_open_entry_survives_its_replacement(tmp_path: Path) -> None:
    write_entry(tmp_path, KEY, some(5), size=8)
    entry = open_entry(tmp_path, KEY)
    write_entry(tmp_path, KEY, some(6), size=8)
    assert entry is not None
    np.testing.assert_array_equal(entry.images, some(5))


def test_key_depends_on_every_setting() -> None:
    settings = ({"size": 64}, {"size": 65}, {"size": "64"}, {"side": 64}, {"size": 64, "seed": 0}, {"size": [64]})
    assert len({cache_key(**setting) for setting in settings}) == len(settings)
    assert cache_key(a=1, b=2) == cache_key(b=2, a=1)


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, 5 * 192 - 1), flip=st.integers(1, 255))
def test_every_changed_byte_is_noticed(tmp_path: Path, position: int, flip: int) -> None:
    write_entry(tmp_path, KEY, some(), size=8)
    path = tmp_path / f"{KEY}.npy"
    content = bytearray(path.read_bytes())
    content[len(content) - 1 - position] ^= flip
    path.write_bytes(content)
    assert open_entry(tmp_path, KEY) is None


def test_dataset_digest_sees_every_part() -> None:
    labels, groups, ids = np.array([0, 1, 2]), np.array([0, 0, 1]), ("a", "b", "c")
    digests = {
        dataset_digest("p", labels, groups, ids),
        dataset_digest("q", labels, groups, ids),
        dataset_digest("p", labels[::-1], groups, ids),
        dataset_digest("p", groups, labels, ids),
        dataset_digest("p", labels, groups, ("ab", "", "c")),
    }
    assert len(digests) == 5
