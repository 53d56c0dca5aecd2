"""The workflow on a real SLURM: same bytes as here, whatever is done to its jobs."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from helpers.checkout import STUDY, TRAINING, Checkout
from helpers.slurm import restart

from lookalike.study.plan import Plan
from lookalike.tracking.mlflow_mirror import Mirror

# As `make reproduce PROFILE=profiles/slurm`.
SNAKEMAKE = (sys.executable, "-m", "snakemake", "--workflow-profile", "profiles/slurm", "--config", "study=study.yaml")
FAST = ("--latency-wait", "5", "--slurm-init-seconds-before-status-checks", "5")
TABLES = ("accuracy", "calibration", "per_class", "comparison", "metrics")
LIMIT = 1800.0  # seconds after which a test gives up; it waits for states, however slow the machine is
QUICK = {stage: {"runtime": 30} for stage in ("train", "embed", "evaluate", "explain")}


class Cluster(Checkout):
    """A checkout whose studies run on SLURM, and beside it here."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.started: list[subprocess.Popen] = []

    def on_slurm(self, *arguments: str) -> subprocess.Popen:
        """Start the workflow on SLURM, as a user would."""
        with open(self.folder / "slurm.log", "ab") as log:
            process = subprocess.Popen(
                [*SNAKEMAKE, *FAST, *arguments],
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.started.append(process)
        return process

    @property
    def output(self) -> str:
        """All that the workflow printed on SLURM so far."""
        return (self.folder / "slurm.log").read_text()

    def tables(self, study: str) -> dict[str, bytes]:
        folder = self.folder / "results" / study / "tables"
        return {name: (folder / f"{name}.csv").read_bytes() for name in TABLES}

    def beside(self, study: dict, *targets: str) -> "Cluster":
        """A checkout beside, in which the same study was run without SLURM."""
        folder = self.folder.parent / f"{self.folder.name}-here-{study['name']}"
        folder.mkdir()
        here = Cluster(folder)
        here.write(study)
        done = here.snakemake(*targets)
        assert done.returncode == 0, done.stdout + done.stderr
        return here

    def tables_from_here(self, study: dict) -> dict[str, bytes]:
        """The tables of the same study made without SLURM."""
        return self.beside(study, "tables").tables(study["name"])

    def record(self, study: str, run: str) -> dict:
        return json.loads((self.folder / "results" / study / run / "run.json").read_text())

    def log(self, study: str, run: str) -> str:
        path = self.folder / "results" / study / run / "logs" / "train.log"
        return path.read_text() if path.exists() else ""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    copy = Cluster(tmp_path_factory.mktemp("cluster"))
    yield copy
    for process in copy.started:
        process.kill()


def until(what: str, condition: Callable[[], object], seconds: float = LIMIT) -> object:
    """Wait for something to hold."""
    deadline = time.monotonic() + seconds
    while not (state := condition()):
        assert time.monotonic() < deadline, f"gave up waiting for {what}"
        time.sleep(0.2)
    return state


def squeue(*fields: str) -> list[list[str]]:
    done = subprocess.run(["squeue", "-h", "-o", "|".join(fields)], capture_output=True, text=True, check=True)
    return [line.strip().split("|") for line in done.stdout.splitlines()]


def job_of(rule: str, wildcards: str) -> str:
    """The running SLURM job of a rule's wildcards; empty where there is none."""
    jobs = [row[0] for row in squeue("%A", "%k", "%T") if row[1].strip() == f"rule_{rule}_wildcards_{wildcards}"]
    return jobs[0] if jobs else ""


def training_jobs() -> list[dict[str, str]]:
    """All training jobs that SLURM remembers: node and GPUs."""
    text = subprocess.run(["scontrol", "-o", "show", "jobs"], capture_output=True, text=True, check=True).stdout
    jobs = [dict(re.findall(r"(\w+)=(\S*)", line)) for line in text.splitlines()]
    return [job for job in jobs if job.get("Comment", "").startswith("rule_train")]


EPOCHS = 80
LONG = {"method": "fc", "training": {**TRAINING, "epochs": EPOCHS, "lr": 0.01, "checkpoint_seconds": 2}}
INCIDENTS = {
    **STUDY,
    "name": "incidents",
    "train_sizes": ["all"],
    "seeds": [0, 1, 2],
    "models": {"long": LONG},
    "resources": {**QUICK, "train": {"runtime": 240}},
}


def epochs(log: str) -> list[int]:
    """The epochs that a training's log tells of, in order."""
    return [int(number) for number in re.findall(rf"epoch (\d+)/{EPOCHS} ", log)]


def process_of(attempt: str) -> int:
    """The number of the process of an attempt, whose log begins with it."""
    return int(re.match(r"\S+:(\d+)@", attempt)[1])  # type: ignore[index]


def is_asked_to_end(process: int) -> bool:
    """Whether a SIGTERM waits for a process that stands still, or ended it: SLURM wakes what it sends signals to."""
    try:
        pending = re.search(r"ShdPnd:\s*(\w+)", Path(f"/proc/{process}/status").read_text())
    except FileNotFoundError:
        return True
    return pending is not None and bool(int(pending[1], 16) >> (signal.SIGTERM - 1) & 1)


def test_whatever_is_done_to_jobs_the_bytes_are_the_same(cluster: Cluster) -> None:
    """SIGKILL of the controller, then scancel, requeue and a time limit, all in the middle of trainings."""
    cluster.write(INCIDENTS)
    runs = [f"digits/long/all/seed{seed}" for seed in INCIDENTS["seeds"]]

    def all_trained(attempts: int) -> bool:
        """Whether each run has some epochs behind it in its attempt of that number, and stands still since.

        However fast the machine, none ends before the incident that waits for it; SLURM wakes what it cancels.
        """
        logs = [re.split("started: ", cluster.log("incidents", run)) for run in runs]
        trained = [log for log in logs if len(log) == attempts + 1 and len(epochs(log[-1])) >= 8]
        for log in trained:
            with suppress(ProcessLookupError):
                os.kill(process_of(log[-1]), signal.SIGSTOP)
        return len(trained) == len(runs)

    weights = [f"results/incidents/{run}/model.safetensors" for run in runs]
    first = cluster.on_slurm(*weights)
    # Profile as it is: a GPU each, on both nodes, since a node has two.
    until("three trainings in their midst", lambda: all_trained(1))
    jobs = training_jobs()
    assert {job["NodeList"] for job in jobs} == {"node1", "node2"}
    assert all("gres/gpu=1" in job["TRES"] for job in jobs)
    assert "asked for 4:00:00, partition main has 1:00:00: shortened" in cluster.output
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    left = squeue("%A", "%k")
    assert len(left) == 3, left
    plan = Plan.read(cluster.folder / "results" / "incidents" / "plan.json")
    subprocess.run([sys.executable, "-m", "lookalike", "sync-tracking", str(plan.path)], check=True, cwd=cluster.folder)
    seen = Mirror(plan)._search("tags.`lookalike.kind` = 'run'")
    assert [run.info.status for run in seen] == ["RUNNING"] * 3  # they are: their metrics show before they end
    assert all(run.data.metrics["train/loss"] > 0 for run in seen)

    second = cluster.on_slurm(*weights)
    until("the second controller's trainings", lambda: all_trained(2))
    assert "cancelled 3 jobs of a controller that was killed; starting over" in cluster.output
    assert not {row[0] for row in left} & {row[0] for row in squeue("%A")}
    cancelled, requeued, limited = (job_of("train", f"digits_long_all_{seed}") for seed in INCIDENTS["seeds"])
    subprocess.run(["scancel", cancelled], check=True)
    subprocess.run(["scontrol", "requeue", requeued], check=True)
    # SLURM looks at time limits twice a minute.
    training = process_of(cluster.log("incidents", runs[2]).rpartition("started: ")[2])
    subprocess.run(["scontrol", "update", f"JobId={limited}", "TimeLimit=1"], check=True)
    until("SLURM's warning of the time limit", lambda: is_asked_to_end(training))
    with suppress(ProcessLookupError):
        os.kill(training, signal.SIGCONT)
    assert second.wait(LIMIT) == 0, cluster.output

    for run in runs:
        log = cluster.log("incidents", run)
        assert epochs(log) == list(range(1, EPOCHS + 1)), run  # no epoch twice: nothing was trained again
        attempts = cluster.record("incidents", run)["attempts"]
        assert attempts == 3, (run, attempts)
        assert cluster.record("incidents", run)["slurm_job"] in {job["JobId"] for job in training_jobs()}
        assert len(re.findall(r"failed: .* was stopped by SIG\w+ at step \d+ of \d+; its checkpoint is kept", log)) == 2
    here = cluster.beside(INCIDENTS, *weights)
    for file in weights:
        assert (cluster.folder / file).read_bytes() == (here.folder / file).read_bytes()
    subprocess.run([sys.executable, "-m", "lookalike", "sync-tracking", str(plan.path)], check=True, cwd=cluster.folder)
    children = Mirror(plan)._search("tags.`lookalike.kind` = 'run'")
    assert [run.info.status for run in children] == ["FINISHED"] * 3
    for run in children:
        history = Mirror(plan).client.get_metric_history(run.info.run_id, "train/loss")
        assert Counter(metric.step for metric in history) == Counter(range(1, EPOCHS + 1))


def test_memory_is_doubled_once_and_a_failure_is_named(cluster: Cluster) -> None:
    """Too little memory is killed and retried with twice as much; NaN by construction costs nobody else anything."""
    bad = {"method": "fc", "training": {**TRAINING, "lr": 1e30, "momentum": 0.0}}
    cluster.write(
        {
            **STUDY,
            "name": "failing",
            "models": {"fc": STUDY["models"]["fc"], "bad": bad},
            "resources": {
                **QUICK,
                "train/fc": {"mem_mb": 600, "runtime": 30},
            },
        }
    )
    process = cluster.on_slurm("tables", "--retries", "1")
    job = until("the good run's second training", lambda: _second_job("digits_fc_60_0"))
    assert job["MinMemoryNode"] == "1200M"  # two Snakemakes and torch take up to 1,060
    assert process.wait(LIMIT) != 0
    output = cluster.output
    folder = cluster.folder / "results" / "failing" / "digits"
    assert (folder / "fc/60/seed0/eval/linear@test/predictions.parquet").exists()
    assert not (folder / "bad/60/seed0/model.safetensors").exists()
    # What the good run made with twice the memory has the bytes that it has here.
    good = {**STUDY, "name": "failing", "models": {"fc": STUDY["models"]["fc"]}}
    here = cluster.beside(good, "tables").folder / "results" / "failing" / "digits"
    for name in ("model.safetensors", "eval/linear@test/predictions.parquet"):
        assert (folder / "fc/60/seed0" / name).read_bytes() == (here / "fc/60/seed0" / name).read_bytes()
    (line,) = set(re.findall(r"^failed: .*bad.*$", output, re.MULTILINE))
    assert re.fullmatch(
        r"failed: train digits/bad/60/seed0: the loss of digits/bad/60/seed0 is not finite at step \d+ .*"
        r" \(log: results/failing/digits/bad/60/seed0/logs/train\.log\)",
        line,
    )


def _second_job(wildcards: str) -> dict[str, str]:
    jobs = [job for job in training_jobs() if job["Comment"] == f"rule_train_wildcards_{wildcards}"]
    jobs = [job for job in jobs if "failing" in job["JobName"]]
    return jobs[1] if len(jobs) > 1 else {}


def test_grouped_runs_give_the_same_bytes(cluster: Cluster) -> None:
    """Many runs in one job, a cancelled group does nothing again that was done; on a cluster without accounting."""
    restart("--no-accounting")
    study = {
        **STUDY,
        "name": "grouped",
        "seeds": [0, 1],
        "models": {"fc": STUDY["models"]["fc"], "knn": STUDY["models"]["knn"]},
        "runs_per_job": 4,
        "resources": {"run_job_group": {"mem_mb": 6000, "runtime": 30}},
    }
    cluster.write(study)
    process = cluster.on_slurm("tables")
    folder = cluster.folder / "results" / "grouped" / "digits" / "fc" / "60" / "seed0"
    record = folder / "run.json"
    # Done is what Snakemake has seen the end of, and not what a job wrote just before it was cancelled.
    until("the job after the first training of the group", (folder / "logs" / "embed.log").exists)
    before = record.read_bytes()
    subprocess.run(["scancel", job_of("run_job_group", "digits-fc-60-0")], check=True)
    assert process.wait(LIMIT) == 0, cluster.output
    assert record.read_bytes() == before
    assert cluster.tables("grouped") == cluster.tables_from_here({**study, "runs_per_job": None})
