"""Weights from elsewhere: what fits is loaded, what does not is refused, and no file can run code."""

from __future__ import annotations

import os
import pickle
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file
from torch import nn

from skinaudit.artifacts.contract import CLASSES, MALIGNANT, InputContract
from skinaudit.artifacts.manifest import read_run, record, write_run
from skinaudit.errors import InvalidInputError
from skinaudit.trainer.models import build
from skinaudit.trainer.pretrained import load_pretrained

WEIGHTS = Path(__file__).resolve().parents[2].parent / "shared" / "weights"
V1 = WEIGHTS / "mobilenet_v1_1.0_224_imagenet_backbone_bnfolded.pth"
V2 = WEIGHTS / "mobilenet_v2_1.0_224_imagenet1001_torchvision.pth"


def fresh(arch: str, width: float, classes: int = 7) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build(arch, width=width, classes=classes, size=32)


def head(model: nn.Module) -> nn.Linear:
    return [layer for layer in model.modules() if isinstance(layer, nn.Linear)][-1]


def folded_file(path: Path, width: float) -> dict[str, torch.Tensor]:
    """Random convolutions with folded batch norm in the shapes of a MobileNet v1."""
    shapes = [layer.weight.shape for layer in fresh("mobilenet", width).modules() if isinstance(layer, nn.Conv2d)]
    generator = torch.Generator().manual_seed(3)
    state = {}
    for number, shape in enumerate(shapes):
        state[f"{number}.conv.weight"] = torch.randn(shape, generator=generator)
        state[f"{number}.conv.bias"] = torch.randn(shape[0], generator=generator)
    torch.save(state, path)
    return state


def assert_pairs_compute_the_folded_convolutions(model: nn.Module, state: dict[str, torch.Tensor]) -> None:
    model.eval()
    pairs = [layer for layer in model.modules() if isinstance(layer, nn.Sequential) and isinstance(layer[0], nn.Conv2d)]
    assert len(pairs) == 27
    for number, pair in enumerate(pairs):
        convolution, norm = pair[0], pair[1]
        assert isinstance(convolution, nn.Conv2d)
        images = torch.rand(2, convolution.in_channels, 9, 9, generator=torch.Generator().manual_seed(number))
        expected = nn.functional.conv2d(
            images, state[f"{number}.conv.weight"], state[f"{number}.conv.bias"],
            stride=convolution.stride, padding=convolution.padding, groups=convolution.groups,  # type: ignore[arg-type]
        )  # fmt: skip
        torch.testing.assert_close(norm(convolution(images)), expected, rtol=1e-4, atol=1e-4)


def test_folded_convolutions_become_pairs_that_compute_the_same(tmp_path: Path) -> None:
    state = folded_file(tmp_path / "v1.pth", 0.25)
    model = fresh("mobilenet", 0.25)
    untouched = head(model).weight.clone()
    origin = load_pretrained(model, "mobilenet", str(tmp_path / "v1.pth"))
    assert origin.endswith("v1.pth; the last layer starts fresh")
    assert_pairs_compute_the_folded_convolutions(model, state)
    assert torch.equal(head(model).weight, untouched)


@pytest.mark.skipif(not V1.is_file(), reason="no shared weights beside the checkout")
def test_the_shared_mobilenet_v1_backbone() -> None:
    model = fresh("mobilenet", 1.0)
    load_pretrained(model, "mobilenet", str(V1))
    assert_pairs_compute_the_folded_convolutions(model, torch.load(V1, weights_only=True))


@pytest.mark.skipif(not V2.is_file(), reason="no shared weights beside the checkout")
def test_the_shared_mobilenet_v2() -> None:
    model = fresh("mobilenet_v2", 1.0)
    untouched = head(model).weight.clone()
    load_pretrained(model, "mobilenet_v2", str(V2))
    state = torch.load(V2, weights_only=True)
    assert torch.equal(model.state_dict()["1.features.0.0.weight"], state["features.0.0.weight"])
    assert torch.equal(model.state_dict()["1.features.18.1.running_var"], state["features.18.1.running_var"])
    assert torch.equal(head(model).weight, untouched)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_torchvisions_state_dict_under_its_own_names_but_for_the_head(tmp_path: Path, suffix: str) -> None:
    source = torchvision.models.mobilenet_v2(width_mult=0.25, num_classes=1000)
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save(source.state_dict(), path)
    else:
        save_file(source.state_dict(), path)
    model = fresh("mobilenet_v2", 0.25)
    untouched = head(model).weight.clone()
    load_pretrained(model, "mobilenet_v2", str(path))
    loaded = model.state_dict()
    for name, value in source.state_dict().items():
        if not name.startswith("classifier."):
            assert torch.equal(loaded[f"1.{name}"], value)
    assert torch.equal(head(model).weight, untouched)


