"""One run on several GPUs, each with its part of every batch; on several processes where there is no GPU."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from threading import Thread
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from torch.multiprocessing.spawn import ProcessException

from lookalike.contracts.settings import TrainingSettings
from lookalike.core.errors import LookalikeError
from lookalike.core.processes import STOP_SIGNALS

Report = Callable[[Any], None]


def train_on_devices(settings: TrainingSettings, work: Callable[[Fabric, Report], None], report: Report) -> None:
    """Do the same work in one process a device, joined by Fabric.

    Processes are forked, so that nothing needs to be importable or pickled; this process must not have used CUDA.

    Args:
        settings: Settings of the training.
        work: What each process does; what it gives to its second argument in the first of them arrives at `report`.
        report: Called in this process.

    Raises:
        LookalikeError: There are fewer GPUs than asked for, the work raised it in the first process, or a process died.
    """
    gpus = torch.cuda.device_count()
    if 0 < gpus < settings.devices:
        raise LookalikeError(f"training.devices is {settings.devices}, but {gpus} GPUs are here; ask for fewer.")
    fabric = Fabric(
        accelerator="cuda" if gpus else "cpu",
        devices=settings.devices,
        strategy="ddp_fork",
        precision=settings.precision,
        plugins=LightningEnvironment(),  # named, since Fabric would take a SLURM job for one of its own
    )
    arriving, leaving = multiprocessing.Pipe(duplex=False)
    relay = Thread(target=_relay, args=(arriving, report), daemon=True)
    relay.start()
    try:
        with _forwarding():
            failed = fabric.launch(partial(_in_process, work=work, leaving=leaving))
    except ProcessException as error:
        last = str(error).strip().splitlines()[-1]
        raise LookalikeError(f"one of {settings.devices} processes failed ({last}); its trace is above.") from error
    finally:
        leaving.close()
        relay.join()
    if failed:
        raise LookalikeError(failed)


def _in_process(fabric: Fabric, work: Callable[[Fabric, Report], None], leaving: Connection) -> str:
    """What each process does; returns the error of the first one, which stops all of them at the same step."""
    try:
        work(fabric, leaving.send if fabric.is_global_zero else lambda _: None)
    except LookalikeError as error:
        return str(error)
    return ""


def _relay(arriving: Connection, report: Report) -> None:
    while True:
        try:
            report(arriving.recv())
        except EOFError:  # the other end is closed, here and in every process
            return


@contextmanager
def _forwarding() -> Iterator[None]:
    """While entered, signals that ask to stop go to the processes, which keep a checkpoint."""

    def forward(number: int, _: object) -> None:
        for process in multiprocessing.active_children():
            if process.pid is not None:
                os.kill(process.pid, number)

    before = {number: signal.signal(number, forward) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
