"""Train one run: steps on device-resident images, checkpoints, exact resume, one record at the end.

Randomness is a function of (run, purpose, step), never of what was drawn before. A training that was killed at
any point and started again therefore ends with the same bytes as one that was not.
"""

from __future__ import annotations

import csv
import io
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from filelock import FileLock, Timeout
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from torch.optim.swa_utils import AveragedModel

from lookalike.data.images import Images, open_images
from lookalike.data.prepared import PreparedData, open_data
from lookalike.determinism import generator, pin_arithmetic
from lookalike.devices import best_device
from lookalike.errors import LookalikeError
from lookalike.files import digest, read_json, sha256, write_text
from lookalike.methods.base import Batch, Classifier
from lookalike.methods.build import build_classifier
from lookalike.plan import RunSpec
from lookalike.settings import TrainingSettings
from lookalike.stages import stage_code
from lookalike.tensors import write_tensors
from lookalike.tracking.record import write_record
from lookalike.tracking.spool import spool_path
from lookalike.training.averaging import make_average, take_average
from lookalike.training.checkpoint import load_checkpoint, save_checkpoint
from lookalike.training.schedules import learning_rate
from lookalike.training.stopping import StopRequest
from lookalike.training.together import train_together

PURPOSES = ("augment", "support", "noise", "view")
SHARED = ("support",)  # by all parts of a batch
STEPS_UNSEEN = 64  # a bad loss is noticed after so many steps at the latest
Row = dict[str, float | int]
log = logging.getLogger(__name__)


@dataclass
class Progress:
    """Where a training stands; with weights and optimiser, all that a checkpoint holds.

    Attributes:
        step: steps done.
        loss, correct, seen: sums over the current epoch.
        history: one row per finished epoch.
        seconds: training time of all attempts.
        attempts: starts, this one included.
        started: seconds since 1970 at the first start; identifies the run for tracking.
        micro_batch: images that pass the network at once; 0 for the whole batch.
        bad_steps: steps in a row that were left out, their loss not finite.
    """

    step: int = 0
    loss: float = 0.0
    correct: float = 0.0
    seen: int = 0
    history: list[Row] | None = None
    seconds: float = 0.0
    attempts: int = 1
    started: float = 0.0
    micro_batch: int = 0
    bad_steps: int = 0


def train(run: RunSpec, on_epoch: Callable[[Progress], None] = lambda progress: None) -> None:
    """Train a run and write model.safetensors, history.csv and run.json.

    Where another process trains it, a workflow that was killed left it perhaps, wait; what it finished stays.

    Args:
        run: the run.
        on_epoch: called after each epoch, for trackers and progress bars.

    Raises:
        LookalikeError: unusable data, a class without enough images, a loss that is not finite, or a signal that
            asked to stop.
    """
    data = open_data(run)
    key = checkpoint_key(run, data)
    run.folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(run.folder / ".training")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        log.info("%s is being trained by another process: waiting", run.id)
        lock.acquire()
        if _is_finished(run, key):
            log.info("%s was finished by it", run.id)
            lock.release()
            return
    except (NotImplementedError, OSError) as error:  # a file system without locks
        log.warning("%s cannot be locked (%s)", run.folder, error)
    try:
        settings = TrainingSettings.model_validate(run.settings["training"])
        if settings.devices > 1:
            train_together(settings, partial(_train, run, data, key), on_epoch)
        else:
            _train(run, data, key, _alone(run, settings), on_epoch)
    finally:
        lock.release()


def _is_finished(run: RunSpec, key: str) -> bool:
    """Whether all outputs are there, of these settings, data and code."""
    record = run.folder / "run.json"
    outputs = (run.folder / "model.safetensors", run.folder / "history.csv", record)
    return all(path.exists() for path in outputs) and read_json(record).get("key") == key


def _alone(run: RunSpec, settings: TrainingSettings) -> Fabric:
    """Fabric on the device that has room."""
    # Named, since Fabric would take a SLURM job for one of its own and look for `srun`.
    alone = LightningEnvironment()
    device = best_device(run.plan.runs_per_gpu)
    devices = 1 if device.type == "cpu" else [device.index]
    return Fabric(accelerator=device.type, devices=devices, precision=settings.precision, plugins=alone)