def test_our_own_state_dict(tmp_path: Path) -> None:
    source = fresh("mobilenet", 0.1)
    save_file(source.state_dict(), tmp_path / "own.safetensors")
    with torch.random.fork_rng():
        torch.manual_seed(9)
        model = build("mobilenet", width=0.1, size=32)
    load_pretrained(model, "mobilenet", str(tmp_path / "own.safetensors"))
    images = torch.rand(1, 3, 32, 32)
    assert torch.equal(model.eval()[1][0](images), source.eval()[1][0](images))  # type: ignore[index]


class Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("trapped",)


@pytest.mark.parametrize("writer", ["pickle", "torch"])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writer: str) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "trap.pth"
    if writer == "pickle":
        path.write_bytes(pickle.dumps({"0.conv.weight": Trap()}))
    else:
        torch.save({"0.conv.weight": Trap()}, path)
    with pytest.raises(InvalidInputError, match=r"trap.pth: not a safe weights file .*convert it to safetensors"):
        load_pretrained(fresh("mobilenet", 0.1), "mobilenet", str(path))
    assert not (tmp_path / "trapped").exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    "content", [b"", b"hello", b"hello world\n" * 9, b"\x80\x02]q\x00.", b"<html>404</html>", bytes(range(256)), b"\x88\x83"]
)
def test_a_file_of_anything_else_is_refused(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match=rf"weights{suffix}: (not a safe weights file|holds no state dict)"):
        load_pretrained(fresh("mobilenet", 0.1), "mobilenet", str(path))


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    folded_file(tmp_path / "v1.pth", 0.1)
    content = (tmp_path / "v1.pth").read_bytes()
    for length in (1, 10, 100, len(content) // 2, len(content) - 1):
        (tmp_path / "v1.pth").write_bytes(content[:length])
        with pytest.raises(InvalidInputError, match=r"v1.pth: (not a safe weights file|holds no state dict)"):
            load_pretrained(fresh("mobilenet", 0.1), "mobilenet", str(tmp_path / "v1.pth"))


@pytest.mark.parametrize("content", [[1, 2], {}, {"a": 3}, {"model": {"a": torch.zeros(1)}}])
def test_a_pth_file_without_a_state_dict_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(InvalidInputError, match=r"other.pth: holds no state dict of tensors"):
        load_pretrained(fresh("mobilenet", 0.1), "mobilenet", str(tmp_path / "other.pth"))


@pytest.mark.parametrize(
    "content",
    [
        {"a": torch.zeros(1).expand(2**20, 2**20)},
        {
            "a": torch.sparse_coo_tensor(
                torch.zeros((1, 1), dtype=torch.int64), torch.zeros(1), (2**40,), check_invariants=False
            )
        },
        {"a": torch.zeros(2, dtype=torch.complex64)},
        {"a": torch.empty(2**40, device="meta")},
        {7: torch.zeros(2)},
    ],
    ids=["one number for 2^40", "sparse", "complex", "without numbers", "a number as name"],
)
def test_tensors_that_are_not_plain_are_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(InvalidInputError, match=r"other.pth: (1 of 1 tensors are not plain|not a safe weights file)"):
        load_pretrained(fresh("mobilenet", 0.1), "mobilenet", str(tmp_path / "other.pth"))


def test_weights_that_are_packed_are_not_unpacked(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(10**5)}, tmp_path / "plain.pth")
    with (
        zipfile.ZipFile(tmp_path / "plain.pth") as plain,
        zipfile.ZipFile(tmp_path / "packed.pth", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    with pytest.raises(InvalidInputError, match=r"packed.pth: its parts unpack to 400,\d+ bytes, more than the file has"):
        load_pretrained(fresh("mobilenet", 0.1), "mobilenet", str(tmp_path / "packed.pth"))


def test_weights_that_do_not_fit_are_refused_with_what_differs(tmp_path: Path) -> None:
    folded_file(tmp_path / "narrow.pth", 0.1)
    source = str(tmp_path / "narrow.pth")
    with pytest.raises(InvalidInputError, match=r"narrow.pth: .* has shape .*the model .*choose the arch and --width"):
        load_pretrained(fresh("mobilenet", 0.5), "mobilenet", source)
    with pytest.raises(InvalidInputError, match="holds 27 convolutions, the model has 13"):
        load_pretrained(fresh("vgg16", 0.1), "vgg16", source)
    with pytest.raises(InvalidInputError, match="holds 27 convolutions, the model has 52"):
        load_pretrained(fresh("mobilenet_v2", 0.25), "mobilenet_v2", source)
    save_file(fresh("mobilenet_v2", 0.25).state_dict(), tmp_path / "v2.safetensors")
    with pytest.raises(InvalidInputError, match=r"v2.safetensors: \d+ of \d+ tensors are missing, first 1.0"):
        load_pretrained(fresh("mobilenet", 0.25), "mobilenet", str(tmp_path / "v2.safetensors"))


def test_folded_weights_with_a_hole_are_refused(tmp_path: Path) -> None:
    state = folded_file(tmp_path / "v1.pth", 0.1)
    del state["5.conv.bias"]
    torch.save(state, tmp_path / "v1.pth")
    with pytest.raises(InvalidInputError, match=r"v1.pth: "):
        load_pretrained(fresh("mobilenet", 0.1), "mobilenet", str(tmp_path / "v1.pth"))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_with_a_nan_or_infinity_are_refused_by_name(tmp_path: Path, tiny_run: Path, value: float) -> None:
    """Training would end in NaN, and blame the learning rate."""
    state = folded_file(tmp_path / "v1.pth", 0.1)
    state["5.conv.weight"][0, 0, 0, 0] = value
    torch.save(state, tmp_path / "v1.pth")
    with pytest.raises(InvalidInputError, match=r"v1.pth: 1 of 54 tensors hold NaN or infinity, first 5.conv.weight; use"):
        load_pretrained(fresh("mobilenet", 0.1), "mobilenet", str(tmp_path / "v1.pth"))

    run = shutil.copytree(tiny_run, tmp_path / "run")
    weights = load_file(run / "weights.safetensors")
    weights["1.4.bias"][2] = value
    save_file(weights, run / "weights.safetensors")
    write_run(run, replace(read_run(run), weights=record(run / "weights.safetensors", relative_to=run)))
    with pytest.raises(
        InvalidInputError, match=r"run/weights.safetensors: 1 of \d+ tensors hold NaN or infinity, first 1.4"
    ):
        load_pretrained(fresh("mobilenet", 0.25), "mobilenet", str(run))


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidInputError, match=r"weights 'IMAGENET': torchvision has for mobilenet_v2 only IMAGENET1K_V1"):
        load_pretrained(fresh("mobilenet_v2", 0.25), "mobilenet_v2", "IMAGENET")
    with pytest.raises(InvalidInputError, match="no such run or weights file, and torchvision has no weights of that name"):
        load_pretrained(fresh("mobilenet", 0.25), "mobilenet", "IMAGENET1K_V1")
    with pytest.raises(InvalidInputError, match=r"none.pth: no such run or weights file"):
        load_pretrained(fresh("mobilenet_v2", 0.25), "mobilenet_v2", "none.pth")


def test_without_a_network_the_download_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(torchvision.models.MobileNet_V2_Weights, "get_state_dict", offline)
    with pytest.raises(InvalidInputError, match=r"cannot be downloaded \(no route to host\).*--weights FILE"):
        load_pretrained(fresh("mobilenet_v2", 1.0), "mobilenet_v2", "IMAGENET1K_V1")


def test_a_run_gives_all_of_its_weights(tiny_run: Path, tmp_path: Path) -> None:
    model = fresh("mobilenet", 0.25)
    assert load_pretrained(model, "mobilenet", str(tiny_run)).startswith("the weights of run tiny, ")
    expected = load_file(tiny_run / "weights.safetensors")
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
    with pytest.raises(InvalidInputError, match=r"weights.safetensors: the weights do not fit"):
        load_pretrained(fresh("mobilenet", 0.5), "mobilenet", str(tiny_run))
    with pytest.raises(InvalidInputError, match="not a finished run"):
        load_pretrained(model, "mobilenet", str(tmp_path))


@pytest.mark.parametrize(
    ("contract", "settings"),
    [
        (InputContract(32, classes=("naevus", "melanoma"), malignant=("melanoma",)), {"classes": 2}),
        (InputContract(32, classes=CLASSES[::-1], malignant=MALIGNANT), {"classes": 7}),
        (
            InputContract(32, classes=("rest", "mel"), malignant=("mel",), positive="mel"),
            {"classes": 2, "positive": 1},
        ),
    ],
)  # fmt: skip
def test_a_run_of_other_classes_gives_all_but_its_last_layer(
    tiny_run: Path, contract: InputContract, settings: dict[str, int]
) -> None:
    model = build("mobilenet", width=0.25, size=32, **settings)
    before = head(model).weight.clone()
    origin = load_pretrained(model, "mobilenet", str(tiny_run), contract=contract)
    assert origin.endswith(f"; the last layer starts fresh, because that run has other columns: {', '.join(CLASSES)}")
    expected = load_file(tiny_run / "weights.safetensors")
    assert torch.equal(head(model).weight, before)
    own = {name: value for name, value in model.state_dict().items() if not name.startswith("1.4.")}
    assert all(torch.equal(value, expected[name]) for name, value in own.items() if not name.endswith("_tracked"))
    with pytest.raises(InvalidInputError, match=r"choose the arch and --width"):
        load_pretrained(build("mobilenet", width=0.5, size=32, **settings), "mobilenet", str(tiny_run), contract=contract)
