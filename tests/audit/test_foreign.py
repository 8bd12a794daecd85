"""Engines of other tools, audited through a contract: figures that count, and mistakes in the contract that are noticed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

pytest.importorskip("onnxruntime")

from skinaudit.artifacts.adversarial_set import open_set
from skinaudit.artifacts.contract import CLASSES, MALIGNANT
from skinaudit.audit.audit import audit_engine
from skinaudit.audit.checks import Severity
from skinaudit.audit.figures.metrics import accuracy, best_order
from skinaudit.audit.judgement.result import AuditResult, Verdict
from skinaudit.engines.draft import draft_contract
from skinaudit.errors import EngineError, InvalidInputError

SIZE = 6
ALPHABETICAL = tuple(sorted(CLASSES))

CONTRACT = """
[input]
size = 6
layout = "NHWC"
dtype = "uint8"
colour = "RGB"
scale = 1
mean = [0, 0, 0]
std = [1, 1, 1]
[output]
answer = "probabilities"
classes = ["akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"]
"""


def foreign_model(path: Path, weights: np.ndarray, *, labels: str | None = None, integer: bool = True) -> Path:
    """uint8 (or float32) NHWC images of 0 to 255 -> probabilities of the classes in alphabetical order, batch fixed at 4."""
    columns = [CLASSES.index(name) for name in ALPHABETICAL]
    dtype = TensorProto.UINT8 if integer else TensorProto.FLOAT
    nodes = [
        helper.make_node("Cast", ["pixels"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Div", ["planes", "scale"], ["scaled"]),
        helper.make_node("Sub", ["scaled", "half"], ["centred"]),
        helper.make_node("Flatten", ["centred"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["sums"]),
        helper.make_node("Softmax", ["sums"], ["scores"]),
    ]
    constants = {
        "scale": np.float32(255),
        "half": np.float32(0.5),
        "weights": (weights[:, columns] * 0.3).astype(np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "foreign",
        [helper.make_tensor_value_info("pixels", dtype, [4, SIZE, SIZE, 3])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [4, 7])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    if labels is not None:
        helper.set_model_props(model, {"labels": labels})
    onnx.save(model, str(path))
    return path


@pytest.fixture
def workplace(tmp_path: Path, lab: SimpleNamespace) -> SimpleNamespace:
    """Sets crafted on a linear model, and the same model as another tool would ship it."""
    planted = lab.plant(tmp_path / "run")
    weights = np.random.default_rng(0).choice(np.array([-1, 1], np.float32), (3 * SIZE * SIZE, 7))
    engine = foreign_model(tmp_path / "foreign.onnx", weights)
    contract = tmp_path / "contract.toml"
    contract.write_text(CONTRACT)
    return SimpleNamespace(folder=tmp_path, sets=planted.run / "sets", engine=engine, contract=contract, weights=weights)


def audit(workplace: SimpleNamespace, *changes: tuple[str, str]) -> AuditResult:
    text = CONTRACT
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    workplace.contract.write_text(text)
    return audit_engine(workplace.engine, sets=workplace.sets, contract=workplace.contract, threads=1)


def doubts(result: AuditResult) -> str:
    return " | ".join(finding.text for finding in result.findings if finding.severity is Severity.INCONCLUSIVE)


def test_figures_are_those_of_the_source_and_labelled_transfer(workplace: SimpleNamespace) -> None:
    """Layout, dtype, fixed batch, softmax and order of columns are all undone: the answers are the linear model's."""
    result = audit(workplace)
    assert result.foreign
    assert result.asked is None
    for entry in result.sets:
        stored = open_set(workplace.sets / entry.file)
        assert entry.comparison.engine_accuracy == accuracy(stored.source_logits.argmax(1), stored.labels)
        assert not entry.white_box
        assert result.judgement_of(entry.title) is None
    assert doubts(result) == ""


def test_a_foreign_engine_never_passes(workplace: SimpleNamespace) -> None:
    result = audit(workplace)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.reason == "no set was compared with a source model, so nothing was judged"


@pytest.mark.parametrize(
    ("change", "noticed"),
    [
        (('"mel", "nv"', '"nv", "mel"'), 'classes = ["akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"]'),
        (('"akiec", "bcc", "bkl"', '"bcc", "bkl", "akiec"'), 'classes = ["akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"]'),
    ],
)
def test_a_wrong_order_of_classes_is_noticed(workplace: SimpleNamespace, change: tuple[str, str], noticed: str) -> None:
    assert noticed in doubts(audit(workplace, change))


