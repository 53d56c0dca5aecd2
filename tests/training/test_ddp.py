"""One run on two processes: the same batch, noise of its own in each, and no one left behind when one stops or dies."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from helpers.studies import changed_plan, run_stage

from lookalike.backbones.flow.dense_flow import DenseFlow
from lookalike.core.errors import LookalikeError
from lookalike.core.tensors import read_tensors
from lookalike.methods.fc.classifier import FCClassifier
from lookalike.study.plan import Plan


def planned(tiny: Plan, entry: dict, **training: object) -> Plan:
    model = {**entry, "training": {"epochs": 2, "batch_size": 27, "lr": 0.01, **training}}
    return changed_plan(tiny, models={"model": model})


@pytest.mark.parametrize("micro_batch", [None, 5])
def test_two_processes_take_the_step_of_one(
    tiny: Plan, monkeypatch: pytest.MonkeyPatch, micro_batch: int | None
) -> None:
    loss = FCClassifier.training_loss

    def as_one(self: FCClassifier, batch: object) -> object:
        self.eval()  # batch normalisation would see the parts
        return loss(self, batch)  # type: ignore[arg-type]

    monkeypatch.setattr(FCClassifier, "training_loss", as_one)
    results = []
    for devices in (1, 2):
        plan = planned(tiny, {"method": "fc"}, devices=devices, micro_batch=micro_batch)
        run = plan.run("digits/model/100/seed0")
        heard: list[int] = []
        run_stage(plan, "train", run, on_epoch=lambda progress, heard=heard: heard.append(progress.step))
        assert heard == [4, 8]
        rows = (run.folder / "history.csv").read_text().splitlines()[1:]
        results.append((read_tensors(run.folder / "model.safetensors"), [list(map(float, r.split(","))) for r in rows]))
    for name, value in results[0][0].items():
        torch.testing.assert_close(results[1][0][name], value, atol=1e-4, rtol=1e-3)
    for row, row_of_two in zip(results[0][1], results[1][1], strict=True):
        assert row == pytest.approx(row_of_two, rel=1e-4)


def test_each_process_has_noise_of_its_own(tiny: Plan, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And two trainings give the same bytes."""
    draw = DenseFlow.draw_noises

    def watched(self: DenseFlow, count: int, generator: torch.Generator) -> list[torch.Tensor]:
        noises = draw(self, count, generator)
        with open(tmp_path / f"{os.getpid()}.txt", "a") as file:
            print(count, float(noises[0].sum()), file=file)
        return noises

    monkeypatch.setattr(DenseFlow, "draw_noises", watched)
    flow = {"method": "protoflow", "backbone": {"name": "dense_flow_small"}, "prototypes": {"components": 2}}
    plan = planned(tiny, flow, devices=2, optimizer="adamw", lr=0.005, ema=0.9)
    run = plan.run("digits/model/100/seed0")
    run_stage(plan, "train", run)
    first = (run.folder / "model.safetensors").read_bytes()
    first_process, second_process = (path.read_text().splitlines() for path in sorted(tmp_path.glob("*.txt")))
    assert first_process[0] == second_process[0]  # both start from the same batch
    assert sorted([first_process[1].split()[0], second_process[1].split()[0]]) == ["13", "14"]
    assert set(first_process[1:9]).isdisjoint(second_process[1:9])
    (run.folder / "run.json").unlink()
    run_stage(plan, "train", run)
    assert (run.folder / "model.safetensors").read_bytes() == first


@pytest.mark.long
def test_a_signal_stops_both_and_the_same_command_goes_on(tiny: Plan) -> None:
    plan = planned(tiny, {"method": "fc"}, devices=2, epochs=30, checkpoint_seconds=0)
    run = plan.run("digits/model/100/seed0")
    command = [sys.executable, "-m", "lookalike", "train", "--no-progress", str(plan.path), run.id]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not (run.folder / "checkpoint.pt").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "was stopped by SIGTERM at step" in errors
    assert "its checkpoint is kept" in errors
    again = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0, again.stderr
    assert "training accuracy" in again.stdout + again.stderr
    assert json.loads((run.folder / "run.json").read_text())["attempts"] == 2


def test_a_process_that_dies_ends_the_run(tiny: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    loss, mother = FCClassifier.training_loss, os.getpid()

    def dying(self: FCClassifier, batch: object) -> object:
        if torch.distributed.get_rank() == 1:
            assert os.getpid() != mother
            os.kill(os.getpid(), signal.SIGKILL)
        return loss(self, batch)  # type: ignore[arg-type]

    monkeypatch.setattr(FCClassifier, "training_loss", dying)
    plan = planned(tiny, {"method": "fc"}, devices=2)
    run = plan.run("digits/model/100/seed0")
    with pytest.raises(LookalikeError, match=r"one of 2 processes failed .*SIGKILL"):
        run_stage(plan, "train", run)
    assert not (run.folder / "model.safetensors").exists()


def test_an_error_of_all_is_one_sentence(tiny: Plan) -> None:
    plan = planned(tiny, {"method": "nw", "episodes": {"n_shot": 50}}, devices=2)
    with pytest.raises(LookalikeError, match="class 0 has 10 images in the training subset, but n_shot: 50"):
        run_stage(plan, "train", plan.run("digits/model/100/seed0"))
