"""After a kill at any moment the next call makes all that is missing, with the same bytes."""

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from base64 import b64encode
from pathlib import Path

import pytest
import yaml
from helpers.checkout import STUDY, TRAINING, Checkout

from lookalike.core.errors import LookalikeError
from lookalike.pipeline.study_lock import check_targets

KILLED = {**STUDY, "name": "killed", "models": {"fc": {"method": "fc", "training": {**TRAINING, "epochs": 1}}}}
FILES = ("tables/metrics.csv", "tables/accuracy.csv", "digits/fc/60/seed0/model.safetensors")


@pytest.fixture
def killed(tmp_path: Path) -> Checkout:
    copy = Checkout(tmp_path)
    copy.write(KILLED)
    return copy


def start(checkout: Checkout, *arguments: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "snakemake", *arguments, "--config", "study=study.yaml"]
    with open(checkout.folder / "killed.log", "ab") as log:
        return subprocess.Popen(
            command, cwd=checkout.folder, env=checkout.environment, stdout=log, stderr=log, start_new_session=True
        )


def digests(checkout: Checkout) -> dict[str, str]:
    folder = checkout.folder / "results" / "killed"
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES}


def test_a_mark_that_a_killed_workflow_left_hides_nothing(killed: Checkout) -> None:
    """Snakemake's mark of the tracking state forced one job, and behind it nothing was done: "1 of 1 steps"."""
    killed.run("data", "results/tracking/init_tracking-killed.json")
    mark = killed.folder / ".snakemake/incomplete"
    (mark / b64encode(b"results/tracking/init_tracking-killed.json").decode()).write_text('{"external_jobid": null}')
    rules = killed.run("tables")
    assert rules.count("train") == 1
    assert (killed.folder / "results/killed/tables/accuracy.csv").exists()
    # The plan is made again where it is lost, even where nothing else is due.
    (killed.folder / "results/killed/plan.json").unlink()
    assert killed.run("tables") == []
    assert (killed.folder / "results/killed/plan.json").exists()


def test_a_workflow_that_ends_well_without_its_files_says_so(killed: Checkout) -> None:
    class Job:
        def __init__(self, output: list[str], inputs: list[str]) -> None:
            self.output, self.input = output, inputs

    there, gone = str(killed.folder / "Snakefile"), str(killed.folder / "gone.csv")
    check_targets([Job([there], [gone]), Job([], [there])])
    for jobs in ([Job([gone], [])], [Job([], [there, gone])]):
        with pytest.raises(LookalikeError, match=r"the workflow ended, but 1 of \d files .* not there, .*gone.csv"):
            check_targets(jobs)


def test_two_studies_in_a_fresh_folder_run_side_by_side(killed: Checkout) -> None:
    """One prepares the data that both need; the other waits for it, and for nothing else."""
    (killed.folder / "other.yaml").write_text(yaml.safe_dump({**KILLED, "name": "other"}, sort_keys=False))
    processes = []
    for name in ("study", "other"):
        command = [sys.executable, "-m", "snakemake", "tables", "--config", f"study={name}.yaml"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        processes.append(subprocess.Popen(command, cwd=killed.folder, env=killed.environment, **pipes))
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    tables = [(killed.folder / f"results/{name}/tables/accuracy.csv").read_bytes() for name in ("killed", "other")]
    assert tables[0] == tables[1]
    assert sum("Finished jobid" in line and "prepare_data" in line for line in "".join(outputs).splitlines()) == 1


def test_the_second_controller_of_a_study_is_told_who_works(killed: Checkout) -> None:
    killed.write({**KILLED, "models": {"fc": {"method": "fc", "training": {**TRAINING, "epochs": 400, "lr": 0.01}}}})
    first = start(killed, "tables")
    lock = killed.folder / "results/killed/.controller"
    deadline = time.monotonic() + 120
    while not (lock.exists() and lock.read_text().startswith("process")) and time.monotonic() < deadline:
        time.sleep(0.1)
    second = killed.snakemake("tables")
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    output = second.stdout + second.stderr
    assert second.returncode != 0
    assert "study killed is being run already (process " in output
    assert "unlock" not in output
    assert "Traceback" not in output


KILLS = int(os.environ.get("LOOKALIKE_KILLS", "6"))  # CI takes fewer


@pytest.mark.long
def test_kills_lose_nothing(killed: Checkout) -> None:
    """Of the main process alone, whose jobs go on as orphans, or of all; at random, and while the first jobs run."""
    killed.run("tables")
    whole, chooser = digests(killed), random.Random(0)
    results = killed.folder / "results"
    for number in range(KILLS):
        for folder in ("killed", "tracking", *(["data"] if number % 3 else [])):
            shutil.rmtree(results / folder)
        process = start(killed, "tables")
        if number % 2:
            time.sleep(chooser.uniform(0.5, 9))
        else:  # as the first outputs appear
            deadline = time.monotonic() + 60
            while not list(results.glob("tracking/init_tracking*")) and time.monotonic() < deadline:
                time.sleep(0.005)
        if chooser.random() < 0.5:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.wait()
        killed.run("tables")
        assert digests(killed) == whole, number
        assert killed.run("tables") == []
