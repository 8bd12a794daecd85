from __future__ import annotations

import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from skinaudit import cli
from skinaudit.commands.training import train
from skinaudit.publish.card.commands import reproduce, train_command
from skinaudit.publish.card.model_card import model_card
from skinaudit.publish.run_record import RunRecord, read_run_record
from skinaudit.trainer.data.classes import read_classes


@pytest.fixture(scope="session")
def record(audited_run: Path) -> RunRecord:
    return read_run_record(audited_run)


def section(card: str, title: str) -> str:
    return card.split(f"\n## {title}\n")[1].split("\n## ")[0]


def row(text: str, first: str) -> list[str]:
    """The cells of the table row that begins with `first`."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {first} |")]
    return [cell.strip() for cell in line.strip("|").split(" | ")]


def test_sections_in_order_and_the_labels_in_front(record: RunRecord) -> None:
    card = model_card(record)
    assert re.findall(r"^## (.*)", card, re.MULTILINE) == [
        "Intended use and limits", "Data", "Training", "Figures", "Engines and their audits", "How to reproduce it",
        "Digests and versions",
    ]  # fmt: skip
    head = card.split("\n## ")[0]
    assert "**SYNTHETIC images" in head
    assert "**Not a medical device.**" in head
    assert "**SYNTHETIC images" in section(card, "Figures")
    assert "SYNTHETIC: " in section(card, "Data")
    real = model_card(replace(record, manifest=replace(record.manifest, synthetic=False)))
    assert "SYNTHETIC" not in real


def test_figures_are_those_of_the_manifest_beside_a_constant_answer(record: RunRecord) -> None:
    text = section(model_card(record), "Figures")
    for name, title in (("clean", "clean"), ("fgsm-linf-4", "fgsm linf 4/255"), ("pgd-dlr-linf-4", "pgd-dlr linf 4/255")):
        cells, measured = row(text, title), record.manifest.results[name]
        assert cells[1] == f"{measured['accuracy']:.1%}"
        assert cells[3] == f"{measured['balanced_accuracy']:.1%}"
    always = row(text, "always nv")
    assert always[1] == f"{record.manifest.data['majority_share']:.1%}"
    assert always[4].startswith("0.0% of ")
    sensitivities = text.split("Sensitivity per class")[1].splitlines()[4:]
    assert sensitivities[0].startswith("| mel, melanoma, malignant |")
    assert f"{record.manifest.results['clean']['sensitivity_mel']:.1%}" in sensitivities[0]


def test_an_accuracy_that_a_constant_answer_reaches_is_called_so(record: RunRecord) -> None:
    below = [entry for entry in record.sets if entry.figures.engine_accuracy <= entry.figures.majority_share]
    assert below  # a standard model under attack
    assert section(model_card(record), "Figures").count("is not above that of always answering nv") == len(below)


def test_class_counts_and_leaks(record: RunRecord) -> None:
    text = section(model_card(record), "Data")
    counts = record.manifest.data["counts"]["mel"]
    assert row(text, "mel, melanoma")[1:] == [str(counts[part]) for part in ("train", "val", "test")]
    assert "Leaked lesions: 0 of " in text
    data = {**record.manifest.data, "leaked_lesions": 7, "split": "paper"}
    leaking = section(model_card(replace(record, manifest=replace(record.manifest, data=data))), "Data")
    assert re.search(r"\*\*Leaked lesions: 7 of \d+ .* too good\.\*\*", leaking)
    assert "eaked patients" not in text + leaking
    assert "all patients" not in text
    assert "pixels" not in text


def test_patients_and_identical_pictures(record: RunRecord) -> None:
    people = {"patients": 90, "part_patients": {"train": 70, "val": 9, "test": 11}, "leaked_patients": 2}
    data = {**record.manifest.data, **people, "identical": 12, "contradictions": ("a mel = b nv",)}
    text = section(model_card(replace(record, manifest=replace(record.manifest, data=data))), "Data")
    assert row(text, "all patients")[1:] == ["70", "9", "11"]
    assert "**Leaked patients: 2 of 11 in test are also in training or validation: the figures below are too good.**" in text
    assert "12 images have the same pixels as another image and count as its lesion," in text
    assert "\nand 1 picture of these has several labels." in text


def test_engines_with_verdicts_gates_and_what_was_left_out(record: RunRecord) -> None:
    text = section(model_card(record), "Engines and their audits")
    for filed in record.audits:
        cells = row(text.split("\n\n")[1], filed.path.name.removesuffix(".json"))
        assert cells[3] == f"**{filed.result.verdict.value}**"
        assert re.match(r"\d+ passed", cells[4])
    assert text.count("pgd-dlr linf 4/255") >= len(record.audits)
    assert "Left out" not in text
    worse = replace(
        record, audits=(), left_out={"audit a.json": "is old", "audit b.json": "is old"}, unaudited=("int8.onnx",)
    )
    text = section(model_card(worse), "Engines and their audits")
    assert "**No audit of an engine of this model could be read.**" in text
    assert "- audit a.json, audit b.json: is old" in text
    assert "Not audited as they are now: int8.onnx." in text


def test_an_earlier_build_and_an_emulation_are_told(record: RunRecord) -> None:
    first = record.audits[0]
    changed = replace(first, engine_now="changed", result=replace(first.result, emulated=True))
    assert "| fp16.onnx, of an earlier build, emulated |" in model_card(replace(record, audits=(changed,)))


def test_a_run_without_sets_says_so(record: RunRecord) -> None:
    card = model_card(replace(record, sets=()))
    assert "**None: no stored set could be read.**" in card
    assert "model-index" not in card


def test_equal_records_give_equal_bytes_without_machine_or_time(
    audited_run: Path, record: RunRecord, tmp_path: Path
) -> None:
    moved = Path(shutil.copytree(audited_run, tmp_path / "elsewhere" / "tiny"))
    card = model_card(record)
    assert model_card(read_run_record(moved)) == card
    assert str(audited_run.parent) not in card
    assert not re.search(r"(^|\s)/\w+/", card)


def test_nothing_from_a_file_acts_in_the_card(record: RunRecord) -> None:
    evil = "a|b <script> [x](y) `c`\n---\n# @all"
    manifest = replace(record.manifest, name=evil, data={**record.manifest.data, "title": evil})
    card = model_card(replace(record, manifest=manifest, left_out={evil: evil}))
    body = card.split("\n---\n")[1]
    assert "<script>" not in body.split("## How")[0]
    assert not re.search(r"(?<!\\)\[x\]", body.split("## How")[0])
    assert card.count("\n---\n") == 1  # the end of the metadata
    assert not re.search(r"^# @", body, re.MULTILINE)


def test_the_training_command_is_one_that_the_program_takes(record: RunRecord) -> None:
    program, name, *arguments = train_command(record)
    assert (program, name) == ("skinaudit", "train")
    parsed = train.make_context("train", list(arguments)).params
    manifest = record.manifest
    assert (parsed["arch"], parsed["width"], parsed["size"]) == ("mobilenet", 0.25, manifest.contract.size)
    assert (parsed["data"], parsed["images"]) == ("synthetic", manifest.data["images"])
    assert (parsed["epochs"], parsed["batch"]) == (6, 8)
    assert parsed["learning_rate"] == manifest.training["recipe"]["learning_rate"]
    assert (parsed["hardening"], parsed["eps"], parsed["seed"], parsed["threads"]) == ("none", "4/255", 0, 1)
    hardening = {
        "kind": "pgd", "threat_model": {"norm": "linf", "eps": "2/255"}, "steps": 5, "ramp": 0.1, "clean_share": 0.0,
        "batch_norm": "eval",
    }  # fmt: skip
    recipe = {**manifest.training["recipe"], "class_costs": {"mel": 1.5, "df": 0.25}}
    training = {**manifest.training, "recipe": recipe, "hardening": hardening, "weights": "runs/other"}
    data = {**manifest.data, "title": "HAM10000"}
    hardened = replace(record, manifest=replace(manifest, training=training, data=data))
    parsed = train.make_context("train", list(train_command(hardened)[2:])).params
    assert (parsed["hardening"], parsed["steps"], parsed["ramp"], parsed["weights"]) == ("pgd", 5, 0.1, "runs/other")
    assert (parsed["data"], parsed["images"]) == ("DATA", None)
    assert parsed["class_costs"] == ("mel=1.5", "df=0.25")
    assert (parsed["hardening_eps"], parsed["augment"]) == (None, "flips")
    wider = {**training, "hardening": {**hardening, "train_eps": "3/255"}, "recipe": {**recipe, "augment": "affine"}}
    hardened = replace(record, manifest=replace(manifest, training={**wider, "threat_model": "linf 2/255"}, data=data))
    parsed = train.make_context("train", list(train_command(hardened)[2:])).params
    assert (parsed["eps"], parsed["hardening_eps"], parsed["augment"]) == ("2/255", "3/255", "affine")
    assert "hardened by adversarial training with PGD in linf 3/255" in model_card(hardened)
    trades = {**hardening, "kind": "trades", "settings": {"beta": 3.0}, "awp": 0.005, "class_eps": {"mel": "3/255"}}
    averaged = {**recipe, "averaging": 0.0, "swa": 0.25, "logit_adjustment": 1.0, "label_smoothing": 0.1}
    hardened = replace(record, manifest=replace(manifest, training={**training, "hardening": trades, "recipe": averaged}))
    parsed = train.make_context("train", list(train_command(hardened)[2:])).params
    assert (parsed["hardening"], parsed["awp"], parsed["class_eps"]) == ("trades:beta=3.0", 0.005, ("mel=3/255",))
    assert (parsed["averaging"], parsed["swa"], parsed["logit_adjustment"], parsed["label_smoothing"]) == (0, 0.25, 1, 0.1)
    assert (parsed["precision"], parsed["compile"]) == (None, False)
    for device, precision, stated in (("cuda", "tf32", None), ("cuda", "fp32", "fp32"), ("cpu", "bf16", "bf16")):
        changed = {
            **training,
            "device": device,
            "precision": precision,
            "compiled": device == "cuda",
            "cuda_graphs": stated is None,
        }
        options = train_command(replace(record, manifest=replace(manifest, training=changed)))[2:]
        parsed = train.make_context("train", list(options)).params
        assert (parsed["precision"], parsed["compile"]) == (stated, device == "cuda")
        assert parsed["cuda_graphs"] == (stated is None)
    earlier = replace(manifest, training={**training, "recipe": {**recipe, "augment": True}})
    assert "--augment" not in train_command(replace(record, manifest=earlier))


def test_every_command_of_the_card_is_one_that_the_program_takes(record: RunRecord) -> None:
    lines = section(model_card(record), "How to reproduce it").split("```sh\n")[1].split("\n```")[0].splitlines()
    assert [line.split()[1] for line in lines] == ["train", "export", "export", "audit", "audit"]
    for line in lines:
        _, name, *arguments = shlex.split(line)
        cli.commands.commands[name].make_context(name, arguments)


def test_the_command_writes_once_and_tells_what_it_left_out(audited_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(audited_run, tmp_path / "tiny"))
    (run / "audits" / "old.json").write_text('{"kind": "skinaudit-audit/2"}')
    output = tmp_path / "README.md"
    arguments = ["card", str(run), "-o", str(output)]
    outcome = CliRunner().invoke(cli.commands, arguments)
    assert outcome.exit_code == 0, outcome.output
    assert outcome.stdout.endswith("3 sets, 2 audits, 1 left out\n")
    assert "left out: audit old.json: engine is missing, expected a path" in outcome.stderr
    assert output.read_text(encoding="utf-8") == model_card(read_run_record(run))
    assert "exists already" in str(CliRunner().invoke(cli.commands, arguments).exception)
    assert CliRunner().invoke(cli.commands, [*arguments, "--force"]).exit_code == 0


def test_a_task_of_its_own_classes_is_given_with_their_file(record: RunRecord, tmp_path: Path) -> None:
    manifest = record.manifest
    ill = 'cancer, "x"'
    contract = replace(manifest.contract, classes=("rest", ill), malignant=(ill,), positive=ill, threshold=0.3)
    classes_from = {"rest": ("nv", "bkl", "df", "vasc"), ill: ("mel", "bcc", "akiec")}
    own = replace(
        manifest, contract=contract, data={**manifest.data, "classes_from": classes_from},
        training={**manifest.training, "head": "binary", "threshold": 0.3},
    )  # fmt: skip
    card = model_card(replace(record, manifest=own))
    assert "one logit, that of cancer, " in card
    assert "above 0.3, rest elsewhere" in card
    text = "\n".join(reproduce(replace(record, manifest=own, sets=(), audits=())))
    path = tmp_path / "classes.toml"
    path.write_text(text.split("```toml\n")[1].split("```")[0], encoding="utf-8")
    assert dict(read_classes(path).members or {}) == classes_from
    assert read_classes(path).malignant == contract.malignant
    parsed = train.make_context("train", list(train_command(replace(record, manifest=own))[2:])).params
    assert (parsed["head"], parsed["threshold"], parsed["classes"]) == ("binary", 0.3, Path("classes.toml"))
