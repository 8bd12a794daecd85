"""Sets: what is written is read, whatever was changed since is refused, and memory stays small."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from skinaudit.artifacts import adversarial_set
from skinaudit.artifacts.adversarial_set import AdversarialSet, SetInfo, open_set
from skinaudit.artifacts.attack_record import POINTS, AttackRecord
from skinaudit.artifacts.contract import InputContract
from skinaudit.artifacts.threat_model import ThreatModel
from skinaudit.artifacts.typed_json import build
from skinaudit.errors import InvalidInputError

MakeSet = Callable[..., Path]
KEY = "skinaudit.adversarial_set"
BEYOND = "source logits contain NaN, infinity or a number beyond 1,000,000"
LINF2 = ThreatModel("linf", Fraction(2))


def metadata(path: Path) -> dict[str, Any]:
    raw = path.read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    return dict(json.loads(header["__metadata__"][KEY]))


def rewrite(path: Path, *, record: object = None, **changed: np.ndarray) -> None:
    """Change tensors or the metadata of a set as a careless or hostile tool would, without new digests."""
    text = json.dumps(metadata(path) if record is None else record)
    save_file({**load_file(path), **changed}, path, metadata={KEY: text})


def test_round_trip(make_set: MakeSet, tmp_path: Path) -> None:
    images = np.random.default_rng(3).integers(0, 256, (5, 3, 8, 8), dtype=np.uint8)
    logits = np.linspace(-3, 3, 35, dtype=np.float32).reshape(5, 7)
    path = make_set(tmp_path / "pgd.safetensors", images=images, threat_model=LINF2, clean="sha256:c", source_logits=logits)
    opened = open_set(path)
    assert len(opened) == 5
    assert np.array_equal(np.concatenate(list(opened.batches(2))), images)
    assert np.array_equal(opened.image(3), images[3])
    assert opened.labels.tolist() == [0, 1, 2, 3, 4]
    assert opened.group.tolist() == [0, 0, 1, 1, 2]
    assert opened.ids == ("bild_0é", "bild_1é", "bild_2é", "bild_3é", "bild_4é")
    assert np.array_equal(opened.source_logits, logits)
    assert opened.info.threat_model == LINF2
    assert opened.info.title == "pgd linf 2/255"
    assert opened.info.settings == {"steps": 3}
    assert build(SetInfo, json.loads(json.dumps(opened.info.to_json())), where="x", again="") == opened.info


def recorded(count: int = 5) -> AttackRecord:
    gradient = (np.arange(count) % 3).astype(np.uint8)
    path = np.linspace(-3, 3, count * POINTS, dtype=np.float32).reshape(count, POINTS)
    return AttackRecord(gradient, path, np.arange(-1, count - 1, dtype=np.int32), np.ones(count, np.float32))


def test_subgroups_are_kept_and_covered_by_the_digest(make_set: MakeSet, tmp_path: Path) -> None:
    subgroups = {"sex": ("male", "", "female", "", ""), "site": ("Rücken", "back", "", "", "")}
    path = make_set(tmp_path / "clean", subgroups=subgroups)
    assert open_set(path).subgroups == subgroups
    assert metadata(path)["version"] == 4
    sex = load_file(path)["subgroup.sex"].copy()
    sex[1, :1] = ord("x")
    rewrite(path, **{"subgroup.sex": sex})
    with pytest.raises(InvalidInputError, match="content and digest differ"):
        open_set(path)


def test_a_set_without_subgroups_is_of_the_format_that_earlier_versions_read(make_set: MakeSet, tmp_path: Path) -> None:
    path = make_set(tmp_path / "clean", subgroups={})
    assert metadata(path)["version"] == 3
    assert open_set(path).subgroups == {}
    rewrite(path, record={**metadata(path), "version": 4})
    with pytest.raises(InvalidInputError, match="version should be 3, found 4"):
        open_set(path)
    rewrite(path, record={**metadata(path), "version": 3}, **{"subgroup.sex": np.zeros((5, 1), np.uint8)})
    with pytest.raises(InvalidInputError, match="version should be 4, found 3"):
        open_set(path)


@pytest.mark.parametrize(
    ("subgroups", "message"),
    [
        ({"sex": ("male",) * 4}, "subgroup sex has 4 values for 5 images"),
        ({"Sex ": ("male",) * 5}, "a subgroup's name has other characters than a to z and _: 'Sex '"),
        ({"sex": ("ma\nle",) * 5}, "subgroup sex has a value with control characters"),
        ({"sex": ("m" * 201,) * 5}, "or more than 200 letters"),
        ({f"{chr(97 + number)}x": ("",) * 5 for number in range(17)}, "17 subgroups, at most 16 are read"),
    ],
)
def test_subgroups_that_no_reader_takes_are_not_written(
    make_set: MakeSet, tmp_path: Path, subgroups: dict[str, tuple[str, ...]], message: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        make_set(tmp_path / "clean", subgroups=subgroups)
    assert message in str(caught.value)


def test_what_the_attack_noted_is_kept_and_covered_by_the_digest(make_set: MakeSet, tmp_path: Path) -> None:
    path = make_set(tmp_path / "pgd", threat_model=LINF2, clean="sha256:c", attack=recorded())
    attack_record = open_set(path).attack
    assert attack_record is not None
    assert all(np.array_equal(attack_record.arrays()[name], value) for name, value in recorded().arrays().items())
    assert attack_record.silent.tolist() == [True, False, False, True, False]
    rewrite(path, attack_gradient=np.full(5, 2, np.uint8))
    with pytest.raises(InvalidInputError, match="content and digest differ"):
        open_set(path)
    without_record = {name: value for name, value in load_file(path).items() if not name.startswith("attack_")}
    save_file(without_record, path, metadata={KEY: json.dumps(metadata(path))})
    with pytest.raises(InvalidInputError, match="content and digest differ"):
        open_set(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attack_gradient": np.full(4, 2, np.uint8)}, "has a different number of entries than the images"),
        ({"attack_gradient": np.full(5, 3, np.uint8)}, "has values that are not allowed"),
        ({"attack_path": np.full((5, POINTS), np.nan, np.float32)}, "has values that are not allowed"),
        ({"attack_success": np.full(5, -2, np.int32)}, "has values that are not allowed"),
        ({"attack_kept": np.full(5, 1.5, np.float32)}, "has values that are not allowed"),
        ({"attack_success": np.full(5, 2, np.int64)}, "tensor attack_success is missing or not I32"),
    ],
)
def test_a_record_that_means_nothing_is_refused(
    make_set: MakeSet, tmp_path: Path, change: dict[str, np.ndarray], message: str
) -> None:
    path = make_set(tmp_path / "pgd", threat_model=LINF2, clean="sha256:c", attack=recorded())
    rewrite(path, **change)
    with pytest.raises(InvalidInputError, match=message):
        open_set(path)
    with pytest.raises(InvalidInputError, match="the record of the attack must not be in a set of clean images"):
        make_set(tmp_path / "clean", attack=recorded())


def test_equal_arguments_give_equal_bytes_and_any_other_image_another_digest(make_set: MakeSet, tmp_path: Path) -> None:
    path, equal_path = make_set(tmp_path / "one" / "clean"), make_set(tmp_path / "two" / "clean")
    assert path.read_bytes() == equal_path.read_bytes()
    other_path = make_set(tmp_path / "three" / "clean", seed=1)
    assert open_set(path).images_digest == open_set(equal_path).images_digest != open_set(other_path).images_digest


def test_the_images_digest_names_the_images_whatever_model_answered(make_set: MakeSet, tmp_path: Path) -> None:
    image_set = open_set(make_set(tmp_path / "one"))
    relabelled = open_set(make_set(tmp_path / "two", source_logits=np.zeros((5, 7), np.float32)))
    assert image_set.images_digest == relabelled.images_digest


@given(count=st.integers(1, 600), size=st.integers(1, 700))
def test_batches_cover_everything_in_order(tmp_path_factory: pytest.TempPathFactory, count: int, size: int) -> None:
    images = (np.arange(count * 3) % 251).astype(np.uint8).reshape(count, 3, 1, 1)
    path = tmp_path_factory.getbasetemp() / "batches.safetensors"
    save_file({"images": images}, path)
    none: Any = None
    info: Any = SimpleNamespace(contract=InputContract(size=1))
    opened = AdversarialSet(path, info, np.zeros(count, np.int64), none, (), none, "")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adversarial_set, "_CHUNK", 20 * 3)
        batches = list(opened.batches(size))
    assert np.array_equal(np.concatenate(batches), images)
    assert {len(batch) for batch in batches[:-1]} <= {size}
    assert 0 < len(batches[-1]) <= size


def test_a_file_cut_anywhere_is_refused(make_set: MakeSet, tmp_path: Path) -> None:
    path = make_set(tmp_path / "clean.safetensors")
    content = path.read_bytes()
    for length in [*range(0, 16), *range(16, len(content), 97), len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(InvalidInputError, match=r"clean.safetensors: truncated or not a safetensors file .*again"):
            open_set(path)


def test_a_flipped_bit_anywhere_is_refused_by_name(make_set: MakeSet, tmp_path: Path) -> None:
    """Header, metadata, images, labels, lesions, names and logits alike; the padding of the header means nothing."""
    path = make_set(tmp_path / "clean.safetensors", count=2)
    content = path.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    padding = range(len(content[:header].rstrip(b" ")), header)
    positions = [*range(0, header, 5), *range(header, len(content), 7)]
    for position in positions:
        if position in padding:
            continue
        for bit in (0, 5):
            damaged = bytearray(content)
            damaged[position] ^= 1 << bit
            path.write_bytes(damaged)
            with pytest.raises(InvalidInputError, match=r"clean.safetensors: "):
                open_set(path)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Files whose images were read since."""
    paths: list[Path] = []

    def noted(path: Path, *arguments: Any, **settings: Any) -> Any:
        paths.append(path)
        return read_images(path, *arguments, **settings)

    read_images = adversarial_set._read_images
    monkeypatch.setattr(adversarial_set, "_read_images", noted)
    return paths


