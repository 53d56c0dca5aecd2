"""GPUs are shared by locks of the kernel."""

import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lookalike.core.devices import take_slot

# Starting takes longer than taking: all start at once, and each takes its slot when it is told.
HOLD = (
    "import sys, time\nfrom lookalike.core.devices import take_slot\nsys.stdin.readline()\n"
    "print(take_slot(sys.argv[1].split(','), int(sys.argv[2])), flush=True)\ntime.sleep(60)\n"
)


def tell(process: subprocess.Popen) -> None:
    assert process.stdin is not None
    process.stdin.write("take\n")
    process.stdin.flush()


def slot_of(process: subprocess.Popen) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.long
def test_runs_spread_over_gpus_and_a_killed_one_makes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    command = [sys.executable, "-c", HOLD, "3,5", "2"]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(5)]
    *holders, waiting = processes
    slots = []
    for holder in holders:
        tell(holder)
        slots.append(slot_of(holder))
    assert slots == ["0", "1", "0", "1"]
    tell(waiting)
    time.sleep(2)
    assert waiting.poll() is None
    assert select.select([waiting.stdout], [], [], 0)[0] == []  # it has no slot yet
    holders[3].kill()
    assert slot_of(waiting) == "1"
    for process in processes:
        process.kill()
        process.wait()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert take_slot(["3", "5"], 1) == 0
