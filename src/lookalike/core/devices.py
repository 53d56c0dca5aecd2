"""Where computations run: the CPU, or a GPU that has room for one more run.

Snakemake counts GPUs but gives none to a job. Each run of this machine therefore holds a lock file for the GPU it uses;
the kernel lets go of it when the run ends, however it ends.
"""

from __future__ import annotations

import os
import time
from typing import IO

import torch

from lookalike.core.locks import private_folder, try_lock

WAIT_SECONDS = 0.5
_locks: list[IO[str]] = []  # of this process; a lock lives as long as its file is open
_devices: list[torch.device] = []


def best_device(runs_per_gpu: int = 1) -> torch.device:
    """A CUDA device with room, waiting for one if need be, else the CPU; the same one for the life of the process.

    Args:
        runs_per_gpu: Runs of this user that share a device.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    if not _devices:
        _devices.append(torch.device("cuda", take_slot(visible_gpus(), runs_per_gpu)))
    return _devices[0]


def visible_gpus() -> list[str]:
    """Names of the GPUs in the order of their CUDA numbers, equal in all processes of this machine."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    return [name.strip() for name in visible.split(",")][:count] if visible else [str(index) for index in range(count)]


def take_slot(gpus: list[str], runs_per_gpu: int) -> int:
    """Hold a free slot of the least used GPU and return its index; waits where all are taken.

    Args:
        gpus: Names of the GPUs.
        runs_per_gpu: Slots of each GPU.

    Raises:
        OSError: The folder of the locks belongs to somebody else.
    """
    folder = private_folder()
    job = os.environ.get("SLURM_JOB_ID", "")  # in a job of a cluster GPUs may be numbered from 0, whichever they are
    while True:
        for slot in range(runs_per_gpu):
            for index, name in enumerate(gpus):
                lock = try_lock(os.path.join(folder, f"gpu{job}-{name.replace('/', '_')}-{slot}.lock"))
                if lock is not None:
                    _locks.append(lock)
                    return index
        time.sleep(WAIT_SECONDS)
