"""Training ends with the same bytes however often it is killed."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from helpers.studies import changed_plan, make_plan, opened, run_stage, tiny_study

from lookalike import NWHead
from lookalike.contracts.settings import TrainingSettings
from lookalike.core.errors import LookalikeError
from lookalike.pipeline.fingerprint import fingerprint
from lookalike.pipeline.stage_table import Item
from lookalike.stages.train import checkpoint_key
from lookalike.study.plan import Plan
from lookalike.training.checkpoint import load_checkpoint, save_checkpoint
from lookalike.training.loop import part_sizes, steps_in_epoch

OUTPUTS = ("history.csv", "model.safetensors")


def changed(plan: Plan, model: str, **training: object) -> Plan:
    """The same plan with other training settings of one model."""
    models = tiny_study()["models"]
    models[model]["training"] = {**models[model]["training"], **training}
    return changed_plan(plan, models=models)


def start(plan: Plan, run: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "lookalike", "train", "--no-progress", str(plan.path), run],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.long
@pytest.mark.parametrize(("model", "seconds"), [("fc", 0), ("nw", 0.2)])
def test_killed_training_ends_with_the_same_bytes(tiny: Plan, model: str, seconds: float) -> None:
    """SIGKILL at random moments, then the same command: history and weights equal an uninterrupted run's."""
    plan = changed(tiny, model, epochs=80 if seconds else 30, checkpoint_seconds=seconds)
    run = plan.run(f"digits/{model}/100/seed0")
    run_stage(plan, "train", run)
    whole = {name: (run.folder / name).read_bytes() for name in OUTPUTS}
    for name in (*OUTPUTS, "run.json"):
        (run.folder / name).unlink()

    moments = random.Random(0)
    checkpoint = run.folder / "checkpoint.pt"
    kills = 0
    for _ in range(3):
        process = start(plan, run.id)
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        while process.poll() is None:
            if checkpoint.exists() and checkpoint.stat().st_mtime_ns != before:
                time.sleep(moments.uniform(0, 0.3))
                break
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += process.returncode == -signal.SIGKILL and not (run.folder / "run.json").exists()
    assert kills >= 2, "the training was too short to be killed"
    process = start(plan, run.id)
    assert process.wait() == 0, process.stdout.read()
    assert {name: (run.folder / name).read_bytes() for name in OUTPUTS} == whole
    assert json.loads((run.folder / "run.json").read_text())["attempts"] == kills + 1
    assert not checkpoint.exists()
    assert not list(run.folder.glob(".*tmp*")), "killed attempts left files behind"


