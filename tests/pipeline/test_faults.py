"""Faults at every write of a run: nothing lost, nothing half, and the same bytes after another try.

Each case works in a forked process, so that SIGKILL really kills and limits hold for it alone.
"""

import errno
import importlib
import json
import os
import resource
import shutil
import signal
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from helpers.studies import make_plan, run_stage

from lookalike.core.errors import LookalikeError
from lookalike.pipeline.fingerprint import fingerprint
from lookalike.pipeline.jobs import run_jobs
from lookalike.reporting.catalogue import tables_of
from lookalike.stages.draw_table import draw_table
from lookalike.study.plan import Plan
from lookalike.tracking.live import LiveTracker

TRAINING = {"epochs": 2, "batch_size": 40, "lr": 0.1, "checkpoint_seconds": 0}
STUDY = {
    "version": 2,
    "name": "faults",
    "datasets": ["digits"],
    "train_sizes": [60],
    "seeds": [0],
    "explained_queries": 2,
    "models": {
        "nw": {
            "method": "nw",
            "training": TRAINING,
            "inference": {"n_neighbors": 5, "n_clusters": 1},
            "modes": ["full"],
        }
    },
}
RUN = "digits/nw/60/seed0"
# What a run loads late, loaded once here: each forked process would load it anew.
for module in (
    *(f"lookalike.stages.{name}" for name in ("train", "embed", "evaluate", "explain", "collect_metrics")),
    *("lookalike.methods.nw.classifier", "lookalike.backbones.small_cnn", "lookalike.reporting.summaries"),
    *("lookalike.reporting.tables.accuracy", "torch._dynamo", "faiss", "sklearn.cluster"),
):
    importlib.import_module(module)
OF_AN_ATTEMPT = ("started", "seconds", "attempts", "uid", "digest")  # keys of run.json that differ
injected: dict[str, int] = {}


