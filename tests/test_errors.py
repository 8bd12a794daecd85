"""Errors of libraries in one line."""

from __future__ import annotations

from pathlib import Path

from skinaudit.errors import choose_one, counted, first_few, in_one_line, no_such_file


def test_a_long_message_keeps_its_beginning_and_its_end() -> None:
    """As ONNX Runtime words a failure of CUDA: a signature in C++, then the cause."""
    text = in_one_line(RuntimeError("cuda_call.cc:154 " + "T" * 500 + "\n CUDA failure 999: unknown error"))
    assert text.startswith("RuntimeError: cuda_call.cc:154 T")
    assert text.endswith("T CUDA failure 999: unknown error")
    assert len(text) == 303
    assert in_one_line(KeyError("x")) == "KeyError: 'x'"


def test_an_unknown_name_gets_the_nearest_one() -> None:
    assert choose_one("attack", "PGD", ("fgsm", "pgd")) == "attack 'PGD': choose one of fgsm, pgd; did you mean 'pgd'?"
    assert choose_one("attack", "x", ("fgsm", "pgd")) == "attack 'x': choose one of fgsm, pgd"


def test_a_missing_file_gets_the_nearest_one_of_its_folder_else_advice(tmp_path: Path) -> None:
    (tmp_path / "fp16.onnx").touch()
    path = tmp_path / "fp16.onx"
    assert no_such_file(path, "engine", "export it") == (
        f"{path}: no such engine; did you mean 'fp16.onnx' in the same folder?"
    )
    for lost in (tmp_path / "model.xml", tmp_path / "none" / "fp16.onnx"):
        assert no_such_file(lost, "engine", "export it") == f"{lost}: no such engine; export it"


def test_names_of_a_million_characters_do_not_fill_a_message() -> None:
    assert first_few(["mel", "nv"]) == "mel, nv"
    assert first_few(["a" * 300, "b" * 10**6]) == f"{'a' * 300}, {'b' * 300}..."


def test_a_link_that_leads_nowhere_is_not_offered_in_place_of_itself(tmp_path: Path) -> None:
    (tmp_path / "fp32.onnx").symlink_to("fp32.onnx")
    assert no_such_file(tmp_path / "fp32.onnx", "engine", "export one").endswith(
        "no such engine; it is a link that leads nowhere, so copy the file itself to this place"
    )


def test_a_number_agrees_with_its_word() -> None:
    assert [counted(number, "image") for number in (0, 1, 1_200)] == ["0 images", "1 image", "1,200 images"]
