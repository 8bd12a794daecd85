"""Sends entries to an MLflow store: a server, or a local database file. Nothing else is sent."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from skinaudit.errors import InvalidInputError, missing
from skinaudit.publish.tracking.entries import Entry

if TYPE_CHECKING:
    from mlflow import MlflowClient

_PREFIX = "skinaudit."
_KEY, _CONTENT, _KIND, _WEIGHTS = (f"{_PREFIX}{name}" for name in ("key", "content", "kind", "weights"))
_PARENT, _NOTE = "mlflow.parentRunId", "mlflow.note.content"
_LONGEST = 5_000  # characters of a parameter or a tag; stores allow 6,000 and 8,000
_BATCH = 100  # of each kind per call, as many as stores allow
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_QUIET = {
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
}
"""Environment of MLflow unless the user set it: no chatter, no silent retries that take minutes."""

State = Literal["logged", "updated", "unchanged"]


@dataclass(frozen=True)
class Logged:
    """What happened to an entry. run_id: MLflow's. parent: run_id of the training run to which an audit belongs."""

    entry: Entry
    state: State
    run_id: str
    parent: str | None


def log_entries(entries: Sequence[Entry], *, uri: str | None, experiment: str) -> tuple[str, tuple[Logged, ...]]:
    """Log the entries, runs before audits. Return the store's URI without credentials, and what happened to each entry.

    uri: of the store; None takes MLflow's own choice, MLFLOW_TRACKING_URI or a database file in this folder. An entry
    with the same key and content is left as it is. An entry whose content has changed is updated. An interrupted entry
    is completed. Audits are nested under the run with their weights, whichever was logged first. Raises
    MissingDependencyError without MLflow, InvalidInputError if the store cannot be used.
    """
    _check_installed(uri)
    with _mlflow(uri) as (client, where):
        folder = _experiment(client, experiment)
        ordered = sorted(entries, key=lambda entry: entry.kind != "run")
        return where, tuple(_log(client, folder, entry) for entry in ordered)


def _log(client: MlflowClient, experiment: str, entry: Entry) -> Logged:
    parent = None
    if entry.kind == "audit" and entry.weights is not None:
        parent = next(
            (parent_run.info.run_id for parent_run in _matching_runs(client, experiment, _KEY, entry.weights)), None
        )
    existing = next(iter(_matching_runs(client, experiment, _KEY, entry.key)), None)
    tags = {_KEY: entry.key, _KIND: entry.kind, **({} if parent is None else {_PARENT: parent})}
    if existing is not None and existing.data.tags.get(_CONTENT) == entry.content:
        if parent is not None and existing.data.tags.get(_PARENT) != parent:
            client.set_tag(existing.info.run_id, _PARENT, parent)
        return Logged(entry, "unchanged", existing.info.run_id, parent)
    run = existing or client.create_run(experiment, start_time=entry.started, tags=tags, run_name=entry.name)
    run_id: str = run.info.run_id
    tags |= {f"{_PREFIX}{name}": value for name, value in entry.tags.items()} | {_NOTE: entry.note}
    _send(client, run_id, entry, tags, existing=existing)
    if entry.kind == "run":
        for audit in _matching_runs(client, experiment, _WEIGHTS, entry.key):
            if audit.data.tags.get(_KIND) == "audit":
                client.set_tag(audit.info.run_id, _PARENT, run_id)
    client.set_terminated(run_id, "FINISHED", entry.ended)
    client.set_tag(run_id, _CONTENT, entry.content)  # last: an entry without it counts as interrupted
    return Logged(entry, "logged" if existing is None else "updated", run_id, parent)


def _send(client: MlflowClient, run_id: str, entry: Entry, tags: Mapping[str, str], *, existing: Any) -> None:
    """Send the figures and parameters that the store lacks, and all tags and files."""
    from mlflow.entities import Metric, Param, RunTag

    logged_params = {} if existing is None else existing.data.params
    params = [Param(name, value[:_LONGEST]) for name, value in entry.params.items() if name not in logged_params]
    past = set[tuple[str, int, float]]()
    for key in () if existing is None else sorted({metric.key for metric in entry.metrics}):
        past |= {(key, logged.step, logged.value) for logged in client.get_metric_history(run_id, key)}
    figures = [metric for metric in entry.metrics if (metric.key, metric.step, metric.value) not in past]
    metrics = [Metric(metric.key, metric.value, metric.time, metric.step) for metric in figures]
    labels = [RunTag(name, value[:_LONGEST]) for name, value in tags.items()]
    for start in range(0, max(map(len, (params, labels, metrics))), _BATCH):
        part = slice(start, start + _BATCH)
        client.log_batch(run_id, metrics=metrics[part], params=params[part], tags=labels[part])
    with tempfile.TemporaryDirectory() as folder:
        for name, content in entry.files.items():
            (Path(folder) / name).write_bytes(content)
        client.log_artifacts(run_id, folder)


def _matching_runs(client: MlflowClient, experiment: str, tag: str, value: str) -> Sequence[Any]:
    quoted = value.replace("'", "")
    runs: Sequence[Any] = client.search_runs([experiment], f"tags.`{tag}` = '{quoted}'", max_results=1000)
    return runs


def _experiment(client: MlflowClient, name: str) -> str:
    existing = client.get_experiment_by_name(name)
    if existing is None:
        created: str = client.create_experiment(name)
        return created
    if existing.lifecycle_stage != "active":
        raise InvalidInputError(f"--experiment {name}: was deleted in this store; restore it there or choose another")
    number: str = existing.experiment_id
    return number


def _check_installed(uri: str | None) -> None:
    if find_spec("mlflow") is None:
        raise missing("mlflow", "tracking", "logging to MLflow")
    scheme = urlsplit(uri or os.environ.get("MLFLOW_TRACKING_URI", "") or "sqlite:").scheme.split("+")[0]
    if scheme in _DATABASES:
        for library in ("sqlalchemy", "alembic"):
            if find_spec(library) is None:
                raise missing(library, "tracking", f"an MLflow store in {scheme}")


@contextmanager
def _mlflow(uri: str | None) -> Iterator[tuple[MlflowClient, str]]:
    """A client, and the store's URI for people. Any failure becomes one line that names the store."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings from MLflow's own dependencies
        from mlflow import MlflowClient, get_tracking_uri
        from mlflow.exceptions import MlflowException

        where = _without_credentials(uri or get_tracking_uri())
        try:
            yield MlflowClient(tracking_uri=uri), where
        except (MlflowException, OSError) as error:
            reason = shorten(str(error).replace(uri or where, where), 220, placeholder=" ...")
            raise InvalidInputError(f"{where}: {reason}; choose another --tracking-uri or start its server") from error


def _without_credentials(uri: str) -> str:
    parts = urlsplit(uri)
    return uri if "@" not in parts.netloc else parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