@pytest.fixture(scope="module", autouse=True)
def count_faults(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        total = sum(injected.values())
        print(f"\n{total} faults injected, 0 lost or half results: " + json.dumps(injected))


def evaluate(plan: Plan) -> None:
    run_stage(plan, "evaluate", plan.run(RUN), "full", "test")


def make_run(plan: Plan) -> None:
    """Every stage of one run and of its study's numbers; what is done already is left, as the workflow does."""
    run = plan.run(RUN)
    steps: list[tuple[Path, Callable[[], object]]] = [
        (run.record, lambda: run_stage(plan, "train", run)),
        (run.queries("test"), lambda: run_stage(plan, "embed", run)),
        (run.predictions("full", "test"), lambda: evaluate(plan)),
        (run.explanations("full", "test"), lambda: run_stage(plan, "explain", run, "full", "test")),
        (plan.folder / "tables" / "ood_metrics.csv", lambda: run_stage(plan, "collect_metrics")),
        (plan.folder / "tables" / "accuracy.tex", lambda: draw_table(plan, "accuracy")),
    ]
    for last_output, step in steps:
        if not last_output.exists():
            step()


def state(plan: Plan) -> dict[str, bytes]:
    """Every finished file of the study; temporary names, checkpoints and what only tells times are no results."""
    files = {}
    for path in sorted(plan.folder.rglob("*")):
        name = str(path.relative_to(plan.folder))
        if not path.is_file() or path.name.startswith(".") or "checkpoint" in name or name == "plan.json":
            continue
        content = path.read_bytes()
        if path.name == "run.json":
            values = {key: value for key, value in json.loads(content).items() if key not in OF_AN_ATTEMPT}
            content = json.dumps(values).encode()
        files[name] = content
    return files


def in_child(action: Callable[[], object]) -> int:
    """Do it in a forked process; its exit status, negative for a signal, 7 for one sentence to the user."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            torch.set_num_threads(1)
            os.close(2)
            os.open(os.devnull, os.O_WRONLY)
            action()
            status = 0
        except LookalikeError:
            status = 7
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.fixture
def fresh(tmp_path: Path, digits: Path) -> Callable[[], Plan]:
    """Plans in folders of their own."""
    numbers = iter(range(10_000))

    def make() -> Plan:
        plan = make_plan(STUDY, tmp_path / f"results{next(numbers)}")
        plan.write()
        shutil.copytree(digits, plan.data_folder("digits"))
        return plan

    return make


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, digits: Path) -> dict[str, bytes]:
    """What an undisturbed run leaves."""
    plan = make_plan(STUDY, tmp_path_factory.mktemp("whole") / "results")
    plan.write()
    tables_of(plan)  # like the modules above: known to all forked processes
    for job in run_jobs(plan):
        fingerprint(plan, job.stage.name, job.item)
    shutil.copytree(digits, plan.data_folder("digits"))
    assert in_child(lambda: make_run(plan)) == 0
    return state(plan)


def inject(kind: str) -> None:
    injected[kind] = injected.get(kind, 0) + 1


def assert_recovers(plan: Plan, whole: dict[str, bytes]) -> None:
    """What is there is whole, and another try makes the rest, with the same bytes."""
    half = [name for name, content in state(plan).items() if content != whole.get(name)]
    assert half == []
    assert in_child(lambda: make_run(plan)) == 0
    assert state(plan) == whole


def at_rename(number: int, before: bool, act: Callable[[], None]) -> None:
    """Have the so manieth rename of this process do something first or afterwards."""
    rename, seen = os.replace, iter(range(10_000))

    def faulty(*arguments: object) -> None:
        now = next(seen) == number
        if now and before:
            act()
        rename(*arguments)  # type: ignore[arg-type]
        if now:
            act()

    os.replace = faulty  # type: ignore[assignment]


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def refuse(code: int) -> Callable[[], None]:
    def act() -> None:
        raise OSError(code, os.strerror(code))

    return act


FAULTS: dict[str, tuple[bool, Callable[[], None], int]] = {
    "killed before a rename": (True, kill, -signal.SIGKILL),
    "killed after a rename": (False, kill, -signal.SIGKILL),
    "disk full": (True, refuse(errno.ENOSPC), 7),
    "read-only results": (True, refuse(errno.EROFS), 7),
}


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[pytest.mark.long] * (kind != "disk full")) for kind in FAULTS]
)
def test_every_write(kind: str, fresh: Callable[[], Plan], whole: dict[str, bytes]) -> None:
    before, act, expected = FAULTS[kind]
    for number in range(10_000):
        plan = fresh()

        def faulty(plan: Plan = plan, number: int = number) -> None:
            at_rename(number, before, act)
            make_run(plan)

        status = in_child(faulty)
        if status == 0:
            # Writes of one run: checkpoints, weights, history, record, support, predictions, tables.
            assert number >= 18
            break
        assert status == expected, number
        inject(kind)
        assert_recovers(plan, whole)


@pytest.mark.parametrize("size", [0, 1, 100, 1000, 10_000, 50_000])
def test_a_disk_that_fills_in_the_middle_of_a_file(
    size: int, fresh: Callable[[], Plan], whole: dict[str, bytes]
) -> None:
    plan = fresh()

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        make_run(plan)

    assert in_child(limited) == 7
    inject("file too large for the disk")
    assert_recovers(plan, whole)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_truncated_checkpoint(share: float, fresh: Callable[[], Plan], whole: dict[str, bytes]) -> None:
    plan = fresh()

    def killed() -> None:
        at_rename(2, False, kill)
        make_run(plan)

    assert in_child(killed) == -signal.SIGKILL
    path = plan.run(RUN).folder / "checkpoint.pt"
    assert zipfile.is_zipfile(path)
    os.truncate(path, int(path.stat().st_size * share))
    inject("truncated checkpoint")
    assert_recovers(plan, whole)
    assert (path.parent / "checkpoint.damaged.pt").exists()


@pytest.mark.parametrize("name", ["support", "queries@test"])
@pytest.mark.parametrize("place", [0.0, 0.5, 0.999])
def test_a_corrupted_support_store(name: str, place: float, fresh: Callable[[], Plan], whole: dict[str, bytes]) -> None:
    """Noticed, never computed with; embedding again mends it."""
    plan = fresh()
    run = plan.run(RUN)
    assert in_child(lambda: (run_stage(plan, "train", run), run_stage(plan, "embed", run))) == 0
    path = run.support_folder / f"{name}.safetensors"
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1
    path.write_bytes(content)
    inject("corrupted support store")
    assert in_child(lambda: evaluate(plan)) == 7
    assert not run.predictions("full", "test").exists()
    shutil.rmtree(run.support_folder)  # as the message says
    assert_recovers(plan, whole)


@pytest.mark.parametrize("uri", ["sqlite:////proc/none/mlflow.db", "http://127.0.0.1:9", "file:///proc/none"])
def test_a_tracker_that_is_down(
    uri: str, fresh: Callable[[], Plan], whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = fresh()
    run = plan.run(RUN)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr("lookalike.tracking.live.FLUSH_SECONDS", 0.0)
    assert in_child(lambda: run_stage(plan, "train", run, on_epoch=LiveTracker(plan, run))) == 0
    inject("tracker down")
    assert_recovers(plan, whole)


@pytest.mark.parametrize("jump", [-400 * 86400.0, 400 * 86400.0])
def test_a_clock_that_jumps(jump: float, fresh: Callable[[], Plan], whole: dict[str, bytes]) -> None:
    """Forwards and backwards by more than a year at every look at it."""
    plan = fresh()
    clock, looks = time.time, iter(range(1_000_000))

    def jumping() -> None:
        time.time = lambda: clock() + jump * next(looks)  # type: ignore[assignment]
        make_run(plan)

    assert in_child(jumping) == 0
    inject("clock jump")
    assert_recovers(plan, whole)


def test_state_sees_half_files(fresh: Callable[[], Plan], whole: dict[str, bytes]) -> None:
    """The check itself: a file cut short is found."""
    plan = fresh()
    assert in_child(lambda: make_run(plan)) == 0
    path = plan.folder / "tables" / "metrics.csv"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(AssertionError, match=r"metrics\.csv"):
        assert_recovers(plan, whole)
