"""MLflow mirrors the files, survives kills and races, and never fails a run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.studies import run_stage
from typer.testing import CliRunner

from lookalike.cli.main import app
from lookalike.study.plan import Plan
from lookalike.tracking.live import LiveTracker
from lookalike.tracking.mlflow_mirror import Mirror


@pytest.mark.long
def test_many_processes_at_once_on_a_fresh_directory(tiny: Plan) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "lookalike", "init-tracking", str(tiny.path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(4)
    ]
    printed = [process.communicate()[0] for process in processes]
    assert all(process.returncode == 0 for process in processes)
    assert all("experiment tiny" in text and "unavailable" not in text for text in printed), printed
    mirror = Mirror(tiny)
    assert len(mirror._search("tags.`lookalike.kind` = 'study'")) == 1


EIGHT = """
import os, sys
from pathlib import Path
from lookalike.core.processes import this_process
from lookalike.study.plan import Plan
from lookalike.tracking.mlflow_mirror import Mirror

def log(number):
    plan, started = Plan.read(Path(sys.argv[1])), float(number)
    mirror = Mirror(plan)
    run_id = mirror.child(plan.run("digits/fc/100/seed0"), started, this_process())
    rows = [{"epoch": n, "loss": 1.0, "accuracy": 0.5, "lr": 0.1} for n in range(1, 51)]
    for last in range(10, 51, 10):
        mirror.log_history(run_id, rows[:last], started)

children = []
for number in range(1, 9):  # forked, so that all begin at once
    children.append(os.fork())
    if children[-1] == 0:
        log(number)
        os._exit(0)
sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
"""


def test_eight_processes_log_to_fresh_tracking_at_once(tiny: Plan) -> None:
    done = subprocess.run([sys.executable, "-c", EIGHT, str(tiny.path)], stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr
    mirror = Mirror(tiny)
    runs = mirror._search("tags.`lookalike.kind` = 'run'")
    assert len(runs) == 8
    assert len(mirror._search("tags.`lookalike.kind` = 'study'")) == 1
    for child in runs:
        for metric in ("train/loss", "train/accuracy", "train/lr"):
            history = mirror.client.get_metric_history(child.info.run_id, metric)
            assert sorted(point.step for point in history) == list(range(1, 51))


def test_sync_is_complete_and_idempotent(tiny: Plan) -> None:
    run = tiny.run("digits/fc/100/seed0")
    run_stage(tiny, "train", run)
    mirror = Mirror(tiny)
    assert mirror.sync() == {"mirrored": 1, "up_to_date": 0, "running": 0, "killed": 0}
    assert mirror.sync() == {"mirrored": 0, "up_to_date": 1, "running": 0, "killed": 0}
    (child,) = mirror._search("tags.`lookalike.kind` = 'run'")
    record = json.loads(run.record.read_text())
    assert child.info.status == "FINISHED"
    assert child.data.tags["mlflow.parentRunId"] == mirror.parent
    assert child.data.tags["git.commit"] == str(record["git"]["commit"])
    assert child.data.tags["data.hash"] == record["data"]["hash"]
    assert child.data.tags["seed"] == "0"
    assert child.data.params["training.lr"] == "0.1"
    assert [data.dataset.name for data in child.inputs.dataset_inputs] == ["digits"]
    history = mirror.client.get_metric_history(child.info.run_id, "train/loss")
    assert [metric.step for metric in history] == [1, 2]
    assert [file.path for file in mirror.client.list_artifacts(child.info.run_id)] == ["run.json"]

    run_stage(tiny, "train", run)  # again: another run of the same name, the first one superseded
    assert mirror.sync()["mirrored"] == 1
    runs = mirror._search("tags.`lookalike.kind` = 'run'")
    assert sorted(run.data.tags.get("lookalike.superseded", "") for run in runs) == ["", "true"]


def test_killed_runs_are_reconciled(tiny: Plan) -> None:
    code = (
        "import sys, os, signal\nfrom pathlib import Path\nfrom lookalike.study.plan import Plan\n"
        "from lookalike.core.processes import this_process\nfrom lookalike.tracking.mlflow_mirror import Mirror\n"
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
def test_broken_tracker_fails_nothing(tiny: Plan, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setattr("lookalike.tracking.live.FLUSH_SECONDS", 0.0)
    run, cli = tiny.run("digits/fc/100/seed0"), CliRunner()
    for verb in ("init-tracking", "sync-tracking"):
        done = cli.invoke(app, [verb, str(tiny.path)])
        assert done.exit_code == 0
        assert "MLflow is unavailable" in done.stderr
    done = cli.invoke(app, ["train", "--no-progress", str(tiny.path), run.id])
    assert done.exit_code == 0, done.stderr
    assert run.record.exists()
    assert f"tracking is off for {run.id}" in run.log("train").read_text()


def test_live_tracking_logs_epochs_and_gives_up_at_the_first_error(tiny: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lookalike.tracking.live.FLUSH_SECONDS", 0.0)
    run = tiny.run("digits/fc/100/seed0")
    run_stage(tiny, "train", run, on_epoch=LiveTracker(tiny, run))
    mirror = Mirror(tiny)
    (child,) = mirror._search("tags.`lookalike.kind` = 'run'")
    assert [m.step for m in mirror.client.get_metric_history(child.info.run_id, "train/loss")] == [1, 2]
    assert mirror.sync()["mirrored"] == 1
    assert len(mirror.client.get_metric_history(child.info.run_id, "train/loss")) == 2
    (child,) = mirror._search("tags.`lookalike.kind` = 'run'")
    assert child.info.status == "FINISHED"

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////proc/none/mlflow.db")
    broken = LiveTracker(tiny, run)
    run_stage(tiny, "train", run, on_epoch=broken)
    assert broken.broken


def test_tracking_database_is_below_results(tiny: Plan) -> None:
    Mirror(tiny)
    assert (tiny.root / "tracking" / "mlflow.db").exists()
    assert not Path("mlflow.db").exists()


SYNC = """
import os, sys
from pathlib import Path
from lookalike.study.plan import Plan
from lookalike.tracking.mlflow_mirror import Mirror