def later(monkeypatch: pytest.MonkeyPatch, seconds: float = 60) -> None:
    monkeypatch.setattr(adversarial_set, "time", lambda: time.time() + seconds)


def test_a_file_that_did_not_change_is_read_once(
    make_set: MakeSet, tmp_path: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_set(tmp_path / "clean.safetensors")
    later(monkeypatch)
    first = open_set(path)
    (tmp_path / "folder").mkdir()
    longer_path = tmp_path / "folder" / ".." / "clean.safetensors"
    again = open_set(longer_path)
    assert reads == [path]
    assert (again.path, again.info, again.images_digest) == (longer_path, first.info, first.images_digest)
    copy = make_set(tmp_path / "copy.safetensors")
    open_set(copy)
    assert reads == [path, copy]


def test_a_file_that_changed_just_now_is_read_again(make_set: MakeSet, tmp_path: Path, reads: list[Path]) -> None:
    """Whatever the time of its content says: that is easily set, and the other one is not."""
    path = make_set(tmp_path / "clean.safetensors")
    os.utime(path, (0, 0))
    open_set(path)
    open_set(path)
    assert reads == [path, path]


@pytest.mark.parametrize("in_place", [True, False])
def test_a_file_that_changed_since_it_was_verified_is_refused(
    make_set: MakeSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_place: bool
) -> None:
    """Also where its size and the time of its content are those that it had."""
    path = make_set(tmp_path / "clean.safetensors")
    later(monkeypatch)
    open_set(path)
    before = path.stat()
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    target = path if in_place else tmp_path / "new"
    target.write_bytes(damaged)
    while target.stat().st_ctime_ns == before.st_ctime_ns:  # within one step of the clock of files
        target.touch()
    os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))
    target.replace(path)
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    with pytest.raises(InvalidInputError, match="content and digest differ"):
        open_set(path)


