"""Trainings that are told to stop, from outside or by another one of the same run."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from helpers.studies import changed_plan, run_stage

from lookalike.core.errors import LookalikeError
from lookalike.study.plan import Plan


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_keeps_a_checkpoint_and_the_bytes(tiny: Plan, number: signal.Signals) -> None:
    run = tiny.run("digits/fc/100/seed0")
    run_stage(tiny, "train", run)
    whole = {path: path.read_bytes() for path in (run.weights, run.history)}
    for path in whole:
        path.unlink()
    with pytest.raises(LookalikeError, match=rf"was stopped by {number.name} at step \d+ of 8; its checkpoint is kept"):
        run_stage(tiny, "train", run, on_epoch=lambda progress: os.kill(os.getpid(), number))
    assert not run.weights.exists()
    run_stage(tiny, "train", run)
    assert {path: path.read_bytes() for path in whole} == whole
    assert json.loads(run.record.read_text())["attempts"] == 2


def test_signals_are_the_callers_again_after_a_training(tiny: Plan) -> None:
    before = signal.getsignal(signal.SIGTERM)
    run_stage(tiny, "train", tiny.run("digits/fc/100/seed0"))
    assert signal.getsignal(signal.SIGTERM) == before


FORWARDING = (
    "import signal, subprocess, sys\nfrom lookalike.pipeline.stop_forwarding import forward_stop_signals\n"
    "forward_stop_signals()\n"
    "signal.signal(signal.SIGTERM, lambda *_: None)\n"  # as Snakemake: note it, and wait
    "sys.exit(subprocess.run(['bash', '-c', sys.argv[1] + ' 2>&1; echo shell lives'],).returncode)\n"
)


@pytest.mark.long
def test_a_training_is_told_that_its_job_is_to_end(tiny: Plan) -> None:
    """SIGTERM to the first process alone, as SLURM does with proctrack/cgroup: the training keeps its checkpoint."""
    models = {"fc": {"method": "fc", "training": {"epochs": 2000, "batch_size": 32, "lr": 0.01}}}
    plan = changed_plan(tiny, models=models)
    run = plan.run("digits/fc/100/seed0")
    command = f"{sys.executable} -m lookalike train --no-progress {plan.path} {run.id}"
    top = subprocess.Popen([sys.executable, "-c", FORWARDING, command], stdout=subprocess.PIPE, text=True)
    while not run.log("train").exists() or "epoch 3/" not in run.log("train").read_text():
        assert top.poll() is None
        time.sleep(0.1)
    top.send_signal(signal.SIGTERM)
    printed = top.communicate(timeout=60)[0]
    assert "was stopped by SIGTERM" in printed
    assert "shell lives" in printed
    assert (run.folder / "checkpoint.pt").exists()


@pytest.mark.long
def test_two_trainings_of_one_run_train_it_once(tiny: Plan) -> None:
    """A workflow that was killed left the first one running; the second waits, and keeps what the first one made."""
    models = {"fc": {"method": "fc", "training": {"epochs": 100, "batch_size": 32, "lr": 0.01}}}
    plan = changed_plan(tiny, models=models)
    run = plan.run("digits/fc/100/seed0")
    command = [sys.executable, "-m", "lookalike", "train", "--no-progress", str(plan.path), run.id]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    while not run.log("train").exists() or "epoch 3/" not in run.log("train").read_text():
        assert first.poll() is None
        time.sleep(0.02)
    first.send_signal(signal.SIGSTOP)  # until the second one has come, however long that takes
    second = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while "is being trained by another process: waiting" not in run.log("train").read_text():
        assert second.poll() is None
        time.sleep(0.05)
    first.send_signal(signal.SIGCONT)
    printed, errors = second.communicate(timeout=120)
    assert first.wait() == second.returncode == 0, errors
    assert "trained by another process meanwhile" in printed
    assert run.log("train").read_text().count("epoch 100/100") == 1
