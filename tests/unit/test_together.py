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
from conftest import tiny_study

from lookalike.errors import LookalikeError
from lookalike.methods.fc import Model
from lookalike.methods.protoflow.flow.dense_flow import DenseFlow
from lookalike.plan import Plan
from lookalike.study import check_study
from lookalike.tensors import read_tensors
from lookalike.training.train import train


def planned(tiny: Plan, entry: dict, **training: object) -> Plan:
    model = {**entry, "training": {"epochs": 2, "batch_size": 27, "lr": 0.01, **training}}
    plan = check_study(tiny_study(models={"one": model}), "tiny.yaml").plan(tiny.root)
    plan.write()
    return plan


@pytest.mark.parametrize("micro_batch", [None, 5])
def test_two_processes_take_the_step_of_one(
    tiny: Plan, monkeypatch: pytest.MonkeyPatch, micro_batch: int | None
) -> None:
    loss = Model.training_loss

    def as_one(self: Model, batch: object) -> object:
        self.eval()  # batch normalisation would see the parts
        return loss(self, batch)  # type: ignore[arg-type]

    monkeypatch.setattr(Model, "training_loss", as_one)
    found = []
    for devices in (1, 2):
        run = planned(tiny, {"method": "fc"}, devices=devices, micro_batch=micro_batch).run("digits/one/100/seed0")
        heard: list[int] = []
        train(run, lambda progress, heard=heard: heard.append(progress.step))  # type: ignore[misc]
        assert heard == [4, 8]
        rows = (run.folder / "history.csv").read_text().splitlines()[1:]
        found.append((read_tensors(run.folder / "model.safetensors"), [list(map(float, r.split(","))) for r in rows]))
    for name, value in found[0][0].items():
        torch.testing.assert_close(found[1][0][name], value, atol=1e-4, rtol=1e-3)
    for one, other in zip(found[0][1], found[1][1], strict=True):
        assert one == pytest.approx(other, rel=1e-4)


def test_each_process_has_noise_of_its_own(tiny: Plan, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And two trainings give the same bytes."""
    draw = DenseFlow.draw_noises

    def watched(self: DenseFlow, count: int, made: torch.Generator) -> list[torch.Tensor]:
        noises = draw(self, count, made)
        with open(tmp_path / f"{os.getpid()}.txt", "a") as file:
            print(count, float(noises[0].sum()), file=file)
        return noises

    monkeypatch.setattr(DenseFlow, "draw_noises", watched)
    flow = {"method": "protoflow", "backbone": {"name": "dense_flow_small"}, "prototypes": {"components": 2}}
    run = planned(tiny, flow, devices=2, optimizer="adamw", lr=0.005, ema=0.9).run("digits/one/100/seed0")
    train(run)
    first = (run.folder / "model.safetensors").read_bytes()
    one, other = (path.read_text().splitlines() for path in sorted(tmp_path.glob("*.txt")))
    assert one[0] == other[0]  # both start from the same batch
    assert sorted([one[1].split()[0], other[1].split()[0]]) == ["13", "14"]
    assert set(one[1:9]).isdisjoint(other[1:9])
    (run.folder / "run.json").unlink()
    train(run)
    assert (run.folder / "model.safetensors").read_bytes() == first


def test_a_signal_stops_both_and_the_same_command_goes_on(tiny: Plan) -> None:
    plan = planned(tiny, {"method": "fc"}, devices=2, epochs=80, checkpoint_seconds=0)
    run = plan.run("digits/one/100/seed0")
    command = [sys.executable, "-m", "lookalike", "train", "--no-progress", str(plan.path), run.id]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not (run.folder / "checkpoint.pt").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "was stopped by SIGTERM at step" in told
    assert "its checkpoint is kept" in told
    again = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0, again.stderr
    assert "training accuracy" in again.stdout + again.stderr
    assert json.loads((run.folder / "run.json").read_text())["attempts"] == 2


def test_a_process_that_dies_ends_the_run(tiny: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    loss, mother = Model.training_loss, os.getpid()

    def dying(self: Model, batch: object) -> object:
        if torch.distributed.get_rank() == 1:
            assert os.getpid() != mother
            os.kill(os.getpid(), signal.SIGKILL)
        return loss(self, batch)  # type: ignore[arg-type]

    monkeypatch.setattr(Model, "training_loss", dying)
    run = planned(tiny, {"method": "fc"}, devices=2).run("digits/one/100/seed0")
    with pytest.raises(LookalikeError, match=r"one of 2 processes failed .*SIGKILL"):
        train(run)
    assert not (run.folder / "model.safetensors").exists()


def test_an_error_of_all_is_one_sentence(tiny: Plan) -> None:
    run = planned(tiny, {"method": "nw", "episodes": {"n_shot": 50}}, devices=2).run("digits/one/100/seed0")
    with pytest.raises(LookalikeError, match="class 0 has 10 images in the training subset, but n_shot: 50"):
        train(run)
