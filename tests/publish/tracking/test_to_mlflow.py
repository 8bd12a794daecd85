"""Against a real store in a database file."""

from __future__ import annotations

import shutil
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from skinaudit import cli
from skinaudit.errors import InvalidInputError, MissingDependencyError
from skinaudit.publish.run_record import read_run_record
from skinaudit.publish.tracking import to_mlflow
from skinaudit.publish.tracking.entries import Entry, audit_entry, run_entry
from skinaudit.publish.tracking.to_mlflow import log_entries

INSTALLED = all(find_spec(name) for name in ("mlflow", "sqlalchemy", "alembic"))
needs_mlflow = pytest.mark.skipif(not INSTALLED, reason="mlflow is not installed: pip install 'skinaudit[tracking]'")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")


@pytest.fixture
def run(audited_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(audited_run, tmp_path / "tiny"))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """URI of an empty store; its files go beside it."""
    monkeypatch.chdir(tmp_path)
    return f"sqlite:///{tmp_path / 'tracking.db'}"


@pytest.fixture
def entries(run: Path) -> tuple[Entry, ...]:
    record = read_run_record(run)
    return run_entry(record), *map(audit_entry, record.audits)


def stored(uri: str) -> dict[str, Any]:
    """MLflow's runs by name."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    folder = client.get_experiment_by_name("skinaudit")
    assert folder is not None
    runs = client.search_runs([folder.experiment_id])
    by_name = {logged_run.info.run_name: logged_run for logged_run in runs}
    assert len(by_name) == len(runs)
    return by_name


def history(uri: str, run_id: str, key: str) -> list[tuple[int, float]]:
    from mlflow import MlflowClient

    return [(point.step, point.value) for point in MlflowClient(tracking_uri=uri).get_metric_history(run_id, key)]


def files(logged_run: Any) -> set[str]:
    return {path.name for path in Path(logged_run.info.artifact_uri.removeprefix("file://")).iterdir()}


@needs_mlflow
def test_runs_and_audits_arrive_whole_and_linked(entries: tuple[Entry, ...], store: str) -> None:
    location, logged = log_entries(entries, uri=store, experiment="skinaudit")
    assert location == store
    assert [outcome.state for outcome in logged] == ["logged"] * 3
    runs = stored(store)
    trained = runs["tiny"]
    for entry in entries:
        logged_run = runs[entry.name]
        assert logged_run.info.status == "FINISHED"
        assert (logged_run.info.start_time, logged_run.info.end_time) == (entry.started, entry.ended)
        assert logged_run.data.params == entry.params
        assert logged_run.data.metrics == {
            metric.key: metric.value for metric in sorted(entry.metrics, key=lambda value: value.step)
        }
        assert logged_run.data.tags.items() >= {f"skinaudit.{name}": value for name, value in entry.tags.items()}.items()
        assert logged_run.data.tags["mlflow.note.content"] == entry.note
        assert files(logged_run) == set(entry.files)
        if entry.kind == "audit":
            assert logged_run.data.tags["mlflow.parentRunId"] == trained.info.run_id
            assert logged_run.data.tags["skinaudit.weights"] == trained.data.tags["skinaudit.weights"]
    losses = [(metric.step, metric.value) for metric in entries[0].metrics if metric.key == "epoch/loss"]
    assert sorted(history(store, trained.info.run_id, "epoch/loss")) == sorted(losses)
    assert not {"mlflow.user", "mlflow.source.name"} & set(trained.data.tags)


@needs_mlflow
def test_nothing_is_logged_twice(entries: tuple[Entry, ...], store: str) -> None:
    first = log_entries(entries, uri=store, experiment="skinaudit")[1]
    again = log_entries(entries, uri=store, experiment="skinaudit")[1]
    assert [outcome.state for outcome in again] == ["unchanged"] * 3
    assert [outcome.run_id for outcome in again] == [outcome.run_id for outcome in first]
    assert len(stored(store)) == 3


@needs_mlflow
def test_a_changed_run_is_updated_in_its_place(entries: tuple[Entry, ...], run: Path, store: str) -> None:
    (first,) = log_entries(entries[:1], uri=store, experiment="skinaudit")[1]
    (run / "audits" / "fp16.onnx.json").unlink()
    changed = run_entry(read_run_record(run))
    (again,) = log_entries([changed], uri=store, experiment="skinaudit")[1]
    assert (again.state, again.run_id) == ("updated", first.run_id)
    (logged_run,) = stored(store).values()
    card = Path(logged_run.info.artifact_uri.removeprefix("file://")) / "README.md"
    assert card.read_bytes() == changed.files["README.md"]
    assert len(history(store, first.run_id, "epoch/loss")) == 6


@needs_mlflow
def test_an_audit_that_came_first_is_hung_under_its_run_later(entries: tuple[Entry, ...], store: str) -> None:
    log_entries(entries[1:], uri=store, experiment="skinaudit")
    assert not any("mlflow.parentRunId" in value.data.tags for value in stored(store).values())
    (run,) = log_entries(entries[:1], uri=store, experiment="skinaudit")[1]
    parents = {
        logged_run.data.tags.get("mlflow.parentRunId") for name, logged_run in stored(store).items() if name != "tiny"
    }
    assert parents == {run.run_id}


@needs_mlflow
def test_an_audit_of_other_weights_hangs_nowhere(entries: tuple[Entry, ...], store: str) -> None:
    strange = replace(entries[1], weights=None, tags={"verdict": "INCONCLUSIVE"})
    logged = log_entries([entries[0], strange], uri=store, experiment="skinaudit")[1]
    assert logged[1].parent is None
    assert "mlflow.parentRunId" not in stored(store)[strange.name].data.tags


@needs_mlflow
def test_what_was_broken_off_is_completed(entries: tuple[Entry, ...], store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_artifacts", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
        with pytest.raises(InvalidInputError, match="No space left"):
            log_entries(entries[:1], uri=store, experiment="skinaudit")
    (half,) = stored(store).values()
    assert half.info.status == "RUNNING"
    (logged,) = log_entries(entries[:1], uri=store, experiment="skinaudit")[1]
    assert (logged.state, logged.run_id) == ("updated", half.info.run_id)
    (completed,) = stored(store).values()
    assert (completed.info.status, files(completed)) == ("FINISHED", set(entries[0].files))
    assert len(history(store, completed.info.run_id, "epoch/loss")) == 6


@needs_mlflow
def test_long_texts_are_cut(entries: tuple[Entry, ...], store: str) -> None:
    long = replace(entries[1], params={"engine": "x" * 20_000}, tags={"reason": "y" * 20_000}, note="z" * 20_000)
    log_entries([long], uri=store, experiment="skinaudit")
    (logged_run,) = stored(store).values()
    assert len(logged_run.data.params["engine"]) == len(logged_run.data.tags["skinaudit.reason"]) == 5_000


@needs_mlflow
@pytest.mark.parametrize("uri", ["gopher://joe:secret@host", "http://joe:secret@127.0.0.1:9"])
def test_a_store_that_cannot_be_used_is_one_line_without_the_password(
    entries: tuple[Entry, ...], uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(InvalidInputError, match="choose another --tracking-uri") as caught:
        log_entries(entries[:1], uri=uri, experiment="skinaudit")
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


@needs_mlflow
def test_a_deleted_experiment_is_not_written_to(entries: tuple[Entry, ...], store: str) -> None:
    from mlflow import MlflowClient

    log_entries(entries[:1], uri=store, experiment="skinaudit")
    client = MlflowClient(tracking_uri=store)
    folder = client.get_experiment_by_name("skinaudit")
    assert folder is not None
    client.delete_experiment(folder.experiment_id)
    with pytest.raises(InvalidInputError, match="was deleted"):
        log_entries(entries[:1], uri=store, experiment="skinaudit")


@needs_mlflow
def test_the_command(run: Path, store: str) -> None:
    arguments = ["track", str(run), *map(str, sorted((run / "audits").iterdir())), "--tracking-uri", store]
    outcome = CliRunner().invoke(cli.commands, arguments)
    assert outcome.exit_code == 0, outcome.output
    assert [line.split()[0] for line in outcome.stdout.splitlines()] == ["logged", "logged", "logged", "store:"]
    outcome = CliRunner().invoke(cli.commands, arguments)
    assert [line.split()[0] for line in outcome.stdout.splitlines()] == ["unchanged", "unchanged", "unchanged", "store:"]


def test_a_damaged_report_stops_before_anything_is_logged(run: Path, store: str, tmp_path: Path) -> None:
    bad = run / "audits" / "bad.json"
    bad.write_text("{")
    outcome = CliRunner().invoke(cli.commands, ["track", str(run), str(bad), "--tracking-uri", store])
    assert isinstance(outcome.exception, InvalidInputError)
    assert not (tmp_path / "tracking.db").exists()


@pytest.mark.parametrize("absent", ["mlflow", "sqlalchemy", "alembic"])
def test_a_missing_library_is_one_line_with_the_remedy(
    entries: tuple[Entry, ...], store: str, absent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(to_mlflow, "find_spec", lambda name: None if name == absent else object())
    with pytest.raises(MissingDependencyError, match=rf"{absent}.*pip install 'skinaudit\[tracking\]'"):
        log_entries(entries, uri=store, experiment="skinaudit")