@pytest.mark.parametrize("tensor", ["images", "labels", "group", "ids", "source_logits"])
def test_one_changed_value_is_refused_as_changed(make_set: MakeSet, tmp_path: Path, tensor: str) -> None:
    path = make_set(tmp_path / "clean.safetensors")
    values = load_file(path)[tensor]
    values.reshape(-1)[0] += 1
    rewrite(path, **{tensor: values})
    with pytest.raises(InvalidInputError, match="content and digest differ, so the file was changed after it was written"):
        open_set(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.array([0, 1, 7, 3, 4])}, r"a label is outside of 0..6"),
        ({"labels": np.array([0, 1, -1, 3, 4])}, r"a label is outside of 0..6"),
        ({"labels": np.array(3)}, "tensor labels is missing or not I64 of 1 axes"),
        ({"labels": np.arange(5, dtype=np.int32)}, "tensor labels is missing or not I64"),
        ({"labels": np.arange(4)}, "images have shape"),
        ({"group": np.arange(4)}, "differ in number"),
        ({"ids": np.zeros((4, 3), np.uint8)}, "differ in number"),
        ({"ids": np.full((5, 3), 0xFF, np.uint8)}, "the image names are damaged"),
        ({"ids": np.zeros(5, np.uint8)}, "tensor ids is missing or not U8 of 2 axes"),
        ({"images": np.zeros((5, 3, 8, 9), np.uint8)}, "images have shape"),
        ({"images": np.zeros((5, 8, 8, 3), np.uint8)}, "images have shape"),
        ({"images": np.zeros((5, 3, 8, 8), np.float32)}, "tensor images is missing or not U8"),
        ({"source_logits": np.zeros((5, 6), np.float32)}, "differ in number"),
        (
            {"source_logits": np.full((5, 7), np.nan, np.float32)},
            BEYOND,
        ),
        (
            {"source_logits": np.full((5, 7), np.inf, np.float32)},
            BEYOND,
        ),
    ],
)
def test_values_that_mean_nothing_are_refused(
    make_set: MakeSet, tmp_path: Path, change: dict[str, np.ndarray], message: str
) -> None:
    path = make_set(tmp_path / "clean.safetensors")
    rewrite(path, **change)
    with pytest.raises(InvalidInputError, match=rf"clean.safetensors: .*{message}"):
        open_set(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.array([0, 1, 7, 3, 4])}, r"a label is outside of 0..6"),
        ({"labels": np.arange(5, dtype=np.int32)}, "labels must be I64 of 1 axes, not int32"),
        ({"images": np.zeros((5, 3, 8, 8))}, "images must be U8 of 4 axes, not float64"),
        ({"source_logits": np.full((5, 7), np.nan, np.float32)}, "NaN"),
        ({"source_logits": np.zeros((5, 7))}, "source_logits must be F32"),
        ({"ids": ("a", "b", "c", "d", "e\0")}, "image name .* contains control characters"),
        ({"ids": ("a", "b", "c", "d")}, "differ in number"),
    ],
)
def test_nothing_is_written_that_could_not_be_read(
    make_set: MakeSet, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        make_set(tmp_path / "clean", **change)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_set_is_refused(make_set: MakeSet, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="the set holds no image"):
        make_set(tmp_path / "clean", images=np.zeros((0, 3, 8, 8), np.uint8))


def without(key: str) -> Callable[[dict[str, Any]], object]:
    return lambda record: {name: value for name, value in record.items() if name != key}


def described(**change: object) -> Callable[[dict[str, Any]], object]:
    return lambda record: {**record, "info": {**record["info"], **change}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: {**record, "version": 4}, "version should be 3, found 4; write the set again"),
        (lambda record: {**record, "version": 1}, r"info.contract.malignant is unknown in this earlier format"),
        (lambda record: {**record, "version": "2"}, "version should be 3, found '2'"),
        (without("version"), "version should be 3, found null"),
        (without("content_digest"), "content_digest is missing, expected a text"),
        (without("info"), "info is missing, expected an object"),
        (lambda record: {**record, "more": 1}, "more is unknown, expected only version, info"),
        (lambda record: [record], "the whole file should be an object"),
        (lambda record: {**record, "info": 7}, "info should be an object, found 7"),
        (described(settings=7), "info.settings should be an object, found 7"),
        (described(settings={"steps": [1]}), "info.settings.steps should be true or false or an integer or"),
        (described(seed=1.5), "info.seed should be an integer, found 1.5"),
        (described(seed=2**64), "info.seed should be a number of at most 64 bits"),
        (described(name="a\x1b[2J"), r"info.name should be a text without control characters, found 'a\\x1b\[2J'"),
        (described(contract={"size": 8}), "info.contract.classes is missing"),
        (described(threat_model={"norm": "linf", "eps": "2/256"}, attack="pgd"), "fraction of 255"),
        (
            described(threat_model={"norm": "l7", "eps": "2/255"}, attack="pgd"),
            "info.threat_model.norm should be one of linf, l2",
        ),
        (described(attack="pgd"), "an adversarial set needs a threat model"),
        (described(dataset="HAM10000"), "content and digest differ"),
        (described(synthetic=False), "content and digest differ"),
        (lambda record: {**record, "images_digest": "sha256:0"}, "content and digest differ"),
    ],
)
def test_a_changed_description_is_refused(
    make_set: MakeSet, tmp_path: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    path = make_set(tmp_path / "clean.safetensors")
    rewrite(path, record=change(metadata(path)))
    with pytest.raises(InvalidInputError, match=rf"clean.safetensors: .*{message}"):
        open_set(path)


def test_foreign_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="none: no such adversarial set"):
        open_set(tmp_path / "none")
    save_file({"images": np.zeros((1, 3, 8, 8), np.uint8)}, tmp_path / "foreign")
    with pytest.raises(InvalidInputError, match="foreign: not an adversarial set of skinaudit"):
        open_set(tmp_path / "foreign")
    with pytest.raises(InvalidInputError, match="is a folder, not a regular file"):
        open_set(tmp_path)


