"""Train one run: open everything, train, write weights, history and record."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment

from lookalike.core.determinism import pin_arithmetic
from lookalike.core.errors import LookalikeError
from lookalike.core.files import digest, read_json, sha256, write_sealed
from lookalike.core.locks import locked, try_lock
from lookalike.core.tensors import write_tensors
from lookalike.data.images import open_images
from lookalike.stages.opening import OpenedRun, open_run
from lookalike.stages.task import Task
from lookalike.tracking.record import write_record
from lookalike.tracking.spool import spool_path
from lookalike.training.ddp import train_on_devices
from lookalike.training.loop import Progress, Training, as_csv

log = logging.getLogger(__name__)


def train(task: Task, on_epoch: Callable[[Progress], None] = lambda progress: None) -> None:
    """Write model.safetensors, history.csv and run.json of a run.

    Where another process trains it, a workflow that was killed left it perhaps, wait; what it finished stays.

    Args:
        task: The job.
        on_epoch: Called after each epoch, for trackers and progress bars.

    Raises:
        LookalikeError: The run trains nothing, data are unusable, a class has too few images, a loss is not finite, or
            a signal asked to stop.
    """
    run, settings = task.run, task.plan.settings_of(task.run)
    if settings.own_training is None:
        giver = task.plan.giver_of(run)
        source = settings.backbone.weights if giver is None else giver.id
        raise LookalikeError(f"{run.id} trains nothing; its network comes from {source}.")
    opened = open_run(task)
    key = checkpoint_key(opened)
    run.folder.mkdir(parents=True, exist_ok=True)
    path = run.folder / ".training"
    try:
        lock = try_lock(path)
    except OSError as error:  # a file system without locks
        log.warning("%s cannot be locked (%s)", run.folder, error)
        _train_on_all(opened, key, on_epoch)
        return
    if lock is not None:
        with lock:
            _train_on_all(opened, key, on_epoch)
        return
    log.info("%s is being trained by another process: waiting", run.id)
    with locked(path):
        if is_finished(task, key):
            log.info("%s was finished by it", run.id)
        else:
            _train_on_all(opened, key, on_epoch)


def is_finished(task: Task, key: str) -> bool:
    """Whether all outputs of a run are there, of these settings, data and code."""
    run = task.run
    return (
        all(path.exists() for path in (run.weights, run.history, run.record))
        and read_json(run.record).get("key") == key
    )


def checkpoint_key(opened: OpenedRun) -> str:
    """What a checkpoint must agree with to be resumed: settings, seeds, threads and code, and the bytes it reads."""
    giver = opened.files.giver
    frozen = None if giver is None else sha256(giver)
    return digest([opened.task.fingerprint("train", ""), opened.data.hash, frozen])


def _train_on_all(opened: OpenedRun, key: str, on_epoch: Callable[[Progress], None]) -> None:
    """Train on one device, or on several in processes of their own."""
    settings = opened.settings.own_training
    assert settings is not None
    if settings.devices > 1:
        train_on_devices(settings, partial(_train, opened, key), on_epoch)
        return
    device = opened.device()
    fabric = Fabric(
        accelerator=device.type,
        devices=1 if device.type == "cpu" else [device.index],
        precision=settings.precision,
        # Named, since Fabric would take a SLURM job for one of its own and look for `srun`.
        plugins=LightningEnvironment(),
    )
    _train(opened, key, fabric, on_epoch)


def _train(opened: OpenedRun, key: str, fabric: Fabric, on_epoch: Callable[[Progress], None]) -> None:
    """Train a run that no other process trains, or with others that do the same on other devices."""
    pin_arithmetic(opened.plan.threads)  # in each process
    run, settings = opened.run, opened.settings.own_training
    assert settings is not None
    rows = opened.training_rows()
    pool = open_images(opened.data, rows, fabric.device, settings)
    checkpoint = run.folder / "checkpoint.pt"
    training = Training(run.id, opened.fresh_classifier(), pool, settings, opened.seeds, fabric, checkpoint, key)
    classifier = training.finish(on_epoch)
    if not fabric.is_global_zero:
        return
    progress = training.progress
    write_tensors(run.weights, classifier.state_dict())
    write_sealed(run.history, as_csv(progress.history))
    write_record(
        opened.plan,
        run,
        opened.data,
        len(rows),
        str(fabric.device),
        progress.started,
        progress.seconds,
        epochs=settings.epochs,
        attempts=progress.attempts,
        micro_batch=progress.micro_batch or settings.micro_batch or settings.batch_size,
        key=key,
    )
    for leftover in (checkpoint, spool_path(run)):
        leftover.unlink(missing_ok=True)
    for left_by_killed_attempt in run.folder.glob(".*.tmp*"):
        left_by_killed_attempt.unlink()
