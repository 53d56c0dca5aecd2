"""What a cluster needs, without one: stops, memory, devices, spooled metrics, packs, bundles."""

import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import torch
from conftest import tiny_study

from lookalike import bundle as bundles
from lookalike.activity import is_alive, read_activity, this_process
from lookalike.controller import _cancel_orphans, clear_stale_locks, take_control, whose
from lookalike.devices import take_slot
from lookalike.errors import LookalikeError
from lookalike.evaluation.collect import collect_metrics
from lookalike.evaluation.evaluate import evaluate
from lookalike.explanation.explain import explain
from lookalike.methods.fc import Model
from lookalike.needs import job_needs, largest_asked
from lookalike.packs import forget_broken, packs
from lookalike.plan import Plan
from lookalike.reporting.figures import draw_figure
from lookalike.reporting.names import figure_names, table_names
from lookalike.reporting.tables import draw_table
from lookalike.status import failures
from lookalike.study import check_study
from lookalike.support.precompute import precompute_support
from lookalike.tensors import read_tensors
from lookalike.tracking.live import LiveTracker
from lookalike.tracking.mlflow_mirror import Mirror
from lookalike.tracking.spool import must_spool, read_spool
from lookalike.training.train import train
from lookalike.work import Work, kept_log

ROOT = Path(__file__).parents[2]


def planned(plan: Plan, **changes: object) -> Plan:
    """The tiny study with other keys, in the same folder."""
    made = check_study(tiny_study(**changes), "tiny.yaml").plan(plan.root)
    made.write()
    return made


# Stops


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_keeps_a_checkpoint_and_the_bytes(tiny: Plan, number: signal.Signals) -> None:
    run = tiny.run("digits/fc/100/seed0")
    train(run)
    whole = {name: (run.folder / name).read_bytes() for name in ("model.safetensors", "history.csv")}
    for name in whole:
        (run.folder / name).unlink()
    with pytest.raises(LookalikeError, match=rf"was stopped by {number.name} at step \d+ of 8; its checkpoint is kept"):
        train(run, lambda progress: os.kill(os.getpid(), number))
    assert not (run.folder / "model.safetensors").exists()
    train(run)
    assert {name: (run.folder / name).read_bytes() for name in whole} == whole
    assert json.loads((run.folder / "run.json").read_text())["attempts"] == 2


def test_signals_are_the_callers_again_after_a_training(tiny: Plan) -> None:
    before = signal.getsignal(signal.SIGTERM)
    train(tiny.run("digits/fc/100/seed0"))
    assert signal.getsignal(signal.SIGTERM) == before


# Memory of the device


def test_a_batch_that_does_not_fit_is_halved(tiny: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Same batch, same gradient up to the order of sums; recorded, and kept after a resume."""
    models = {"fc": {"method": "fc", "training": {"epochs": 2, "batch_size": 32, "lr": 0.01}}}
    run = planned(tiny, models=models).run("digits/fc/100/seed0")
    steps: list[int] = []
    seen: list[list[float]] = []
    loss = Model.training_loss

    def limited(self: Model, batch: object) -> object:
        images = batch.images  # type: ignore[attr-defined]
        if steps == []:
            seen.append([float(buffer.double().sum()) for buffer in self.buffers()])
        if len(images) > 10:
            loss(self, batch)  # type: ignore[arg-type]  # batch normalisation counts it before memory ends
            raise torch.OutOfMemoryError("CUDA out of memory")
        steps.append(len(images))
        self.eval()  # batch normalisation would see the parts
        return loss(self, batch)  # type: ignore[arg-type]

    def unlimited(self: Model, batch: object) -> object:
        self.eval()
        return loss(self, batch)  # type: ignore[arg-type]

    monkeypatch.setattr(Model, "training_loss", unlimited)
    train(run)
    expected = (run.folder / "history.csv").read_text().splitlines()[1:]
    assert json.loads((run.folder / "run.json").read_text())["micro_batch"] == 32
    monkeypatch.setattr(Model, "training_loss", limited)
    train(run)
    found = (run.folder / "history.csv").read_text().splitlines()[1:]
    assert json.loads((run.folder / "run.json").read_text())["micro_batch"] == 8
    assert len(seen) == 3  # with 32, with 16 and with 8 images
    assert seen[0] == seen[1] == seen[2]  # what the failed passes did to running averages is undone
    assert steps == [8, 8, 8, 8] * 3 + [4] + [8, 8, 8, 8] * 3 + [4]
    for one, other in zip(expected, found, strict=True):
        assert [float(x) for x in one.split(",")] == pytest.approx([float(x) for x in other.split(",")], rel=1e-4)


def test_a_batch_in_parts(tiny: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many images at once as the study says; the same batch, the same gradient up to the order of sums."""
    loss, parts = Model.training_loss, []

    def watched(self: Model, batch: object) -> object:
        parts.append(len(batch.images))  # type: ignore[attr-defined]
        self.eval()  # batch normalisation would see the parts
        return loss(self, batch)  # type: ignore[arg-type]

    monkeypatch.setattr(Model, "training_loss", watched)
    found = []
    for micro_batch in (None, 12):
        training = {"epochs": 1, "batch_size": 50, "lr": 0.01, "optimizer": "adamax", "micro_batch": micro_batch}
        run = planned(tiny, models={"fc": {"method": "fc", "training": training}}).run("digits/fc/100/seed0")
        train(run)
        found.append(read_tensors(run.folder / "model.safetensors"))
    assert parts == [50, 50] + [12, 12, 12, 12, 2] * 2
    assert json.loads((run.folder / "run.json").read_text())["micro_batch"] == 12
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, atol=1e-3, rtol=1e-3)