def _train(run: RunSpec, data: PreparedData, key: str, fabric: Fabric, on_epoch: Callable[[Progress], None]) -> None:
    """Train a run that no other process trains, or with others that do the same on other devices."""
    pin_arithmetic(run.plan.threads)
    settings = TrainingSettings.model_validate(run.settings["training"])
    rows = data.training_rows(run)
    pool = open_images(data, rows, fabric.device, settings)
    classifier = build_classifier(run, data)
    classifier.check_training(pool)
    if fabric.world_size > 1 and fabric.device.type == "cuda":
        classifier = torch.nn.SyncBatchNorm.convert_sync_batchnorm(classifier)
    optimizer = make_optimizer(classifier, settings)
    network, optimizer = fabric.setup(classifier, optimizer)
    network.mark_forward_method("training_loss")
    path = run.folder / "checkpoint.pt"
    average = None if settings.ema is None else make_average(classifier, settings.ema)
    progress = Progress(history=[], started=time.time())
    state = load_checkpoint(path, key)
    if state is not None:
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        fabric.strategy.precision.load_state_dict(state["precision"])
        if average is not None:
            average.load_state_dict(state["average"])
        progress = Progress(**state["progress"])
        progress.attempts += 1
        log.info("resuming %s at step %d (attempt %d)", run.id, progress.step, progress.attempts)

    else:
        classifier.start_training(pool, generator(run.seed_for("start"), fabric.device), settings.batch_size)

    def save() -> None:
        if not fabric.is_global_zero:
            return
        save_checkpoint(
            path,
            key,
            {
                "network": network.state_dict(),
                "optimizer": optimizer.state_dict(),
                "precision": fabric.strategy.precision.state_dict(),
                "average": {} if average is None else average.state_dict(),
                "progress": vars(progress),
            },
        )

    with StopRequest() as stop:
        _run_steps(run, settings, pool, fabric, network, optimizer, average, progress, save, on_epoch, stop)
    if average is not None:
        take_average(classifier, average, _batches(run, settings, pool))
    if not fabric.is_global_zero:
        return
    write_tensors(run.folder / "model.safetensors", classifier.state_dict())
    assert progress.history is not None
    write_text(run.folder / "history.csv", as_csv(progress.history))
    write_record(
        run,
        data,
        len(rows),
        str(fabric.device),
        progress.started,
        progress.seconds,
        epochs=settings.epochs,
        attempts=progress.attempts,
        micro_batch=progress.micro_batch or settings.micro_batch or settings.batch_size,
        key=key,
    )
    for leftover in (path, spool_path(run)):
        leftover.unlink(missing_ok=True)
    for left_by_killed_attempt in run.folder.glob(".*.tmp*"):
        left_by_killed_attempt.unlink()


def _batches(run: RunSpec, settings: TrainingSettings, pool: Images) -> Iterator[Batch]:
    """All training images once more, as they are, for the running statistics of averaged weights."""
    torch.manual_seed(run.seed_for("average"))
    every = torch.arange(len(pool), device=pool.labels.device)
    for number, rows in enumerate(every.split(settings.micro_batch or settings.batch_size)):
        made = {name: generator(run.seed_for("average", name, number), pool.device) for name in PURPOSES}
        yield Batch(pool.take(rows), pool.labels[rows], rows, pool, made, settings.epochs - 1)


def _run_steps(
    run: RunSpec,
    settings: TrainingSettings,
    pool: Images,
    fabric: Fabric,
    network: Any,
    optimizer: Any,
    average: AveragedModel | None,
    progress: Progress,
    save: Callable[[], None],
    on_epoch: Callable[[Progress], None],
    stop: StopRequest,
) -> None:
    """All remaining steps, with a checkpoint every `checkpoint_seconds` and when asked to stop."""
    steps_per_epoch = steps_in_epoch(len(pool), settings)
    total = settings.epochs * steps_per_epoch
    assert progress.history is not None
    order, order_of = torch.empty(0, dtype=torch.int64), -1
    since = saved = time.perf_counter()
    # Loss, hits and first bad step stay on the device: reading them each step would make a GPU wait.
    sums = torch.tensor([progress.loss, progress.correct], dtype=torch.float64, device=fabric.device)
    bad_step = torch.tensor(total, device=fabric.device)
    network.train()
    while progress.step < total:
        epoch, position = divmod(progress.step, steps_per_epoch)
        if order_of != epoch:
            shuffle = generator(run.seed_for("order", epoch))
            order, order_of = torch.randperm(len(pool), generator=shuffle).to(fabric.device), epoch
        rows = order[position * settings.batch_size : (position + 1) * settings.batch_size]
        rate = learning_rate(settings, progress.step, steps_per_epoch)
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("lr_factor", 1.0)
        buffers = [buffer.clone() for buffer in network.buffers()] if network.bad_steps else []
        loss, correct = _gradients(run, settings, pool, fabric, network, progress, rows, epoch)
        size: torch.Tensor | None = None
        if settings.clip_gradient is not None or network.bad_steps:
            largest = math.inf if settings.clip_gradient is None else settings.clip_gradient
            size = fabric.clip_gradients(network, optimizer, max_norm=largest, error_if_nonfinite=False)
        if network.bad_steps and not (math.isfinite(loss) and math.isfinite(size or 0)):
            _leave_out(run, settings, network, buffers, progress, epoch)
        else:
            progress.bad_steps = 0
            optimizer.step()
            bad_step = torch.where(torch.isfinite(loss), bad_step, bad_step.clamp(max=progress.step))
            sums[0] += loss * len(rows)
            sums[1] += correct
            progress.seen += len(rows)
            if average is not None:
                average.update_parameters(network.module)
        optimizer.zero_grad(set_to_none=True)
        progress.step += 1

        ended = position + 1 == steps_per_epoch
        now = time.perf_counter()
        stopping, due = _agreed(fabric, bool(stop.signal), now - saved >= settings.checkpoint_seconds)
        saving = (stopping or due) and progress.step < total
        if ended or saving or progress.step % STEPS_UNSEEN == 0:
            _stop_at_bad_step(run, int(bad_step), total, epoch, settings)
            progress.loss, progress.correct = float(sums[0]), float(sums[1])
        if ended:
            progress.history.append(
                {
                    "epoch": epoch + 1,
                    "loss": progress.loss / progress.seen if progress.seen else math.nan,
                    "accuracy": progress.correct / progress.seen if progress.seen else math.nan,
                    "lr": rate,
                }
            )
            progress.loss, progress.correct, progress.seen = 0.0, 0.0, 0
            sums.zero_()
        if saving and _all_finite(network):
            progress.seconds += now - since
            since = saved = now
            save()
        if ended:
            on_epoch(progress)
        if stopping and progress.step < total:
            raise LookalikeError(
                f"training of {run.id} was stopped by {stop.signal or 'a signal'} at step {progress.step} of {total}; "
                "its checkpoint is kept, and the same command goes on from it."
            )
    if not _all_finite(network):
        _stop_at_bad_step(run, total - 1, total, settings.epochs - 1, settings)
    progress.seconds += time.perf_counter() - since


