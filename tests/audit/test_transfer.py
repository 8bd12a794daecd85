from __future__ import annotations

import io
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from skinaudit.artifacts.adversarial_set import open_set
from skinaudit.artifacts.files import digest_file
from skinaudit.artifacts.manifest import read_engine_manifest, read_run, record, write_engine_manifest, write_run
from skinaudit.artifacts.run_sets import TEST_SET
from skinaudit.audit.audit import audit_engine
from skinaudit.audit.reports.parts.transfer_table import print_transfer
from skinaudit.audit.transfer import transfer_matrix
from skinaudit.errors import InvalidInputError

pytestmark = pytest.mark.usefixtures("opened")


def test_the_matrix_agrees_with_audits(tmp_path: Path, lab: SimpleNamespace) -> None:
    own, other_run = lab.plant(tmp_path / "this"), lab.plant(tmp_path / "other", seed=9)
    steps: list[tuple[int, int]] = []
    matrix = transfer_matrix([own.run, other_run.run], progress=lambda done, total: steps.append((done, total)))
    assert matrix.names == ("this", "other")
    assert (matrix.attack, matrix.images, matrix.lesions, matrix.synthetic) == ("pgd linf 24/255", 700, 525, True)
    assert steps[-1] == (4200, 4200)
    for index, engine in enumerate((own.reference, other_run.reference)):
        for row, folder in enumerate((own.run, other_run.run)):
            clean, attacked = audit_engine(engine, sets=folder / "sets", small_probe=False).sets
            assert matrix.clean[index].accuracy == clean.comparison.engine_accuracy
            assert matrix.cells[row][index].accuracy == attacked.comparison.engine_accuracy
            assert matrix.cells[row][index].balanced == attacked.comparison.engine_balanced
    # This model knows the classes: its own attack breaks it, the other's does not.
    assert matrix.cells[0][0].accuracy < 0.6 < 0.9 < matrix.cells[1][0].accuracy


def test_runs_of_one_name_are_told_apart(tmp_path: Path, lab: SimpleNamespace) -> None:
    first, second = lab.plant(tmp_path / "a" / "run"), lab.plant(tmp_path / "b" / "run")
    assert transfer_matrix([first.run, second.run]).names == (str(first.run), str(second.run))


def exported(planted: Any) -> Path:
    """The planted engine with the test images in its lineage, which each export records."""
    manifest = read_engine_manifest(planted.reference)
    clean = open_set(planted.run / "sets" / "clean.safetensors")
    lineage = {**manifest.lineage, TEST_SET: clean.images_digest}
    write_engine_manifest(replace(manifest, lineage=lineage), engine=planted.reference)
    return Path(planted.reference)


def test_a_further_engine_is_tested_on_the_sets_of_the_runs(tmp_path: Path, lab: SimpleNamespace) -> None:
    own, other_run = lab.plant(tmp_path / "this"), lab.plant(tmp_path / "other", seed=9)
    whole = transfer_matrix([own.run, other_run.run])
    matrix = transfer_matrix([own.run], engines=[exported(other_run)])
    assert (matrix.names, matrix.tested) == (("this",), ("this", "other/fp32.onnx"))
    assert matrix.digests == whole.digests == tuple(digest_file(plant.reference) for plant in (own, other_run))
    assert matrix.clean == whole.clean
    assert matrix.cells == whole.cells[:1]
    table = io.StringIO()
    print_transfer(matrix, Console(file=table, width=100))
    assert "other/fp32.onnx" in table.getvalue()


def test_engines_of_one_name_are_told_apart(tmp_path: Path, lab: SimpleNamespace) -> None:
    first, second = lab.plant(tmp_path / "a" / "run"), lab.plant(tmp_path / "b" / "run")
    matrix = transfer_matrix([first.run], engines=[exported(first), exported(second)])
    assert matrix.tested == ("run", str(first.reference), str(second.reference))