def test_one_image_that_does_not_fit_is_named(tiny: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(self: Model, batch: object) -> object:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Model, "training_loss", never)
    with pytest.raises(LookalikeError, match="does not fit in the memory of cpu even with one image at a time"):
        train(tiny.run("digits/fc/100/seed0"))


# Devices

HOLD = (
    "import sys, time\nfrom lookalike.devices import take_slot\n"
    "print(take_slot(sys.argv[1].split(','), int(sys.argv[2])), flush=True)\ntime.sleep(60)\n"
)


def test_runs_spread_over_gpus_and_a_killed_one_makes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    held = []
    for _ in range(4):
        held.append(subprocess.Popen([sys.executable, "-c", HOLD, "3,5", "2"], stdout=subprocess.PIPE, text=True))
        held[-1].got = held[-1].stdout.readline().strip()  # type: ignore[attr-defined, union-attr]
    assert [process.got for process in held] == ["0", "1", "0", "1"]  # type: ignore[attr-defined]
    waiting = subprocess.Popen([sys.executable, "-c", HOLD, "3,5", "2"], stdout=subprocess.PIPE, text=True)
    time.sleep(2)
    assert waiting.poll() is None
    held[3].kill()
    assert waiting.stdout is not None
    assert waiting.stdout.readline().strip() == "1"
    for process in (*held, waiting):
        process.kill()
        process.wait()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert take_slot(["3", "5"], 1) == 0


# What a job asks for, and how its state is told


def test_needs_double_once_and_the_study_has_the_last_word(tiny: Plan) -> None:
    plan = planned(tiny, resources={"train": {"runtime": 100}, "train/nw": {"mem_mb": 9000, "gpu": 2}})
    capped = job_needs(plan, "train", "digits", "nw", 4, most={"mem_mb": 12000, "runtime": 150})  # refused otherwise
    assert (capped["mem_mb"], capped["runtime"]) == (12000, 150)
    assert [job_needs(plan, "train", "digits", "fc", attempt)["runtime"] for attempt in (1, 2, 3)] == [100, 200, 200]
    one, four = (job_needs(plan, "run_pack", "digits", "fc", at_once=runs)["mem_mb"] for runs in (1, 4))
    assert four == 4 * one
    assert job_needs(plan, "train", "digits", "nw", 4) == {"mem_mb": 18000, "runtime": 200, "gpu": 2}
    assert job_needs(plan, "evaluate", "digits", "nw")["gpu"] == 0


@pytest.mark.parametrize("key", ["trian", "train/none", "run_pack/fc"])
def test_resources_of_nothing_are_named(key: str) -> None:
    with pytest.raises(
        LookalikeError, match=rf"my.yaml: resources.{key} is neither a stage .*\n  resources:\n    train/fc"
    ):
        check_study(tiny_study(resources={key: {"runtime": 5}}), "my.yaml")