children = []
for _ in range(8):  # forked, so that all begin at once
    children.append(os.fork())
    if children[-1] == 0:
        Mirror(Plan.read(Path(sys.argv[1]))).sync()
        os._exit(0)
sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
"""


@pytest.mark.long
def test_eight_syncs_at_once_make_each_run_once(tiny: Plan) -> None:
    for name in ("fc", "nw"):
        run_stage(tiny, "train", tiny.run(f"digits/{name}/100/seed0"))
    done = subprocess.run([sys.executable, "-c", SYNC, str(tiny.path)], stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr
    assert len(Mirror(tiny)._search("tags.`lookalike.kind` = 'run'")) == 2


def test_a_moved_checkout_and_what_was_deleted_on_the_page(tiny: Plan, tmp_path: Path) -> None:
    """Artifacts go where the checkout is now; children follow a new parent; a deleted experiment comes back."""
    run_stage(tiny, "train", tiny.run("digits/fc/100/seed0"))
    mirror = Mirror(tiny)
    mirror.sync()
    mirror.client.delete_run(mirror.parent)
    moved = tiny.model_copy(update={"root": tmp_path / "moved"})
    tiny.root.rename(moved.root)
    again = Mirror(moved)
    again.sync()
    (child,) = again._search("tags.`lookalike.kind` = 'run'")
    assert child.data.tags["mlflow.parentRunId"] == again.parent != mirror.parent
    assert child.info.artifact_uri.startswith(moved.root.resolve().as_uri())
    downloaded = again.client.download_artifacts(child.info.run_id, "run.json")
    assert Path(downloaded).read_bytes() == moved.run("digits/fc/100/seed0").record.read_bytes()
    assert not tiny.root.exists()
    again.client.delete_experiment(again.experiment)
    assert Mirror(moved).sync()["up_to_date"] == 1


def test_no_password_of_a_tracker_is_kept(tiny: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:secret@127.0.0.1:9/db")
    run_stage(tiny, "sync_tracking")
    kept = "".join(path.read_text(errors="replace") for path in tiny.root.rglob("*.json"))
    assert "unavailable" in kept
    assert "secret" not in kept
