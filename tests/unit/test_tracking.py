"""MLflow mirrors the files, survives kills and races, and never fails a run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lookalike.plan import Plan
from lookalike.tracking.mlflow_mirror import Mirror
from lookalike.training.train import train


def cli(plan: Plan, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "lookalike", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})


def test_many_processes_at_once_on_a_fresh_directory(tiny: Plan) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "lookalike", "init-tracking", str(tiny.path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(6)
    ]
    said = [process.communicate()[0] for process in processes]
    assert all(process.returncode == 0 for process in processes)
    assert all("experiment tiny" in text and "unavailable" not in text for text in said), said
    mirror = Mirror(tiny)
    assert len(mirror._search("tags.`lookalike.kind` = 'study'")) == 1


def test_sync_is_complete_and_idempotent(tiny: Plan) -> None:
    run = tiny.run("digits/fc/100/seed0")
    train(run)
    mirror = Mirror(tiny)
    assert mirror.sync() == {"mirrored": 1, "up_to_date": 0, "running": 0, "killed": 0}
    assert mirror.sync() == {"mirrored": 0, "up_to_date": 1, "running": 0, "killed": 0}
    (found,) = mirror._search("tags.`lookalike.kind` = 'run'")
    record = json.loads((run.folder / "run.json").read_text())
    assert found.info.status == "FINISHED"
    assert found.data.tags["mlflow.parentRunId"] == mirror.parent
    assert found.data.tags["git.commit"] == str(record["git"]["commit"])
    assert found.data.tags["data.hash"] == record["data"]["hash"]
    assert found.data.tags["seed"] == "0"
    assert found.data.params["training.lr"] == "0.1"
    assert [data.dataset.name for data in found.inputs.dataset_inputs] == ["digits"]
    history = mirror.client.get_metric_history(found.info.run_id, "train/loss")
    assert [metric.step for metric in history] == [1, 2]
    assert [file.path for file in mirror.client.list_artifacts(found.info.run_id)] == ["run.json"]

    train(run)  # again: another run of the same name, the first one superseded
    assert mirror.sync()["mirrored"] == 1
    runs = mirror._search("tags.`lookalike.kind` = 'run'")
    assert sorted(run.data.tags.get("lookalike.superseded", "") for run in runs) == ["", "true"]


def test_killed_runs_are_reconciled(tiny: Plan) -> None:
    code = (
        "import sys, os, signal\nfrom pathlib import Path\nfrom lookalike.plan import Plan\n"
        "from lookalike.activity import this_process\nfrom lookalike.tracking.mlflow_mirror import Mirror\n"
        "plan = Plan.read(Path(sys.argv[1]))\n"
        "Mirror(plan).child(plan.run('digits/fc/100/seed0'), 1.0, this_process())\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tiny.path)]).returncode == -9
    mirror = Mirror(tiny)
    assert [run.info.status for run in mirror._search("tags.`lookalike.kind` = 'run'")] == ["RUNNING"]
    assert mirror.sync()["killed"] == 1
    assert [run.info.status for run in mirror._search("tags.`lookalike.kind` = 'run'")] == ["KILLED"]


@pytest.mark.parametrize("uri", ["sqlite:////proc/none/mlflow.db", "http://127.0.0.1:9"])
def test_broken_tracker_fails_nothing(tiny: Plan, uri: str) -> None:
    fast = {"MLFLOW_TRACKING_URI": uri}
    for verb in ("init-tracking", "sync-tracking"):
        done = cli(tiny, verb, str(tiny.path), **fast)
        assert done.returncode == 0
        assert "MLflow is unavailable" in done.stderr
    done = cli(tiny, "train", "--no-progress", str(tiny.path), "digits/fc/100/seed0", **fast)
    assert done.returncode == 0, done.stderr
    assert (tiny.run("digits/fc/100/seed0").folder / "run.json").exists()


def test_live_tracking_logs_epochs_and_gives_up_at_the_first_error(tiny: Plan, monkeypatch) -> None:
    from lookalike.tracking import live

    monkeypatch.setattr(live, "FLUSH_SECONDS", 0.0)
    run = tiny.run("digits/fc/100/seed0")
    tracker = live.LiveTracker(run)
    train(run, tracker)
    mirror = Mirror(tiny)
    (found,) = mirror._search("tags.`lookalike.kind` = 'run'")
    assert [m.step for m in mirror.client.get_metric_history(found.info.run_id, "train/loss")] == [1, 2]
    assert mirror.sync()["mirrored"] == 1
    assert len(mirror.client.get_metric_history(found.info.run_id, "train/loss")) == 2
    (found,) = mirror._search("tags.`lookalike.kind` = 'run'")
    assert found.info.status == "FINISHED"

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////proc/none/mlflow.db")
    broken = live.LiveTracker(run)
    train(run, broken)
    assert broken.broken


def test_tracking_database_is_below_results(tiny: Plan) -> None:
    Mirror(tiny)
    assert (tiny.root / "tracking" / "mlflow.db").exists()
    assert not Path("mlflow.db").exists()