def test_a_log_tells_what_became_of_its_job(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "train.log"
    assert read_activity(log) is None
    work = Work("train")

    def fail() -> None:
        raise LookalikeError("two\nlines")

    work.do("one", log, fail)
    told = read_activity(log)
    assert told is not None
    assert (told.state, told.said, told.process) == ("failed", "two lines", this_process())
    log.unlink()  # as Snakemake does before it starts the job again
    running = []
    work.do("one", log, lambda: running.append(read_activity(log)))  # type: ignore[func-returns-value]
    assert running[0].state == "running"
    assert read_activity(log).state == "done"  # type: ignore[union-attr]
    assert log.read_text().count("started: ") == 2  # the attempt before it is still told
    with open(log, "a") as handle:
        handle.write(
            f"2026-01-01 00:00:00,000 INFO started: {this_process().rpartition(':')[0]}:999999999\nlast words\n"
        )
    told = read_activity(log)
    assert told is not None
    assert (told.state, told.said) == ("killed", "last words")
    assert kept_log(log).samefile(log)


def test_slurm_jobs_are_alive_while_squeue_says_so(tmp_path: Path) -> None:
    squeue = tmp_path / "squeue"
    squeue.write_text("#!/bin/sh\necho 17\n")
    squeue.chmod(0o755)
    code = "from lookalike.activity import is_alive; print(is_alive('node1:5@17'), is_alive('node1:5@18'))"
    # The wrapper, whichever its place in PATH, asks the real one.
    path = {"PATH": f"/nowhere:{ROOT / 'profiles' / 'slurm' / 'bin'}:{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **path}, capture_output=True, text=True)
    assert done.stdout.split() == ["True", "False"], done.stderr
    assert is_alive("another-host:5")
    assert not is_alive(this_process().rpartition(":")[0] + ":999999999")


def test_sacct_is_translated(tmp_path: Path) -> None:
    """Where there is a sacct, the wrapper finds it behind itself; its failure stays one."""
    real = tmp_path / "sacct"
    wrapper = ROOT / "profiles" / "slurm" / "bin"
    environment = {**os.environ, "PATH": f"{wrapper}:{tmp_path}:{os.environ['PATH']}", "LOOKALIKE_SACCT_PAUSE": "0"}
    for text, status in (("1|CANCELLED by 0\n2|COMPLETED", 0), ("", 3)):
        real.write_text(f"#!/bin/sh\nprintf '{text}'\nexit {status}\n")
        real.chmod(0o755)
        done = subprocess.run(["sacct", "-X"], env=environment, capture_output=True, text=True)
        assert done.returncode == bool(status)
        assert done.stdout == ("" if status else "1|CANCELLED\n2|COMPLETED\n")


def test_two_controllers_of_a_study(tiny: Plan) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom lookalike.controller import take_control\n"
        "from lookalike.plan import Plan\ntake_control(Plan.read(Path(sys.argv[1])), None)\n"
        "print('has it', flush=True)\ntime.sleep(60)\n"
    )
    first = subprocess.Popen([sys.executable, "-c", code, str(tiny.path)], stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    assert first.stdout.readline() == "has it\n"
    with pytest.raises(LookalikeError, match=rf"study tiny is being made already \(process {first.pid} on "):
        take_control(tiny, None)
    first.kill()
    first.wait()
    assert take_control(tiny, None) == 0


def test_a_study_takes_only_its_own_jobs_for_its_own(
    tiny: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not those of a study whose name begins alike, of another folder, and none are missed where SLURM is silent."""
    fields = "|None|1:00:00|1G|1|main|rule_train|"
    rows = [f"{n}|lookalike-{name}-u{fields}{folder}" for n, name, folder in
            ((1, "tiny", Path.cwd()), (2, "tiny_big", Path.cwd()), (3, "tiny", "/elsewhere"))]  # fmt: skip
    (tmp_path / "jobs").write_text("\n".join(rows) + "\n")
    for name, text in (
        ("squeue", f"cat {tmp_path}/jobs"),
        ("scancel", f'echo "$@" > {tmp_path}/said; : > {tmp_path}/jobs'),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert _cancel_orphans(tiny) == 1
    assert (tmp_path / "said").read_text() == "1\n"
    (tmp_path / "squeue").write_text("#!/bin/sh\necho no answer >&2\nexit 1\n")
    with pytest.raises(LookalikeError, match=r"squeue does not answer \(no answer\)"):
        _cancel_orphans(tiny)


def test_limits_of_a_cluster_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sinfo = tmp_path / "sinfo"
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    cases = {
        "8000|1:00:00\\n16000+|2-12:30:00": {"mem_mb": 16000, "runtime": 3630},
        "8000|30:00": {"mem_mb": 8000, "runtime": 30},
        "8000|infinite": {"mem_mb": 8000},
        "": {},
    }
    for text, expected in cases.items():
        sinfo.write_text(f"#!/bin/sh\nprintf '{text}'\n")
        sinfo.chmod(0o755)
        assert largest_asked() == expected


def test_stale_locks_go_only_where_no_controller_is_alive(tiny: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny.root)
    lock = tiny.root / ".snakemake" / "locks" / "0.output.lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    with open(tiny.folder / ".controller", "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        clear_stale_locks(tiny.root)
        assert lock.exists()
        assert whose(tiny) == "another process"
    clear_stale_locks(tiny.root)
    assert not lock.exists()
    assert whose(tiny) == ""


FORWARDING = (
    "import signal, subprocess, sys\nfrom lookalike.forward import forward_stop_signals\nforward_stop_signals()\n"
    "signal.signal(signal.SIGTERM, lambda *_: None)\n"  # as Snakemake: note it, and wait
    "sys.exit(subprocess.run(['bash', '-c', sys.argv[1] + ' 2>&1; echo shell lives'],).returncode)\n"
)


def test_a_training_is_told_that_its_job_is_to_end(tiny: Plan) -> None:
    """SIGTERM to the first process alone, as SLURM does with proctrack/cgroup: the training keeps its checkpoint."""
    models = {"fc": {"method": "fc", "training": {"epochs": 2000, "batch_size": 32, "lr": 0.01}}}
    plan = planned(tiny, models=models)
    run = plan.run("digits/fc/100/seed0")
    command = f"{sys.executable} -m lookalike train --no-progress {plan.path} {run.id}"
    top = subprocess.Popen([sys.executable, "-c", FORWARDING, command], stdout=subprocess.PIPE, text=True)
    while not run.log("train").exists() or "epoch 3/" not in run.log("train").read_text():
        assert top.poll() is None
        time.sleep(0.1)
    top.send_signal(signal.SIGTERM)
    said = top.communicate(timeout=60)[0]
    assert "was stopped by SIGTERM" in said
    assert "shell lives" in said
    assert (run.folder / "checkpoint.pt").exists()


def test_two_trainings_of_one_run_train_it_once(tiny: Plan) -> None:
    """A workflow that was killed left the first one running; the second waits, and keeps what the first one made."""
    models = {"fc": {"method": "fc", "training": {"epochs": 800, "batch_size": 32, "lr": 0.01}}}
    plan = planned(tiny, models=models)
    run = plan.run("digits/fc/100/seed0")
    command = [sys.executable, "-m", "lookalike", "train", "--no-progress", str(plan.path), run.id]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    while not run.log("train").exists() or "epoch 3/" not in run.log("train").read_text():
        assert first.poll() is None
        time.sleep(0.1)
    second = subprocess.run(command, capture_output=True, text=True)
    assert first.wait() == second.returncode == 0, second.stderr
    assert "made by another process meanwhile" in second.stdout
    assert run.log("train").read_text().count("epoch 800/800") == 1


# Tracking


def test_jobs_of_a_cluster_spool_their_metrics(
    tiny: Plan, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A running training leaves a file; importing it again doubles nothing; a killed one is marked, then finished."""
    run = tiny.run("digits/fc/100/seed0")
    monkeypatch.setattr("lookalike.tracking.live.FLUSH_SECONDS", 0.0)
    monkeypatch.setattr("lookalike.activity.live_slurm_jobs", lambda: alive)
    alive = frozenset({"12"})
    monkeypatch.setattr("lookalike.tracking.live.this_process", lambda: "node9:5@12")
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    assert must_spool(tiny)
    with pytest.raises(KeyboardInterrupt):
        tracker = LiveTracker(run)

        def stop(progress: object) -> None:
            tracker(progress)  # type: ignore[arg-type]
            raise KeyboardInterrupt

        train(run, stop)
    spooled = read_spool(run)
    assert spooled is not None
    assert len(spooled.history) == 1
    monkeypatch.delenv("SLURM_JOB_ID")
    mirror = Mirror(tiny)

    def children() -> list[tuple[str, int]]:
        found = mirror._search("tags.`lookalike.kind` = 'run'")
        history = [mirror.client.get_metric_history(child.info.run_id, "train/loss") for child in found]
        return [(child.info.status, len(points)) for child, points in zip(found, history, strict=True)]

    for _ in range(2):
        assert mirror.sync()["running"] == 1
        assert children() == [("RUNNING", 1)]
    alive = frozenset()
    assert mirror.sync()["killed"] == 1
    assert children() == [("KILLED", 1)]
    train(run)
    assert read_spool(run) is None
    assert mirror.sync()["mirrored"] == 1
    statuses = sorted(children())
    assert ("FINISHED", 2) in statuses
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////shared/mlflow.db")
    LiveTracker(run)
    assert "names an SQLite file, which loses data when the jobs of a cluster share it" in caplog.text
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert not must_spool(tiny)


def test_eight_processes_log_to_fresh_tracking_at_once(tiny: Plan) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom lookalike.activity import this_process\n"
        "from lookalike.plan import Plan\nfrom lookalike.tracking.mlflow_mirror import Mirror\n"
        "plan = Plan.read(Path(sys.argv[1]))\nstarted = float(sys.argv[2])\nmirror = Mirror(plan)\n"
        "run_id = mirror.child(plan.run('digits/fc/100/seed0'), started, this_process())\n"
        "rows = [{'epoch': n, 'loss': 1.0, 'accuracy': 0.5, 'lr': 0.1} for n in range(1, 51)]\n"
        "for last in range(10, 51, 10):\n    mirror.log_history(run_id, rows[:last], started)\n"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(tiny.path), str(number)], stderr=subprocess.PIPE, text=True)
        for number in range(1, 9)
    ]
    failed = [said for process in started if (said := process.communicate()[1]) and process.returncode]
    assert failed == []
    mirror = Mirror(tiny)
    found = mirror._search("tags.`lookalike.kind` = 'run'")
    assert len(found) == 8
    assert len(mirror._search("tags.`lookalike.kind` = 'study'")) == 1
    for child in found:
        for metric in ("train/loss", "train/accuracy", "train/lr"):
            history = mirror.client.get_metric_history(child.info.run_id, metric)
            assert sorted(point.step for point in history) == list(range(1, 51))


