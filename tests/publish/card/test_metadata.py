from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinaudit.artifacts.printable import printable_value
from skinaudit.errors import InvalidInputError
from skinaudit.publish.card.metadata import metadata_block, slug, to_yaml
from skinaudit.publish.run_record import read_run_record

TEXTS = st.text(max_size=12)
SCALARS = st.booleans() | st.integers() | st.sampled_from([0.5, 1e-06, 123456.75, -0.25]) | TEXTS
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=8
)


@given(st.dictionaries(TEXTS, VALUES, max_size=4))
def test_yaml_is_read_back(value: dict[str, object]) -> None:
    yaml = pytest.importorskip("yaml", reason="pyyaml is not installed")
    plain = printable_value(value)
    if len(plain) == len(value):
        assert yaml.safe_load("\n".join(to_yaml(value)) or "{}") == plain


@pytest.mark.parametrize("text", ["no", "1e-5", "2026-01-01", ": x", "- y", "#", "a: b", "'", '"', "\\", "null", "~", "😀"])
def test_texts_stay_texts(text: str) -> None:
    yaml = pytest.importorskip("yaml", reason="pyyaml is not installed")
    assert yaml.safe_load("\n".join(to_yaml({text: [text, {text: text}]}))) == {text: [text, {text: text}]}


def test_the_block_holds_clean_and_robust_figures(audited_run: Path) -> None:
    yaml = pytest.importorskip("yaml", reason="pyyaml is not installed")
    record = read_run_record(audited_run)
    block = metadata_block(record, licence="cc-by-nc-4.0", dataset="owner/lesions").splitlines()
    assert (block[0], block[-1]) == ("---", "---")
    metadata = yaml.safe_load("\n".join(block[1:-1]))
    assert metadata["license"] == "cc-by-nc-4.0"
    assert metadata["datasets"] == ["owner/lesions"]
    assert {"synthetic-data", "mobilenet", "not-a-medical-device"} <= set(metadata["tags"])
    assert "adversarial-training" not in metadata["tags"]
    (model,) = metadata["model-index"]
    assert model["name"] == "tiny"
    assert [result["dataset"]["config"] for result in model["results"]] == ["clean", "fgsm-linf-4", "pgd-dlr-linf-4"]
    for result in model["results"]:
        measured = record.manifest.results[result["dataset"]["config"]]
        robust = "" if result["dataset"]["config"] == "clean" else "robust_"
        values = {metric["type"]: metric["value"] for metric in result["metrics"]}
        assert values[f"{robust}accuracy"] == pytest.approx(measured["accuracy"], abs=1e-6)
        assert values[f"{robust}balanced_accuracy"] == pytest.approx(measured["balanced_accuracy"], abs=1e-6)
        assert "always answering nv" in result["metrics"][0]["name"]
        sensitivities = [metric for metric in result["metrics"] if metric["type"] == "recall"]
        assert sensitivities[0]["name"] == "Sensitivity, melanoma"
        assert sensitivities[0]["value"] == pytest.approx(measured["sensitivity_mel"], abs=1e-6)
        assert result["dataset"]["name"].startswith("SYNTHETIC images: ")
    assert model["results"][2]["dataset"]["args"]["eps"] == "4/255"
    assert model["results"][2]["dataset"]["args"]["steps"] == 40


def test_without_a_license_a_comment_asks_for_one(audited_run: Path) -> None:
    block = metadata_block(read_run_record(audited_run))
    assert block.splitlines()[1].startswith("# license: choose one")
    assert '\ndatasets:\n- "synthetic"\n' in block


@pytest.mark.parametrize("text", ["", "MIT License", "a: b", "mit\nx", "-x", "x" * 80])
def test_a_license_or_a_dataset_that_can_be_no_identifier_is_refused(audited_run: Path, text: str) -> None:
    record = read_run_record(audited_run)
    with pytest.raises(InvalidInputError, match="--license"):
        metadata_block(record, licence=text)
    with pytest.raises(InvalidInputError, match="--dataset"):
        metadata_block(record, dataset=f"{text}/{text}/{text}")


@pytest.mark.parametrize(
    ("title", "expected"),
    [("HAM10000", "ham10000"), ("synthetic (procedural, seed 0)", "synthetic"), ("ISIC 2018 Task 3, x", "isic-2018-task-3"),
     ("(?)", "unnamed")],
)  # fmt: skip
def test_a_title_gives_an_identifier(title: str, expected: str) -> None:
    assert slug(title) == expected


def test_the_hub_library_reads_the_card(audited_run: Path, tmp_path: Path) -> None:
    hub = pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    from skinaudit.publish.card.model_card import model_card

    record = read_run_record(audited_run)
    path = tmp_path / "README.md"
    path.write_text(model_card(record, licence="apache-2.0"), encoding="utf-8")
    assert hub.metadata_load(path)["pipeline_tag"] == "image-classification"
    card = hub.ModelCard.load(path)
    assert card.data.license == "apache-2.0"
    results = {(result.dataset_config, result.metric_type): result.metric_value for result in card.data.eval_results}
    assert results["clean", "accuracy"] == pytest.approx(record.manifest.results["clean"]["accuracy"], abs=1e-6)
    assert results["pgd-dlr-linf-4", "robust_accuracy"] == pytest.approx(
        record.manifest.results["pgd-dlr-linf-4"]["accuracy"], abs=1e-6
    )
    assert str(card.data).count("model-index") == 1  # what the library writes itself holds the figures too
