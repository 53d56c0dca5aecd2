"""Which processes live, here and in SLURM, and how they are asked to stop."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lookalike.core.processes import STOP_SIGNALS, StopRequest, ask_slurm, is_alive, this_process

ROOT = Path(__file__).parents[2]


def test_slurm_jobs_are_alive_while_squeue_says_so(tmp_path: Path) -> None:
    squeue = tmp_path / "squeue"
    squeue.write_text("#!/bin/sh\necho 17\n")
    squeue.chmod(0o755)
    code = "from lookalike.core.processes import is_alive; print(is_alive('node1:5@17'), is_alive('node1:5@18'))"
    # The wrapper, whichever its place in PATH, asks the real one.
    path = {"PATH": f"/nowhere:{ROOT / 'profiles' / 'slurm' / 'bin'}:{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **path}, capture_output=True, text=True)
    assert done.stdout.split() == ["True", "False"], done.stderr
    assert is_alive("another-host:5")
    assert not is_alive(this_process().rpartition(":")[0] + ":999999999")


def test_this_process_is_alive_and_a_dead_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert this_process() == f"{socket.gethostname()}:{os.getpid()}"
    assert is_alive(this_process())
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    name = f"{socket.gethostname()}:{other.pid}"
    assert is_alive(name)
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert not is_alive(name)


def test_in_a_slurm_job_the_number_of_the_process_counts_on_its_own_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    assert this_process() == f"{socket.gethostname()}:{os.getpid()}@17"
    assert is_alive(this_process())
    assert not is_alive(f"{socket.gethostname()}:999999999@17")


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_that_asks_to_stop_is_remembered(number: signal.Signals) -> None:
    before = {each: signal.getsignal(each) for each in STOP_SIGNALS}
    with StopRequest() as stop:
        assert stop.signal == ""
        os.kill(os.getpid(), number)
        assert stop.signal == number.name
        assert {signal.getsignal(each) for each in STOP_SIGNALS} == {stop._remember}
    assert stop.signal == number.name
    assert {each: signal.getsignal(each) for each in STOP_SIGNALS} == before


def test_signals_end_a_process_before_and_after_and_not_in_between() -> None:
    code = (
        "import os, signal\nfrom lookalike.core.processes import StopRequest\n"
        "with StopRequest() as stop:\n    os.kill(os.getpid(), signal.SIGUSR1)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n    print(stop.signal)\nprint('left', flush=True)\n"
        "os.kill(os.getpid(), signal.SIGTERM)\nprint('not reached', flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["SIGTERM", "left"]  # the last one counts
    assert done.returncode == -signal.SIGTERM


def test_slurm_that_is_not_there_or_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask_slurm("no-such-command") is None
    slow = tmp_path / "slow"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    begin = time.monotonic()
    assert ask_slurm(str(slow), seconds=0.2) is None
    assert time.monotonic() - begin < 30
    monkeypatch.setenv("KEPT", "kept")
    answer = ask_slurm("sh", "-c", "echo $KEPT $SHOWN; exit 3", environment={"SHOWN": "shown"})
    assert answer is not None
    assert (answer.stdout, answer.returncode) == ("kept shown\n", 3)


def test_processes_of_other_hosts_live_while_slurm_does_not_say_otherwise(tmp_path: Path) -> None:
    """Where squeue fails or is missing, a job counts as alive; a process of no job always does."""
    squeue = tmp_path / "squeue"
    squeue.write_text("#!/bin/sh\necho 17\nexit 1\n")
    squeue.chmod(0o755)
    code = "from lookalike.core.processes import is_alive; print(is_alive('node1:5@18'), is_alive('node1:5'))"
    for path in (str(tmp_path), "/nowhere"):
        done = subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PATH": path}, capture_output=True, text=True
        )
        assert done.stdout.split() == ["True", "True"], done.stderr


STOPPED_TWICE = """
import os, signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin without one
from lookalike.core.processes import StopRequest
try:
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        raise ValueError(f"stopped by {stop.signal}")
except ValueError as error:
    os.kill(os.getpid(), signal.SIGTERM)
    print(error)
os.kill(os.getpid(), signal.SIGINT)
"""


def test_a_second_signal_does_not_keep_a_process_from_telling_why_it_ends() -> None:
    done = subprocess.run([sys.executable, "-c", STOPPED_TWICE], capture_output=True, text=True)
    assert done.stdout == "stopped by SIGTERM\n"
    assert "KeyboardInterrupt" in done.stderr