def test_a_plausible_but_wrong_scaling_is_noticed(workplace: SimpleNamespace) -> None:
    """0 to 1 fed where 0 to 255 is wanted: the image is black to the engine, which then answers one class."""
    foreign_model(workplace.engine, workplace.weights, integer=False)
    right = audit(workplace, ('"uint8"', '"float32"'))
    assert doubts(right) == ""
    wrong = audit(workplace, ('"uint8"', '"float32"'), ("scale = 1", 'scale = "1/255"'))
    assert "100.0% of all predictions are" in doubts(wrong)
    assert "is not above that of always answering" in doubts(wrong)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([('"NHWC"', '"NCHW"')], r'found pixels uint8 \(4, 6, 6, 3\), the contract says NCHW .*write layout = "NHWC"'),
        ([('"uint8"', '"float32"')], r"the contract says float32; correct dtype"),
        ([('"vasc"]', '"vasc", "other"]')], r"names 8 classes, .* has 7: mel, nv, bcc"),
        ([('"vasc"]', '"naevus"]')], r"they differ in vasc"),
        ([("size = 6", "size = 8")], r"size 8, but .* has 6"),
        ([('"probabilities"', '"logits"')], r"outputs probabilities"),
        ([("[output]\n", '[output]\nname = "logits"\n')], r"has no output logits; it has scores float32 \(4, 7\)"),
    ],
)
def test_a_contract_that_contradicts_the_file_is_refused(
    workplace: SimpleNamespace, changes: list[tuple[str, str]], message: str
) -> None:
    with pytest.raises((EngineError, InvalidInputError), match=message) as error:
        audit(workplace, *changes)
    assert "\n" not in str(error.value)


def test_labels_in_the_file_outweigh_the_contract(workplace: SimpleNamespace) -> None:
    foreign_model(workplace.engine, workplace.weights, labels=str(list(CLASSES)))
    with pytest.raises(EngineError, match="according to the file, its columns are mel, nv, bcc"):
        audit(workplace)


def test_without_sets_and_beside_a_manifest_a_contract_is_refused(workplace: SimpleNamespace) -> None:
    with pytest.raises(InvalidInputError, match="name a folder of sets with --sets"):
        audit_engine(workplace.engine, contract=workplace.contract, threads=1)
    with pytest.raises(InvalidInputError, match="leave --emulate out"):
        audit_engine(workplace.engine, sets=workplace.sets, contract=workplace.contract, emulate=True)
    workplace.engine.with_name("foreign.onnx.json").write_text("{}")
    with pytest.raises(InvalidInputError, match="has a manifest, so it needs no contract"):
        audit(workplace)


def test_the_best_order_is_found_exactly() -> None:
    labels = np.repeat(np.arange(5), 10)
    turned = np.array([2, 0, 1, 4, 3])  # label i is answered as turned[i]
    order, balanced = best_order(turned[labels], labels, 5)
    assert balanced == 1.0
    assert [order[answer] for answer in turned] == [0, 1, 2, 3, 4]


BINARY = CONTRACT.replace(
    'classes = ["akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"]',
    """classes = ["benign", "ill"]
positive = "ill"
threshold = 0.25
[output.mapping]
ill = ["mel", "bcc", "akiec"]
benign = ["nv", "bkl", "df", "vasc"]
""",
)


def binary_model(path: Path, weights: np.ndarray) -> Path:
    """foreign_model with one column: the summed probability of the malignant classes."""
    model = onnx.load(str(foreign_model(path, weights)))
    ill = np.array([[name in MALIGNANT] for name in ALPHABETICAL], np.float32)
    model.graph.initializer.append(numpy_helper.from_array(ill, "ill"))
    model.graph.node.append(helper.make_node("MatMul", ["scores", "ill"], ["probability"]))
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("probability", TensorProto.FLOAT, [4, 1]))
    onnx.save(model, str(path))
    return path


def test_one_column_of_a_coarser_task_is_judged_by_its_own_classes_and_threshold(workplace: SimpleNamespace) -> None:
    binary_model(workplace.engine, workplace.weights)
    workplace.contract.write_text(BINARY)
    result = audit_engine(workplace.engine, sets=workplace.sets, contract=workplace.contract, threads=1)
    assert (result.classes, result.malignant, result.verdict) == (("benign", "ill"), ("ill",), Verdict.INCONCLUSIVE)
    for entry in result.sets:
        stored = open_set(workplace.sets / entry.file)
        logits = 0.3 * stored.source_logits.astype(np.float64)
        shares = np.exp(logits - logits.max(1, keepdims=True))
        shares /= shares.sum(1, keepdims=True)
        malignant = [CLASSES.index(name) for name in MALIGNANT]
        called, ill = shares[:, malignant].sum(1) > 0.25, np.isin(stored.labels, malignant)
        assert entry.comparison.engine_accuracy == np.mean(called == ill)
        assert entry.comparison.engine_malignant.right == int((called & ill).sum())
    texts = {finding.severity: finding.text for finding in result.findings if finding.rule == "class-mapping"}
    assert texts[Severity.NOTE] == "class mapping of the contract: benign is nv, bkl, df, vasc; ill is mel, bcc, akiec"
    assert "robust accuracy may be overstated" in texts[Severity.WARNING]


