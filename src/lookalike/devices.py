"""Where computations run: the CPU, or a GPU that has room for one more run.

Snakemake counts GPUs but gives none to a job. Each run of this machine therefore holds a lock file for the GPU it uses;
the kernel lets go of it when the run ends, however it ends.
"""

from __future__ import annotations

import fcntl
import os
import time

import torch

from lookalike.serve.client import private_folder

WAIT_SECONDS = 0.5
_held: list[int] = []  # of this process; a lock lives as long as its file is open
_place: list[torch.device] = []


def best_device(runs_per_gpu: int = 1) -> torch.device:
    """A CUDA device with room, waiting for one if need be, else the CPU; the same one for the life of the process.

    Args:
        runs_per_gpu: runs of this user that share a device.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    if not _place:
        _place.append(torch.device("cuda", take_slot(visible_gpus(), runs_per_gpu)))
    return _place[0]


def visible_gpus() -> list[str]:
    """Names of the GPUs in the order of their CUDA numbers, equal in all processes of this machine."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    return [name.strip() for name in named.split(",")][:count] if named else [str(index) for index in range(count)]


def take_slot(gpus: list[str], runs_per_gpu: int) -> int:
    """Hold a free slot of the least used GPU and return its index; waits where all are taken.

    Raises:
        OSError: the folder of the locks belongs to somebody else.
    """
    folder = private_folder()
    job = os.environ.get("SLURM_JOB_ID", "")  # in a job of a cluster GPUs may be numbered from 0, whichever they are
    while True:
        for slot in range(runs_per_gpu):
            for index, name in enumerate(gpus):
                path = os.path.join(folder, f"gpu{job}-{name.replace('/', '_')}-{slot}.lock")
                lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    os.close(lock)
                    continue
                _held.append(lock)
                return index
        time.sleep(WAIT_SECONDS)
