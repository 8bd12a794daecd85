"""A toolkit for compilers: the installed one, else a wheel's headers, and the driver by the name that linkers look for."""

from __future__ import annotations

import os
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

pytest.importorskip("torch")

from torch.utils import cpp_extension

from skinaudit.export import cuda_toolkit as module
from skinaudit.export.cuda_toolkit import cuda_toolkit


def toolkit(folder: Path) -> Path:
    (folder / "include").mkdir(parents=True)
    for name in ("cuda.h", "cuda_runtime_api.h"):
        (folder / "include" / name).write_text("")
    return folder


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder `nvidia` of wheels, of which one has the headers; no toolkit is installed."""
    spec = ModuleSpec("nvidia", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path / "nvidia")]
    (tmp_path / "nvidia" / "cudnn" / "include").mkdir(parents=True)
    monkeypatch.setattr(module, "find_spec", lambda name: spec)
    monkeypatch.setattr(cpp_extension, "CUDA_HOME", str(tmp_path / "empty"))
    return toolkit(tmp_path / "nvidia" / "cu13")


def test_headers_of_a_wheel_serve_where_no_toolkit_is_installed(wheels: Path) -> None:
    before = (cpp_extension.CUDA_HOME, dict(os.environ))
    with cuda_toolkit():
        assert cpp_extension.CUDA_HOME == os.environ["CUDA_HOME"] == str(wheels)
    assert (cpp_extension.CUDA_HOME, dict(os.environ)) == before


def test_an_installed_toolkit_is_preferred(wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = toolkit(tmp_path / "installed")
    monkeypatch.setattr(cpp_extension, "CUDA_HOME", str(installed))
    with cuda_toolkit():
        assert str(installed) == cpp_extension.CUDA_HOME


def test_without_any_headers_all_stays_as_it_is(wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (wheels / "include" / "cuda.h").unlink()
    monkeypatch.delenv("CUDA_HOME", raising=False)
    before = cpp_extension.CUDA_HOME
    with cuda_toolkit():
        assert before == cpp_extension.CUDA_HOME
        assert "CUDA_HOME" not in os.environ


def test_the_driver_gets_the_name_that_linkers_look_for(
    wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = tmp_path / "drivers" / "libcuda.so.580.1"
    driver.parent.mkdir()
    driver.write_text("")
    maps = tmp_path / "maps"
    maps.write_text(f"7f00-7f01 r-xp 00000000 fe:00 12   /usr/lib/libc.so.6\n7f02-7f03 r-xp 00000000 fe:00 13   {driver}\n")
    assert module._driver(maps) == driver
    assert module._driver(tmp_path / "absent") is None
    monkeypatch.setattr(module, "_driver", lambda _: driver)
    monkeypatch.setenv("LIBRARY_PATH", "/mine")
    with cuda_toolkit():
        first, *later_folders = os.environ["LIBRARY_PATH"].split(os.pathsep)
        assert (Path(first) / "libcuda.so").resolve() == driver
        assert later_folders == ["/mine"]
    assert os.environ["LIBRARY_PATH"] == "/mine"
    assert not Path(first).exists()