# Packs


def test_packs_hold_every_run_once_and_what_it_needs(tiny: Plan) -> None:
    plan = planned(tiny, seeds=list(range(7)), sizes=[50, 100], runs_per_job=5)
    made = list(packs(plan))
    assert sorted(run.id for pack in made for run in pack.runs) == sorted(run.id for run in plan.runs())
    assert len({pack.name for pack in made}) == len(made)
    for pack in made:
        assert len(pack.runs) <= 5
        assert all(run.source is None or run.source in pack.runs for run in pack.runs)
    # More seeds leave the packs that were full as they are.
    more = {
        pack.name: pack.runs for pack in packs(planned(tiny, seeds=list(range(9)), sizes=[50, 100], runs_per_job=5))
    }
    assert all([run.id for run in more[p.name]] == [run.id for run in p.runs] for p in made if len(p.runs) >= 4)
    assert list(packs(tiny)) == []


def test_the_record_of_a_pack_without_its_files_goes(tiny: Plan) -> None:
    plan = planned(tiny, runs_per_job=10)
    for pack in packs(plan):
        pack.path.parent.mkdir(exist_ok=True)
        pack.path.write_text("{}")
        for target in pack.targets():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch()
    forget_broken(plan)
    first, *others = packs(plan)
    first.targets()[0].unlink()
    forget_broken(plan)
    assert not first.path.exists()
    assert all(pack.path.exists() for pack in others)


