"""Time and memory of one call, measured side by side with others in the same process."""

from __future__ import annotations

import ctypes
import json
import platform
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    cpu = platform.processor()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
            break
    return {
        "cpu": cpu,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def interleaved(calls: dict[str, Callable[[], Any]], repeats: int) -> dict[str, dict[str, float]]:
    """Run the calls in turn, `repeats` times after one warm-up; seconds as minimum and median."""
    for call in calls.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {name: {"minimum": min(values), "median": statistics.median(values)} for name, values in seconds.items()}


def _resident() -> int:
    """Resident bytes of this process, from the kernel."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def extra_memory(call: Callable[[], Any]) -> int:
    """Peak resident bytes during the call beyond those before it.

    The kernel's own high-water mark, reset just before; a thread samples where it cannot be reset.
    """
    ctypes.CDLL(None).malloc_trim(0)  # free memory kept by malloc would hide what the call needs
    before = _resident()
    try:
        Path("/proc/self/clear_refs").write_text("5")
        call()
        status = Path("/proc/self/status").read_text()
        peak = int(status.split("VmHWM:")[1].split()[0]) * 1024
    except OSError:
        peak, done = before, threading.Event()

        def watch() -> None:
            nonlocal peak
            while not done.wait(0.0005):
                peak = max(peak, _resident())

        thread = threading.Thread(target=watch)
        thread.start()
        call()
        done.set()
        thread.join()
    return max(peak - before, 0)


def save(path: Path, name: str, metrics: dict[str, Any]) -> None:
    """Write the record of one benchmark: name, environment, metrics."""
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {"name": name, "environ": machine(), "metrics": metrics}
    path.write_text(json.dumps(record, indent=1) + "\n")
