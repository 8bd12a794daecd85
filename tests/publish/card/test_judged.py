"""The card shows operating points and subgroups of audits, and what of external images is the run's own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from skinaudit.artifacts.files import write_json
from skinaudit.artifacts.manifest import read_run, write_run
from skinaudit.artifacts.operating_point import OperatingPoint
from skinaudit.audit.audit import audit_engine
from skinaudit.audit.figures.external import ExternalResult, Look
from skinaudit.audit.reports.json_ import to_json
from skinaudit.publish.card.judged import images_of_run
from skinaudit.publish.card.model_card import model_card
from skinaudit.publish.run_record import FiledAudit, read_run_record

IMAGES = 420


@pytest.mark.usefixtures("opened")
def test_operating_points_subgroups_and_external_images_are_in_the_card(tmp_path: Path, lab: SimpleNamespace) -> None:
    sexes = ("female", "male", "") * (IMAGES // 3)
    planted = lab.plant(tmp_path / "run", settings={}, images=IMAGES, subgroups={"sex": sexes})
    point = OperatingPoint(0.9, 0.0, 0.95, 0.8, 300, 100)
    write_run(planted.run, replace(read_run(planted.run), operating_points=(point,)))
    result = audit_engine(planted.engine, seed=0)
    write_json(planted.run / "audits" / f"{planted.engine.name}.json", to_json(result))
    card = model_card(read_run_record(planted.run))

    operating = card.partition("### Operating point and probabilities")[2].partition("###")[0]
    assert "if the malignant score is above 0.5. On 400 validation images it reached specificity 95.0%" in operating
    for entry in result.sets:
        assert f"| subject.onnx | {entry.title} | ROC AUC | " in operating
        assert f"| subject.onnx | {entry.title} | sensitivity | " in operating
    subgroups = card.partition("### Subgroups")[2].partition("###")[0]
    assert "Subgroups (2 by sex): none lose clearly more" in subgroups
    female = next(subgroup for subgroup in result.sets[0].subgroups if subgroup.value == "female")
    assert f"| sex female | accuracy | 140 | {female.lesions} | 100.0% | 100.0% |" in subgroups
    assert "| sex male | malignant called malignant | 60 | - | 100.0% | 100.0% |" in subgroups

    look = Look("frame width", 600, 600, 600, 1024, 1.0, True)
    external = ExternalResult("b", "B", "A", 0.95, (), (look,), {"near-copies of images of the run": 7}, {"near-copies": 2})
    filed = FiledAudit(tmp_path, "", replace(result, external=external))
    assert list(images_of_run([filed])) == [
        "- b: 7 near-copies of images of the run were left out when the sets were made",
        f"- **b: 2 of {IMAGES} images are near-copies: no external validation**",
        "- b: the images look different from the training images: frame width 1,024 (training 600)",
    ]
