"""Exported programs that run code when torch opens them: here nothing of it runs."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from skinaudit.engines.open import Opening, open_here
from skinaudit.engines.program_file import harmless_program
from skinaudit.errors import EngineError

torch = pytest.importorskip("torch")


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (self.marker, "ran"))


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An honest program of images of 4 x 4."""
    path = tmp_path_factory.mktemp("program") / "honest.pt2"

    class Linear(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(48, 7)

        def forward(self, image: Any) -> Any:
            return self.layer(image.flatten(1))

    sizes = {"image": {0: torch.export.Dim("batch", min=1)}}
    torch.export.save(torch.export.export(Linear(), (torch.zeros(2, 3, 4, 4),), dynamic_shapes=sizes), path)
    return path


def rewritten(program: Path, path: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """A copy of a program whose parts, by their names without the first folder, were changed."""
    with zipfile.ZipFile(program) as archive:
        parts = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    change(parts)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(f"program/{name}", content)
    return path


def pickled(marker: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save((Payload(marker),), buffer)
    return buffer.getvalue()


def first(parts: dict[str, bytes], start: str, end: str = "") -> str:
    return next(name for name in parts if name.startswith(start) and name.endswith(end))


def in_samples(parts: dict[str, bytes], marker: Path) -> None:
    parts[first(parts, "data/sample_inputs/")] = pickled(marker)


def in_older_weights(parts: dict[str, bytes], marker: Path) -> None:
    parts["data/weights/model.pt"] = pickled(marker)


def in_a_weight(parts: dict[str, bytes], marker: Path) -> None:
    name = first(parts, "data/weights/", "_config.json")
    config = json.loads(parts[name])
    entry = next(iter(config["config"].values()))
    entry["use_pickle"] = True
    parts[f"data/weights/{entry['path_name']}"] = pickled(marker)
    parts[name] = json.dumps(config).encode()


def in_a_size(parts: dict[str, bytes], marker: Path) -> None:
    name = first(parts, "models/")
    text = json.dumps(f"__import__('pathlib').Path({str(marker)!r}).write_text('ran')")
    model = parts[name].decode()
    start = model.index('"expr_str": ') + len('"expr_str": ')
    _, end = json.JSONDecoder().raw_decode(model[start:])
    parts[name] = f"{model[:start]}{text}{model[start + end :]}".encode()


@pytest.mark.parametrize("protocol", [2, 4])
def test_sample_inputs_that_run_code_are_told(program: Path, tmp_path: Path, protocol: int) -> None:
    buffer = io.BytesIO()
    torch.save((Payload(tmp_path / "marker"),), buffer, pickle_protocol=protocol)
    content = buffer.getvalue()
    path = rewritten(
        program, tmp_path / "planted.pt2", lambda parts: parts.update({first(parts, "data/sample_inputs/"): content})
    )
    with pytest.raises(EngineError, match="sample inputs that run code when torch opens them"):
        harmless_program(path)


WAYS = [in_samples, in_older_weights, in_a_weight, in_a_size]


@pytest.mark.parametrize("plant", WAYS)
def test_a_payload_that_torch_runs_does_not_run_here(program: Path, tmp_path: Path, plant: Callable[..., None]) -> None:
    marker, path = tmp_path / "marker", tmp_path / "planted.pt2"
    rewritten(program, path, lambda parts: plant(parts, marker))
    with suppress(Exception):
        torch.export.load(path)
    assert marker.exists(), "the payload is none"
    marker.unlink()
    with suppress(EngineError):
        open_here(Opening(path, "pytorch"))
    assert not marker.exists()


def test_only_its_samples_are_left_out_of_an_honest_program(program: Path, tmp_path: Path) -> None:
    session = open_here(Opening(program, "pytorch"))
    images = torch.rand(5, 3, 4, 4)
    expected = torch.export.load(program).module()(images).detach().numpy()
    assert (session.run(images.numpy(), input="image", output="logits") == expected).all()
    with zipfile.ZipFile(harmless_program(program)) as archive:
        samples = [name for name in archive.namelist() if "sample_inputs" in name]
        assert [archive.read(name) for name in samples] == [b""]


def change_model(change: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, bytes]], None]:
    def changed(parts: dict[str, bytes]) -> None:
        name = first(parts, "models/")
        model = json.loads(parts[name])
        change(model)
        parts[name] = json.dumps(model).encode()

    return changed


def first_node(model: dict[str, Any]) -> dict[str, Any]:
    node: dict[str, Any] = model["graph_module"]["graph"]["nodes"][0]
    return node


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda parts: parts.update({"data/aotinductor/model/model.so": b"code"}), "a part 'program/data/aotinductor"),
        (lambda parts: parts.update({"data/constants/custom_obj_0": pickle.dumps(1)}), "a part 'program/data/constants"),
        (change_model(lambda model: first_node(model).update(target="torch.hub.load")), "an operator 'torch.hub.load'"),
        (change_model(lambda model: first_node(model).update(target="torch.ops.aten.from_file.default")), "an operator"),
        (change_model(lambda model: first_node(model).update(target="_operator.attrgetter")), "an operator"),
        (change_model(lambda model: model.update(expr_str="s0**99**99")), "a size"),
        (change_model(lambda model: model.update(expr_str="f(s0)")), "a size"),
        (change_model(lambda model: model.update(expr_str="s0.__class__")), "a size"),
        (change_model(lambda model: model.update(expr_str="(" * 500)), "a size"),
        (change_model(lambda model: model.update(in_spec='[1, {"type": "collections.defaultdict"}]')), "a container"),
        (change_model(lambda model: model.update(treespec_namedtuple_fields={"os.path": []})), "objects of other modules"),
        (lambda parts: parts.update({"models/model.json": b"[" * 10**6}), "nested too deeply"),
        (lambda parts: parts.update({"models/model.json": b"{"}), "not a readable exported program"),
    ],
)
def test_what_an_answer_may_need_is_refused(
    program: Path, tmp_path: Path, change: Callable[..., None], message: str
) -> None:
    path = rewritten(program, tmp_path / "odd.pt2", change)
    with pytest.raises(EngineError) as error:
        harmless_program(path)
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)


@pytest.mark.parametrize("text", ["Symbol('s77', positive=True, integer=True)", "2*s77 + 1", "Max(1, s0//2)", "4"])
def test_sizes_as_torch_writes_them_are_taken(program: Path, tmp_path: Path, text: str) -> None:
    path = rewritten(program, tmp_path / "sizes.pt2", change_model(lambda model: model.update(expr_str=text)))
    assert harmless_program(path)


def test_compressed_parts_are_refused(program: Path, tmp_path: Path) -> None:
    path = tmp_path / "bomb.pt2"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("program/models/model.json", bytes(2**20))
    with pytest.raises(EngineError, match="compressed"):
        harmless_program(path)