def test_an_answer_in_a_column_that_is_not_used_is_wrong(workplace: SimpleNamespace) -> None:
    """As many columns as before, but that of nv is called background, and nv is read in that of df."""
    mapping = "".join(f'{name} = ["{name}"]\n' for name in ALPHABETICAL if name not in ("df", "nv"))
    workplace.contract.write_text(
        CONTRACT.replace('"nv"', '"background"') + f'[output.mapping]\n{mapping}df = ["nv", "df"]\nbackground = []\n'
    )
    result = audit_engine(workplace.engine, sets=workplace.sets, contract=workplace.contract, threads=1)
    stored = open_set(workplace.sets / result.sets[0].file)
    named = np.array(CLASSES)[stored.source_logits.argmax(1)]
    truth = np.array(["df" if name == "nv" else name for name in np.array(CLASSES)[stored.labels]])
    assert (named == "nv").any()
    assert result.sets[0].comparison.engine_accuracy == np.mean(np.where(named == "nv", "background", named) == truth)
    assert not any(finding.rule == "class-absent" for finding in result.findings)


def test_a_draft_for_one_column_asks_for_its_class(workplace: SimpleNamespace) -> None:
    contract, notes = draft_contract(binary_model(workplace.engine, workplace.weights))
    assert (contract.classes, contract.positive, contract.answer) == (("class_0", "class_1"), "class_1", "probabilities")
    assert {"classes", "positive", "threshold", "answer"} <= notes.keys()


MAPPED_WRONGLY = BINARY.replace("ill = [", "other = [").replace("benign = [", "ill = [").replace("other = [", "benign = [")


@pytest.mark.parametrize("text", [BINARY.replace('positive = "ill"', 'positive = "benign"'), MAPPED_WRONGLY])
def test_a_wrong_positive_class_or_mapping_is_noticed(workplace: SimpleNamespace, text: str) -> None:
    assert text != BINARY
    binary_model(workplace.engine, workplace.weights)
    workplace.contract.write_text(text)
    result = audit_engine(workplace.engine, sets=workplace.sets, contract=workplace.contract, threads=1)
    assert result.verdict is not Verdict.PASS
    assert "is not above that of always answering" in doubts(result)
    assert "far better with a different order of classes: benign as ill, ill as benign" in doubts(result)


def labelled_model(path: Path, weights: np.ndarray, *, mapped: bool) -> Path:
    """foreign_model as scikit-learn's converter writes one: labels first, then probabilities, by name where `mapped`."""
    model = onnx.load(str(foreign_model(path, weights)))
    model.graph.node.append(helper.make_node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0))
    outputs = [helper.make_tensor_value_info("label", TensorProto.INT64, [4]), model.graph.output[0]]
    if mapped:
        names = {"classlabels_strings": list(ALPHABETICAL)}
        model.graph.node.append(helper.make_node("ZipMap", ["scores"], ["named"], domain="ai.onnx.ml", **names))
        model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
        value = helper.make_map_type_proto(TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
        outputs[1] = helper.make_value_info("named", helper.make_sequence_type_proto(value))
    del model.graph.output[:]
    model.graph.output.extend(outputs)
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize("mapped", [False, True])
def test_of_labels_and_probabilities_the_probabilities_are_read(workplace: SimpleNamespace, mapped: bool) -> None:
    plain = audit(workplace)
    labelled_model(workplace.engine, workplace.weights, mapped=mapped)
    drafted, notes = draft_contract(workplace.engine)
    assert (drafted.output, drafted.positive, drafted.answer) == ("named" if mapped else "scores", None, "probabilities")
    assert notes["answer"].endswith("which are not read: label int64 (4)")
    assert (drafted.classes == ALPHABETICAL) is mapped
    text = CONTRACT.replace("[output]", f'[output]\nname = "{drafted.output}"')
    workplace.contract.write_text(text)
    result = audit_engine(workplace.engine, sets=workplace.sets, contract=workplace.contract, threads=1)
    for entry, plain_entry in zip(result.sets, plain.sets, strict=True):
        assert entry.comparison == plain_entry.comparison
