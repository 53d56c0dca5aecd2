"""MLflow mirrors the run records. Files are the truth; a broken tracker never stops a run.

One experiment a study, one parent run a study, one child a run. Training logs live; `sync` fills in from files
whatever is missing, so that it can be called at any time and any number of times.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import sqlite3
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
# A server that does not answer must not hold up a training; MLflow would try for four minutes.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")

from mlflow import MlflowClient
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    Metric,
    Param,
    Run,
    RunTag,
)

from lookalike.core.files import digest, read_json
from lookalike.core.locks import locked
from lookalike.core.processes import is_alive, this_process
from lookalike.core.provenance import environment
from lookalike.core.tables import read_csv
from lookalike.study.plan import Plan, RunSpec
from lookalike.tracking.record import run_uid
from lookalike.tracking.spool import database_of, read_spool, tracking_uri

log = logging.getLogger(__name__)
BATCH = 1000  # metrics MLflow takes at once
KEYS = ("dataset", "size", "model", "mode", "evaluation_set", "seed")  # of metrics.csv; its other columns are metrics


class Mirror:
    """A study in MLflow: client, experiment and parent run, created where they are missing.

    Args:
        plan: The study.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        folder = plan.root / "tracking"
        self._lock = folder / ".lock"
        with locked(self._lock):  # MLflow creates its tables without a lock of its own
            uri = tracking_uri(plan)
            self.client = MlflowClient(tracking_uri=uri, registry_uri=uri)
            experiment = self.client.get_experiment_by_name(plan.name)
            artifacts = (folder / "artifacts" / plan.name).resolve().as_uri()
            if experiment is not None and experiment.lifecycle_stage == "deleted":  # by somebody, on MLflow's page
                self.client.restore_experiment(experiment.experiment_id)
            ours = uri == f"sqlite:///{database_of(plan)}"
            if experiment is not None and ours and experiment.artifact_location != artifacts:
                _move_artifacts(database_of(plan), experiment.artifact_location, artifacts)
            self.experiment: str = (
                experiment.experiment_id
                if experiment
                else self.client.create_experiment(plan.name, artifacts if uri.startswith("sqlite") else None)
            )
            parents = self._search("tags.`lookalike.kind` = 'study'")
            self.parent: str = (
                parents[0].info.run_id
                if parents
                else self._create(plan.heading, {"lookalike.kind": "study", "lookalike.study": plan.name}).info.run_id
            )

    def _create(self, name: str, tags: dict[str, str], started: float | None = None) -> Run:
        milliseconds = int((started or time.time()) * 1000)
        return self.client.create_run(self.experiment, milliseconds, {"mlflow.runName": name, **tags})

    def _search(self, condition: str = "") -> list[Run]:
        runs: list[Run] = []
        token = None
        while True:
            page = self.client.search_runs([self.experiment], condition, max_results=1000, page_token=token)
            runs += page
            token = page.token
            if not token:
                return runs

    def child(self, run: RunSpec, started: float, process: str) -> str:
        """MLflow's id of a run that started then; created, with its parameters, where it is missing.

        Args:
            run: The run.
            started: Seconds since 1970 at the first start.
            process: Name of the process that trains it, as `this_process` gives it.
        """
        with locked(self._lock):  # of several that look and find none, one creates it
            return self._child(run, started, process)

    def _child(self, run: RunSpec, started: float, process: str) -> str:
        uid = run_uid(self.plan, run, started)
        runs = self._search(f"tags.`lookalike.uid` = '{uid}'")
        if runs:
            run_id = str(runs[0].info.run_id)
            if runs[0].info.status != "FINISHED":  # resumed: alive again, in another process
                self.client.set_tag(run_id, "lookalike.process", process)
                self.client.update_run(run_id, status="RUNNING")
            return run_id
        origin = environment()
        tags = {
            "mlflow.parentRunId": self.parent,
            "lookalike.kind": "run",
            "lookalike.study": self.plan.name,
            "lookalike.run": run.id,
            "lookalike.uid": uid,
            "lookalike.process": process,
            "dataset": run.dataset,
            "model": run.model,
            "size": run.size,
            "seed": str(run.seed),
            "git.commit": str(origin["git"]["commit"]),
            "git.dirty": str(origin["git"]["dirty"]),
            "lock.hash": str(origin["lock"]),
        }
        run_id = str(self._create(run.id, tags, started).info.run_id)
        parameters = [
            Param(key, value[:6000])
            for key, value in flatten(self.plan.settings_of(run).model_dump(mode="json")).items()
        ]
        self.client.log_batch(run_id, params=parameters[:100])
        self._log_data(run, run_id)
        return run_id

    def _log_data(self, run: RunSpec, run_id: str) -> None:
        path = self.plan.data_folder(run.dataset) / "manifest.json"
        if not path.exists():  # a study from another machine
            return
        manifest = read_json(path)
        files_hash = digest(manifest["files"])
        self.client.set_tag(run_id, "data.hash", files_hash)
        data = Dataset(
            run.dataset, files_hash, "local", str(self.plan.data_folder(run.dataset)), profile=str(manifest["images"])
        )
        self.client.log_inputs(run_id, [DatasetInput(data, [InputTag("mlflow.data.context", "training")])])

    def log_history(self, run_id: str, rows: Sequence[Mapping[Any, Any]], started: float) -> None:
        """Log the epochs that are not there yet; time stamps follow from the epoch, so that repeats are equal."""
        logged = {metric.step for metric in self.client.get_metric_history(run_id, "train/loss")}
        metrics = [
            Metric(f"train/{key}", float(row[key]), int(started * 1000) + int(row["epoch"]), int(row["epoch"]))
            for row in rows
            if int(row["epoch"]) not in logged
            for key in ("loss", "accuracy", "lr")
        ]
        for start in range(0, len(metrics), BATCH):
            self.client.log_batch(run_id, metrics=metrics[start : start + BATCH])

    def sync(self) -> dict[str, int]:
        """Bring MLflow up to date with the files of the study.

        Returns:
            Counts of runs mirrored anew, already up to date, still running, and marked killed.
        """
        counts = {"mirrored": 0, "up_to_date": 0, "running": 0, "killed": 0}
        metrics = _final_metrics(self.plan)
        current: dict[str, str] = {}
        counts["running"] = sum(self._sync_spool(run) for run in self.plan.runs())
        children = {run.data.tags["lookalike.uid"]: run for run in self._search("tags.`lookalike.kind` = 'run'")}
        for run in self.plan.runs():
            path = run.record
            if not path.exists():
                continue
            record = read_json(path)
            current[run.id] = record["uid"]
            state = digest([record, metrics.get(run.id)])
            child = children.get(record["uid"])
            if child is not None and child.data.tags.get("lookalike.synced") == state:
                counts["up_to_date"] += 1
                continue
            self._sync_run(run, record, metrics.get(run.id, {}), state)
            counts["mirrored"] += 1
        for uid, child in children.items():
            if child.data.tags.get("mlflow.parentRunId") != self.parent:  # which was deleted on MLflow's page
                self.client.set_tag(child.info.run_id, "mlflow.parentRunId", self.parent)
            name = child.data.tags.get("lookalike.run", "")
            if current.get(name) == uid:
                continue
            if name in current and child.data.tags.get("lookalike.superseded") != "true":
                self.client.set_tag(child.info.run_id, "lookalike.superseded", "true")
            if child.info.status == "RUNNING" and not is_alive(child.data.tags.get("lookalike.process", "")):
                self.client.set_terminated(child.info.run_id, "KILLED")
                counts["killed"] += 1
        self._sync_study()
        return counts

    def _sync_spool(self, run: RunSpec) -> bool:
        """Import what a run that has not finished left so far; whether it still runs."""
        spooled = read_spool(run)
        if spooled is None:
            return False
        self.log_history(self.child(run, spooled.started, spooled.process), spooled.history, spooled.started)
        return is_alive(spooled.process)

    def _sync_run(self, run: RunSpec, record: dict[str, Any], final: dict[str, float], state: str) -> None:
        run_id = self.child(run, record["started"], this_process())
        history = run.history
        if history.exists():
            self.log_history(run_id, read_csv(history).to_dict("records"), record["started"])
        stamp = int((record["started"] + record["seconds"]) * 1000)
        logged = [Metric(key, value, stamp, 0) for key, value in {**final, "seconds": record["seconds"]}.items()]
        tags = {
            "git.commit": str(record["git"]["commit"]),
            "git.dirty": str(record["git"]["dirty"]),
            "lock.hash": str(record["lock"]),
            "data.hash": record["data"]["hash"],
            "device": record["device"],
            "lookalike.synced": state,
        }
        for start in range(0, len(logged), BATCH):
            self.client.log_batch(run_id, metrics=logged[start : start + BATCH])
        self.client.log_artifact(run_id, str(run.record))
        self.client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])
        self.client.set_terminated(run_id, "FINISHED", end_time=stamp)

    def _sync_study(self) -> None:
        for folder, pattern in (("figures", "*.png"), ("figures", "*.svg"), ("tables", "*.csv")):
            for path in sorted((self.plan.folder / folder).glob(pattern)):
                self.client.log_artifact(self.parent, str(path), folder)
        self.client.set_terminated(self.parent, "FINISHED")