def test_failures_are_one_line_each(tiny: Plan) -> None:
    run = tiny.run("digits/fc/100/seed0")

    def fail() -> None:
        raise LookalikeError("no luck.")

    Work("train").do(run.id, run.log("train"), fail)
    assert failures(tiny) == [f"train digits/fc/100/seed0: no luck. (log: {run.log('train')})"]


# Bundles


@pytest.fixture
def finished(tiny: Plan) -> Plan:
    """A finished study of one model, all files as the workflow leaves them."""
    plan = planned(tiny, models={"nw": {**tiny_study()["models"]["nw"], "modes": ["full"]}})
    run = plan.run("digits/nw/100/seed0")
    train(run)
    precompute_support(run)
    evaluate(run, "full", "test")
    explain(run, "full", "test")
    collect_metrics(plan)
    for name in table_names(plan):
        draw_table(plan, name)
    for name in figure_names(plan):
        draw_figure(plan, name)
    return plan


def test_a_bundle_moves_a_study(finished: Plan, tmp_path: Path) -> None:
    file = tmp_path / "moved" / "tiny.zip"
    bundles.bundle(finished, file)
    first = file.read_bytes()
    bundles.bundle(finished, file)
    assert file.read_bytes() == first
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
    assert not [name for name in names if "safetensors" in name or "checkpoint" in name or "/." in name]
    weighted = tmp_path / "weights.zip"
    bundles.bundle(finished, weighted, weights=True)
    with zipfile.ZipFile(weighted) as archive:
        assert "digits/nw/100/seed0/model.safetensors" in archive.namelist()

    opened = bundles.unbundle(file, tmp_path / "there" / "results")
    remarks = bundles.rebuild(opened)
    assert [remark.split(":")[0] for remark in remarks] == [
        f"figure {kind}-digits-nw-100-full-test stays as it was" for kind in ("weights", "influence")
    ]
    for path in (finished.folder / "tables").iterdir():
        assert (opened.folder / "tables" / path.name).read_bytes() == path.read_bytes()
    for name in ("accuracy", "reliability", "learning_curves"):
        figure = Path("figures") / f"{name}.svg"
        assert (opened.folder / figure).read_bytes() == (finished.folder / figure).read_bytes()
    mirror = Mirror(opened)
    assert mirror.sync()["mirrored"] == 1
    (child,) = mirror._search("tags.`lookalike.kind` = 'run'")
    assert str(tmp_path / "there") in child.info.artifact_uri
    downloaded = mirror.client.download_artifacts(child.info.run_id, "run.json")
    assert Path(downloaded).read_bytes() == (finished.folder / "digits/nw/100/seed0/run.json").read_bytes()
    with pytest.raises(LookalikeError, match=r"results/tiny exists; move it away"):
        bundles.unbundle(file, tmp_path / "there" / "results")