def test_a_set_removed_after_opening_says_so(make_set: MakeSet, tmp_path: Path) -> None:
    opened = open_set(make_set(tmp_path / "clean"))
    opened.path.unlink()
    with pytest.raises(InvalidInputError, match="clean: changed or removed while it was read"):
        list(opened.batches(2))


@pytest.mark.parametrize("length", [0, 4, 100, -1])
def test_a_set_cut_after_opening_says_so(make_set: MakeSet, tmp_path: Path, length: int) -> None:
    opened = open_set(make_set(tmp_path / "clean"))
    content = opened.path.read_bytes()
    kept = content[:length] if length >= 0 else content[: content.index(next(opened.batches(5)).tobytes()) + 200]
    opened.path.write_bytes(kept)
    with pytest.raises(InvalidInputError, match="clean: changed or removed while it was read"):
        list(opened.batches(2))


@pytest.mark.parametrize(
    "content", [b"\xff" * 200, bytes(200), b"\x02" + bytes(7) + b"[]", b"\x0d" + bytes(7) + b'{"images": 1}']
)
def test_a_set_overwritten_after_opening_says_so(make_set: MakeSet, tmp_path: Path, content: bytes) -> None:
    opened = open_set(make_set(tmp_path / "clean"))
    opened.path.write_bytes(content)
    with pytest.raises(InvalidInputError, match="clean: changed or removed while it was read"):
        list(opened.batches(2))