def test_a_further_engine_must_fit(tmp_path: Path, lab: SimpleNamespace) -> None:
    own = lab.plant(tmp_path / "this")
    with pytest.raises(InvalidInputError, match="or one and an engine"):
        transfer_matrix([own.run])
    with pytest.raises(InvalidInputError, match="or one and an engine"):
        transfer_matrix([], engines=[own.reference, tmp_path / "other.onnx"])
    for runs, engines in (([own.run, own.run], []), ([own.run], [own.reference, own.reference])):
        with pytest.raises(InvalidInputError, match="given twice; leave one out"):
            transfer_matrix(runs, engines=engines)
    with pytest.raises(InvalidInputError, match="strange"):
        transfer_matrix([own.run], engines=[tmp_path / "strange.onnx"])
    other = lab.plant(tmp_path / "other")
    manifest = read_engine_manifest(other.reference)
    moved = shutil.copy(other.reference, tmp_path / "alone.onnx")
    with pytest.raises(InvalidInputError, match=r"alone.onnx.json is missing; transfer takes only exported engines"):
        transfer_matrix([own.run], engines=[Path(moved)])
    with pytest.raises(InvalidInputError, match="its test images differ from those of"):
        transfer_matrix([own.run], engines=[exported(lab.plant(tmp_path / "split", data_seed=6))])
    with pytest.raises(InvalidInputError, match="an earlier version recorded no test images"):
        transfer_matrix([own.run], engines=[other.reference])
    larger = replace(manifest.contract, size=manifest.contract.size * 2)
    write_engine_manifest(replace(manifest, contract=larger), engine=other.reference)
    with pytest.raises(InvalidInputError, match="size is"):
        transfer_matrix([own.run], engines=[other.reference])


def test_what_cannot_be_compared_is_refused(tmp_path: Path, lab: SimpleNamespace) -> None:
    run = lab.plant(tmp_path / "this").run
    with pytest.raises(InvalidInputError, match="given twice"):
        transfer_matrix([run, run])
    with pytest.raises(InvalidInputError, match="no such run"):
        transfer_matrix([run, tmp_path / "nowhere"])
    with pytest.raises(InvalidInputError, match="its test images differ from those of"):
        transfer_matrix([run, lab.plant(tmp_path / "split", data_seed=6).run])
    with pytest.raises(InvalidInputError, match=r"its set is pgd linf 20/255, that of .* pgd linf 24/255"):
        transfer_matrix([run, lab.plant(tmp_path / "eps", eps=20).run])
    with pytest.raises(InvalidInputError, match=r"one set 'fgsm' crafted on itself, found clean \(clean\), pgd \(pgd linf"):
        transfer_matrix([run, lab.plant(tmp_path / "other").run], attack="fgsm")


def test_an_engine_that_is_missing_or_of_other_weights_is_named(tmp_path: Path, lab: SimpleNamespace) -> None:
    own, other_run = lab.plant(tmp_path / "this"), lab.plant(tmp_path / "other", seed=9)
    run = read_run(other_run.run)
    write_run(other_run.run, replace(run, weights=replace(run.weights, digest="sha256:" + "0" * 64)))
    with pytest.raises(InvalidInputError, match="not built from the weights of"):
        transfer_matrix([own.run, other_run.run])
    other_run.reference.unlink()
    with pytest.raises(InvalidInputError, match=r"fp32\.onnx: missing; write it with `skinaudit export .* --fp32`"):
        transfer_matrix([own.run, other_run.run])


def test_an_engine_that_is_not_the_model_is_refused(tmp_path: Path, lab: SimpleNamespace) -> None:
    own, other_run = lab.plant(tmp_path / "this"), lab.plant(tmp_path / "other", seed=9)
    manifest = read_engine_manifest(own.reference)
    lab.write_planted(own.reference, {"seed": 1})
    engine = record(own.reference, relative_to=own.reference.parent)
    lineage = {**manifest.lineage, "onnx": engine.digest}
    changed = replace(manifest, engine=engine, reference=engine, graph=engine, lineage=lineage)
    write_engine_manifest(changed, engine=own.reference)
    with pytest.raises(InvalidInputError, match="does not reproduce the stored logits"):
        transfer_matrix([own.run, other_run.run])