def test_a_bundle_that_was_changed_is_refused(finished: Plan, tmp_path: Path) -> None:
    file, changed = tmp_path / "tiny.zip", tmp_path / "changed.zip"
    bundles.bundle(finished, file)
    for kind in ("content", "more", "less", "none", "traversal"):
        with zipfile.ZipFile(file) as source, zipfile.ZipFile(changed, "w") as target:
            for name in source.namelist():
                content = source.read(name)
                if name == "tables/metrics.csv":
                    content = content.replace(b"0.", b"1.", 1) if kind == "content" else content
                    if kind == "less":
                        continue
                if kind == "none" and name == "bundle.json":
                    continue
                if kind == "traversal" and name == "plan.json":
                    content = content.replace(b'"study": "tiny"', b'"study": "../../x"')
                if kind == "traversal" and name == "bundle.json":
                    listed = json.loads(content)
                    plan = source.read("plan.json").replace(b'"study": "tiny"', b'"study": "../../x"')
                    listed["files"]["plan.json"]["sha256"] = hashlib.sha256(plan).hexdigest()
                    content = json.dumps(listed).encode()
                target.writestr(name, content)
            if kind == "more":
                target.writestr("tables/more.csv", b"")
        with pytest.raises(
            LookalikeError,
            match=r"another content than it lists|differ by tables|holds no bundle.json|the name '../../x'",
        ):
            bundles.unbundle(changed, tmp_path / "results2")
        assert not list((tmp_path / "results2").glob("*"))
    (finished.run("digits/nw/100/seed0").predictions("full", "test")).unlink()
    with pytest.raises(LookalikeError, match=r"study tiny lacks 1 of 1 predictions, .*predictions.parquet for one"):
        bundles.bundle(finished, file)