def _agreed(fabric: Fabric, *wishes: bool) -> list[bool]:
    """Wishes that any of several processes has; none may go on while another stops."""
    if fabric.world_size == 1:
        return list(wishes)
    asked = torch.tensor(wishes, dtype=torch.float32, device=fabric.device)
    return [bool(wish) for wish in fabric.all_reduce(asked, reduce_op="sum")]


def _own_part(fabric: Fabric, rows: torch.Tensor) -> torch.Tensor:
    """The rows of a batch that this process works on; all of them where there are fewer than processes."""
    return rows if len(rows) < fabric.world_size else rows[fabric.global_rank :: fabric.world_size]


def _gradients(
    run: RunSpec,
    settings: TrainingSettings,
    pool: Images,
    fabric: Fabric,
    network: Any,
    progress: Progress,
    rows: torch.Tensor,
    epoch: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients of one step, by parts of the batch once a whole one did not fit in the device's memory.

    Of several processes each works on its own rows and with its own noise; gradients are averaged over them.

    Every part draws the support that the whole batch would, so that the mean over the parts is the loss of the batch;
    only batch normalisation and noise see the parts. A memory or support passes whole with each part.

    Returns:
        The loss () and the number of right answers (), both on the device.

    Raises:
        LookalikeError: a single image does not fit.
    """
    whole, rows = len(rows), _own_part(fabric, rows)
    # The mean over processes of what they weigh so is the mean over the batch.
    weight = 1.0 if whole < fabric.world_size else len(rows) * fabric.world_size / whole
    mine = (fabric.global_rank,) if fabric.world_size > 1 else ()
    buffers = list(network.buffers())
    before = [buffer.clone() for buffer in buffers]
    while True:
        size = progress.micro_batch or settings.micro_batch or len(rows)
        loss = torch.zeros((), device=fabric.device)
        correct = torch.zeros((), dtype=torch.float64, device=fabric.device)
        try:
            made = {
                name: generator(run.seed_for(name, progress.step, *(() if name in SHARED else mine)), fabric.device)
                for name in PURPOSES
            }
            images = pool.take(rows, made["augment"])
            drawn = {name: made[name].get_state() for name in SHARED}
            torch.manual_seed(run.seed_for("network", progress.step, *mine))  # a network's own noise, dropout say
            parts = rows.split(size)
            for number, (part, shown) in enumerate(zip(parts, images.split(size), strict=True)):
                for name, state in drawn.items():
                    made[name].set_state(state)
                batch = Batch(shown, pool.labels[part], part, pool, made, epoch)
                waiting = fabric.world_size > 1 and number + 1 < len(parts)  # gradients cross over with the last part
                with fabric.no_backward_sync(network, enabled=waiting):
                    with fabric.autocast():  # a marked method of a single device does not get it from Fabric
                        part_loss, answers = network.training_loss(batch)
                    share = part_loss * (len(part) / len(rows) * weight)
                    fabric.backward(share)
                loss += share.detach()
                correct += network.count_right(answers.detach(), batch)
            if fabric.world_size > 1:
                both = torch.stack([loss.double(), correct * (weight * whole / len(rows))])
                loss, correct = fabric.all_reduce(both, reduce_op="mean")
            return loss, correct
        except torch.OutOfMemoryError:
            if fabric.world_size > 1:
                raise LookalikeError(
                    f"a batch of {len(rows)} of {run.id} does not fit in the memory of {fabric.device}; write "
                    f"training.micro_batch: {-(-size // 2)}."
                ) from None
            if size == 1:
                raise LookalikeError(
                    f"{run.id} does not fit in the memory of {fabric.device} even with one image at a time; "
                    "use a device with more memory, a smaller backbone"
                    + (f", memory.size below {memory['size']}" if (memory := run.settings.get("memory")) else "")
                    + ", or training.precision: bf16-mixed."
                ) from None
        # Outside the handler: the error holds the tensors of the failed pass.
        network.zero_grad(set_to_none=True)
        for buffer, value in zip(buffers, before, strict=True):  # batch normalisation counted it
            buffer.copy_(value)
        if fabric.device.type == "cuda":
            torch.cuda.empty_cache()
        progress.micro_batch = -(-size // 2)
        log.warning(
            "%s: a batch of %d does not fit in the memory of %s; going on with %d at a time, same batch",
            run.id,
            size,
            fabric.device,
            progress.micro_batch,
        )


def _leave_out(
    run: RunSpec, settings: TrainingSettings, network: Any, buffers: list[torch.Tensor], progress: Progress, epoch: int
) -> None:
    """Undo what the forward pass of a bad step left in the network; stop after too many in a row."""
    for buffer, value in zip(network.buffers(), buffers, strict=True):  # running statistics
        buffer.copy_(value)
    progress.bad_steps += 1
    log.warning("%s: the loss of step %d is not finite; the step is left out", run.id, progress.step)
    if progress.bad_steps > network.bad_steps:
        raise LookalikeError(
            f"the loss of {run.id} was not finite {progress.bad_steps} times in a row, last at step {progress.step} "
            f"(epoch {epoch + 1}); none of these steps was applied, and {_kept(run)}; {_remedy(settings)}."
        )


def _kept(run: RunSpec) -> str:
    path = run.folder / "checkpoint.pt"
    return f"the last good weights are in {path}" if path.exists() else "no checkpoint had been written yet"


def _remedy(settings: TrainingSettings) -> str:
    return f"lower training.lr (now {settings.lr}) or set training.clip_gradient"


def _all_finite(network: torch.nn.Module) -> bool:
    """Whether weights and running statistics are numbers; a step whose loss still was can have spoilt them."""
    return all(bool(torch.isfinite(value).all()) for value in network.state_dict().values())


def _stop_at_bad_step(run: RunSpec, step: int, total: int, epoch: int, settings: TrainingSettings) -> None:
    """Stop where a loss was not finite; the last checkpoint, written before it, stays."""
    if step == total:
        return
    raise LookalikeError(
        f"the loss of {run.id} is not finite at step {step} (epoch {epoch + 1}); {_kept(run)}; {_remedy(settings)}."
    )


def steps_in_epoch(images: int, settings: TrainingSettings) -> int:
    """Batches of an epoch; at least one, however few images there are."""
    whole, rest = divmod(images, settings.batch_size)
    return whole + (rest > 0 and (whole == 0 or not settings.drop_last))


def make_optimizer(classifier: Classifier, settings: TrainingSettings) -> torch.optim.Optimizer:
    """SGD, Adam, Adamax or AdamW over the parameters that need gradients."""
    parameters = classifier.parameter_groups()
    if settings.optimizer == "sgd":
        return torch.optim.SGD(
            parameters,
            settings.lr,
            settings.momentum,
            weight_decay=settings.weight_decay,
            nesterov=settings.nesterov and settings.momentum > 0,
        )
    kinds = {"adam": torch.optim.Adam, "adamax": torch.optim.Adamax, "adamw": torch.optim.AdamW}
    return kinds[settings.optimizer](parameters, settings.lr, weight_decay=settings.weight_decay)


def checkpoint_key(run: RunSpec, data: PreparedData) -> str:
    """What a checkpoint must agree with to be resumed: settings, seed, data and code."""
    code = stage_code("train", run.settings)
    frozen = sha256(run.source.weights) if run.source is not None and run.source.weights is not None else None
    return digest([run.id, run.plan.seed, run.training_settings, data.hash, code, frozen])


def as_csv(rows: list[Row]) -> str:
    """Rows as CSV with full digits."""
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