def test_precision_reaches_the_network(tiny: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    plan = changed(tiny, "nw", precision="bf16-mixed", epochs=1)
    monkeypatch.setattr(
        "lookalike.methods.nw.head.NWHead.scores",
        lambda self, q, s, scores=NWHead.scores: seen.append(q.dtype) or scores(self, q, s),
    )
    run_stage(plan, "train", plan.run("digits/nw/100/seed0"))
    assert set(seen) == {torch.bfloat16}


def test_two_trainings_give_the_same_bytes(tiny: Plan) -> None:
    run = tiny.run("digits/nw/100/seed0")
    contents = []
    for _ in range(2):
        run_stage(tiny, "train", run)
        contents.append([(run.folder / name).read_bytes() for name in OUTPUTS])
    assert contents[0] == contents[1]


def test_checkpoint_of_other_settings_is_not_resumed(tiny: Plan) -> None:
    run = tiny.run("digits/fc/100/seed0")
    run_stage(tiny, "train", run)
    whole = (run.folder / "history.csv").read_bytes()
    save_checkpoint(run.folder / "checkpoint.pt", "another key", {"network": {}})
    run_stage(tiny, "train", run)
    assert (run.folder / "history.csv").read_bytes() == whole
    assert (run.folder / "checkpoint.other.pt").exists()


def test_training_with_other_threads_starts_anew(tiny: Plan) -> None:
    """Numbers of another thread count differ in their last digits: its checkpoint is not gone on with."""
    plans = {threads: changed_plan(tiny, threads=threads) for threads in (1, 2)}
    run = tiny.run("digits/fc/100/seed0")
    assert len({checkpoint_key(opened(plan, run)) for plan in plans.values()}) == 2

    def begin_with_one() -> None:
        with pytest.raises(LookalikeError, match="was stopped by SIGTERM at step 5 of 8; its checkpoint is kept"):
            run_stage(plans[1], "train", run, on_epoch=lambda progress: os.kill(os.getpid(), signal.SIGTERM))

    aside = run.folder / "checkpoint.other.pt"
    begin_with_one()
    run_stage(plans[2], "train", run)
    assert json.loads(run.record.read_text())["attempts"] == 1
    assert torch.load(aside, weights_only=True)["progress"]["step"] == 5
    aside.unlink()
    begin_with_one()
    run_stage(plans[1], "train", run)
    assert json.loads(run.record.read_text())["attempts"] == 2
    assert not aside.exists()


def test_damaged_checkpoint_is_set_aside(tiny: Plan, caplog: pytest.LogCaptureFixture) -> None:
    path = tiny.root / "checkpoint.pt"
    save_checkpoint(path, "key", {"x": torch.zeros(100)})
    assert torch.equal(load_checkpoint(path, "key")["x"], torch.zeros(100))
    assert load_checkpoint(path, "other") is None
    path.with_suffix(".other.pt").rename(path)
    path.write_bytes(path.read_bytes()[:-200])
    assert load_checkpoint(path, "key") is None
    assert "is damaged" in caplog.text
    assert not path.exists()
    assert path.with_suffix(".damaged.pt").exists()


def test_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(tiny: Plan) -> None:
    plan = changed(tiny, "fc", lr=1e6, momentum=0.0, checkpoint_seconds=0, epochs=30, schedule="constant")
    run = plan.run("digits/fc/100/seed0")
    with pytest.raises(LookalikeError, match=r"not finite at step \d+ .*last good weights are in .*lower") as caught:
        run_stage(plan, "train", run)
    assert not (run.folder / "model.safetensors").exists()
    checkpoint = run.folder / "checkpoint.pt"
    state = torch.load(checkpoint, weights_only=True)
    assert all(bool(torch.isfinite(value).all()) for value in state["network"].values())
    assert 0 < state["progress"]["step"] <= int(re.search(r"at step (\d+)", str(caught.value))[1])


def test_one_failing_run_does_not_stop_the_others(tiny: Plan) -> None:
    study = tiny_study()
    study["models"]["bad"] = {"method": "nw", "episodes": {"n_shot": 50}}
    plan = changed_plan(tiny, models=study["models"])
    command = [sys.executable, "-m", "lookalike", "train", "--no-progress", str(plan.path)]
    done = subprocess.run(
        [*command, "digits/bad/100/seed0", "digits/fc/100/seed0"], capture_output=True, text=True, env=os.environ
    )
    assert done.returncode == 1
    assert (
        "error: train digits/bad/100/seed0: class 0 has 10 images in the training subset, but n_shot: 50" in done.stderr
    )
    assert "Traceback" not in done.stderr
    assert "Traceback" in plan.run("digits/bad/100/seed0").log("train").read_text()
    assert (plan.run("digits/fc/100/seed0").folder / "model.safetensors").exists()


def test_training_names_damaged_data(tiny: Plan) -> None:
    (tiny.data_folder("digits") / "images.npy").unlink()
    with pytest.raises(LookalikeError, match=r"lacks images.npy; delete .*manifest.json and run again"):
        run_stage(tiny, "train", tiny.run("digits/fc/100/seed0"))


def test_learns(tiny: Plan, tmp_path: Path) -> None:
    plan = changed(tiny, "fc", epochs=25)
    run = plan.run("digits/fc/100/seed0")
    run_stage(plan, "train", run)
    last = (run.folder / "history.csv").read_text().splitlines()[-1].split(",")
    assert float(last[2]) > 0.95


def test_training_by_data_set_and_whole_batches(tmp_path: Path) -> None:
    training = {"epochs": 3, "batch_size": 32, "by_dataset": {"digits": {"epochs": 7, "drop_last": True}}}
    study = tiny_study(models={"fc": {"method": "fc", "training": training}}, datasets=["digits", "critters"])
    plan = make_plan(study, tmp_path)
    epochs = [plan.settings_of(run).training.epochs for run in plan.runs()]
    assert epochs == [7, 3]
    longer = {**training, "by_dataset": {"digits": {"epochs": 9, "drop_last": True}}}
    other = make_plan({**study, "models": {"fc": {"method": "fc", "training": longer}}}, tmp_path)
    changed = [fingerprint(plan, "train", Item(run)) != fingerprint(other, "train", Item(run)) for run in plan.runs()]
    assert changed == [True, False]
    whole, partial = (TrainingSettings(batch_size=32, drop_last=drop_last) for drop_last in (True, False))
    assert [steps_in_epoch(n, whole) for n in (20, 64, 100)] == [1, 2, 3]
    assert [steps_in_epoch(n, partial) for n in (20, 64, 100)] == [1, 2, 4]


@pytest.mark.parametrize(
    ("images", "changes", "sizes"),
    [
        (100, {"batch_size": 32}, {32, 4}),
        (97, {"batch_size": 32}, {32, 1}),
        (97, {"batch_size": 32, "drop_last": True}, {32}),
        (97, {"batch_size": 32, "drop_last": True, "ema": 0.9}, {32, 1}),
        (96, {"batch_size": 9, "micro_batch": 4}, {4, 1, 2}),
        (5, {"batch_size": 32, "drop_last": True}, {5}),
    ],
)
def test_how_many_images_pass_at_once(images: int, changes: dict, sizes: set[int]) -> None:
    assert part_sizes(images, TrainingSettings(**changes)) == sizes


@pytest.mark.parametrize("changes", [{}, {"ema": 0.9, "drop_last": True}, {"batch_size": 9, "micro_batch": 4}])
def test_a_part_of_one_image_is_refused_before_the_first_step(tiny: Plan, changes: dict) -> None:
    """Where batch normalisation would need a second: resnet18 gives digits one place a channel."""
    training = {"epochs": 50, "batch_size": 33, **changes}
    fc = {"method": "fc", "backbone": {"name": "resnet18"}, "training": training}
    plan = changed_plan(tiny, models={"fc": fc})
    with pytest.raises(LookalikeError, match=r"100 images in batches of .* leave a part of one image"):
        run_stage(plan, "train", plan.run("digits/fc/100/seed0"))
    assert not plan.run("digits/fc/100/seed0").history.exists()