_PEAK = """
import re, sys
from pathlib import Path
from skinaudit.artifacts.adversarial_set import open_set
opened = open_set(Path(sys.argv[1]))
total = sum(int(batch[:, 0, 0, 0].sum()) for batch in opened.batches(64))
# Not getrusage: its peak includes what the parent process held when it started this one.
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]
print(len(opened), total, peak)
"""


def test_memory_does_not_grow_with_the_number_of_images(make_set: MakeSet, tmp_path: Path) -> None:
    """Opening and reading 8 times as many images (101 MB instead of 13 MB) may cost 16 MB more, for labels and names."""
    peaks = []
    for count in (1024, 8192):
        images = np.zeros((count, 3, 64, 64), np.uint8)
        images[:, 0, 0, 0] = 1
        path = make_set(tmp_path / f"set{count}", images=images)
        process = subprocess.run([sys.executable, "-c", _PEAK, str(path)], capture_output=True, text=True, check=True)
        count_read, total, kibibytes = map(int, process.stdout.split())
        assert count_read == total == count
        peaks.append(kibibytes)
    assert peaks[1] - peaks[0] < 16 * 1024


def test_images_at_chosen_rows_are_those_of_the_whole_set(make_set: Callable[..., Path], tmp_path: Path) -> None:
    opened = open_set(make_set(tmp_path / "clean.safetensors", count=600))
    rows = np.array([0, 255, 256, 511, 512, 599])
    assert np.array_equal(opened.images_at(rows), np.stack([opened.image(int(row)) for row in rows]))