def _move_artifacts(database: Path, before: str, now: str) -> None:
    """Let a study's artifacts lie below another folder: MLflow keeps whole addresses, and a checkout may be moved."""
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE experiments SET artifact_location = ? WHERE artifact_location = ?", (now, before))
        connection.execute(
            "UPDATE runs SET artifact_uri = ? || substr(artifact_uri, ?) WHERE artifact_uri LIKE ? || '/%'",
            (now, len(before) + 1, before),
        )


def _final_metrics(plan: Plan) -> dict[str, dict[str, float]]:
    """Run id -> `test/full/accuracy` and so on, from the collected metrics."""
    path = plan.folder / "tables" / "metrics.csv"
    if not path.exists():
        return {}
    finals: dict[str, dict[str, float]] = {}
    for row in read_csv(path, dtype={"size": str}).to_dict("records"):
        key = {name: row.pop(name) for name in KEYS}
        run = f"{key['dataset']}/{key['model']}/{key['size']}/seed{key['seed']}"
        for metric, value in row.items():
            if not math.isnan(value):
                finals.setdefault(run, {})[f"{key['evaluation_set']}/{key['mode']}/{metric}"] = float(value)
    return finals


def flatten(settings: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as `training.lr` -> text."""
    flat: dict[str, str] = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = str(value)
    return flat
