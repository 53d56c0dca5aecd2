"""The training loop: steps on device-resident images, checkpoints, exact resume.

Randomness is a function of (run, purpose, step), never of what was drawn before. A training that was killed at any
point and started again therefore ends with the same bytes as one that was not.
"""

from __future__ import annotations

import copy
import csv
import io
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch.optim.swa_utils import AveragedModel

from lookalike.contracts.classifier import Batch, Classifier
from lookalike.contracts.settings import TrainingSettings
from lookalike.core.determinism import make_generator, seed_network
from lookalike.core.errors import LookalikeError
from lookalike.core.processes import StopRequest
from lookalike.core.seeds import RunSeeds
from lookalike.data.images import Images
from lookalike.training.checkpoint import load_checkpoint, save_checkpoint
from lookalike.training.ema import BATCH_NORMS, make_average, take_average
from lookalike.training.schedules import learning_rate

PURPOSES = ("augment", "support", "noise", "view")
SHARED = ("support",)  # by all parts of a batch
STEPS_UNSEEN = 64  # a bad loss is noticed after so many steps at the latest
Row = dict[str, float | int]
log = logging.getLogger(__name__)


@dataclass
class Progress:
    """Where a training stands; with weights and optimiser, all that a checkpoint holds.

    Attributes:
        step: Steps done.
        loss: Sum of losses over the current epoch.
        correct: Number of right answers in the current epoch.
        seen: Number of images in the current epoch.
        history: One row of each finished epoch.
        seconds: Training time of all attempts.
        attempts: Starts, this one included.
        started: Seconds since 1970 at the first start; identifies the run for tracking.
        micro_batch: Images that pass the network at once; 0 for the whole batch.
        nonfinite_steps: Steps in a row that were left out, their loss not finite.
    """

    step: int = 0
    loss: float = 0.0
    correct: float = 0.0
    seen: int = 0
    history: list[Row] = field(default_factory=list)
    seconds: float = 0.0
    attempts: int = 1
    started: float = 0.0
    micro_batch: int = 0
    nonfinite_steps: int = 0


class Training:
    """One training of a classifier, from its checkpoint where it has one.

    Args:
        run: Id of the run, for messages.
        classifier: The classifier before its training.
        pool: The training images.
        settings: Optimiser, schedule and augmentation.
        seeds: Seeds of the run.
        fabric: Device, precision, and processes that share the work.
        checkpoint: Path of the checkpoint.
        key: What a checkpoint must agree with to be resumed.
    """

    def __init__(
        self,
        run: str,
        classifier: Classifier,
        pool: Images,
        settings: TrainingSettings,
        seeds: RunSeeds,
        fabric: Fabric,
        checkpoint: Path,
        key: str,
    ) -> None:
        self.run, self.pool, self.settings, self.seeds, self.fabric = run, pool, settings, seeds, fabric
        self.checkpoint, self.key = checkpoint, key
        classifier.check_training(pool)
        _check_parts(run, classifier, pool, settings)
        if fabric.world_size > 1 and fabric.device.type == "cuda":
            classifier = torch.nn.SyncBatchNorm.convert_sync_batchnorm(classifier)
        self.classifier = classifier
        self.network: Any
        self.optimizer: Any
        self.network, self.optimizer = fabric.setup(classifier, make_optimizer(classifier, settings))
        self.network.mark_forward_method("training_loss")
        self.average: AveragedModel | None = None if settings.ema is None else make_average(classifier, settings.ema)
        self.progress = Progress(started=time.time())
        self.steps_per_epoch = steps_in_epoch(len(pool), settings)
        self.total = settings.epochs * self.steps_per_epoch
        self._restore()

    def _restore(self) -> None:
        state = load_checkpoint(self.checkpoint, self.key)
        if state is None:
            generator = make_generator(self.seeds.of_run("start"), self.fabric.device)
            self.classifier.init_from_data(self.pool, generator, self.settings.batch_size)
            return
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.fabric.strategy.precision.load_state_dict(state["precision"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.progress = Progress(**state["progress"])
        self.progress.attempts += 1
        log.info("resuming %s at step %d (attempt %d)", self.run, self.progress.step, self.progress.attempts)

    def _save(self) -> None:
        if not self.fabric.is_global_zero:
            return
        save_checkpoint(
            self.checkpoint,
            self.key,
            {
                "network": self.network.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "precision": self.fabric.strategy.precision.state_dict(),
                "average": {} if self.average is None else self.average.state_dict(),
                "progress": vars(self.progress),
            },
        )

    def finish(self, on_epoch: Callable[[Progress], None]) -> Classifier:
        """Do all remaining steps and give the trained classifier.

        Args:
            on_epoch: Called after each epoch, for trackers and progress bars.

        Raises:
            LookalikeError: A loss is not finite, or a signal asked to stop.
        """
        with StopRequest() as stop:
            self._run_steps(on_epoch, stop)
        if self.average is not None:
            take_average(self.classifier, self.average, self._batches_for_statistics())
        return self.classifier

    def _batches_for_statistics(self) -> Iterator[Batch]:
        """All training images once more, as they are, for the running statistics of averaged weights."""
        seed_network(self.seeds.of_run("average"), self.fabric.device)
        pool, settings = self.pool, self.settings
        every = torch.arange(len(pool), device=pool.labels.device)
        for number, rows in enumerate(every.split(settings.micro_batch or settings.batch_size)):
            generators = {
                name: make_generator(self.seeds.of_run("average", name, number), pool.device) for name in PURPOSES
            }
            yield Batch(pool.load(rows), pool.labels[rows], rows, pool, generators, settings.epochs - 1)

    def _run_steps(self, on_epoch: Callable[[Progress], None], stop: StopRequest) -> None:
        """All remaining steps, with a checkpoint every `checkpoint_seconds` and when asked to stop."""
        settings, fabric, network, progress = self.settings, self.fabric, self.network, self.progress
        order, order_of = torch.empty(0, dtype=torch.int64), -1
        since = saved = time.perf_counter()
        # Loss, hits and first bad step stay on the device: reading them each step would make a GPU wait.
        sums = torch.tensor([progress.loss, progress.correct], dtype=torch.float64, device=fabric.device)
        bad_step = torch.tensor(self.total, device=fabric.device)
        network.train()
        while progress.step < self.total:
            epoch, position = divmod(progress.step, self.steps_per_epoch)
            if order_of != epoch:
                shuffle = make_generator(self.seeds.of_run("order", epoch))
                order, order_of = torch.randperm(len(self.pool), generator=shuffle).to(fabric.device), epoch
            rows = order[position * settings.batch_size : (position + 1) * settings.batch_size]
            rate = learning_rate(settings, progress.step, self.steps_per_epoch)
            for group in self.optimizer.param_groups:
                group["lr"] = rate * group.get("lr_factor", 1.0)
            buffers = [buffer.clone() for buffer in network.buffers()] if network.max_nonfinite_steps else []
            loss, correct = self._gradients(rows, epoch)
            norm: torch.Tensor | None = None
            if settings.clip_gradient is not None or network.max_nonfinite_steps:
                largest = math.inf if settings.clip_gradient is None else settings.clip_gradient
                norm = fabric.clip_gradients(network, self.optimizer, max_norm=largest, error_if_nonfinite=False)
            if network.max_nonfinite_steps and not (math.isfinite(loss) and math.isfinite(norm or 0)):
                self._leave_out(buffers, epoch)
            else:
                progress.nonfinite_steps = 0
                self.optimizer.step()
                bad_step = torch.where(torch.isfinite(loss), bad_step, bad_step.clamp(max=progress.step))
                sums[0] += loss * len(rows)
                sums[1] += correct
                progress.seen += len(rows)
                if self.average is not None:
                    self.average.update_parameters(network.module)
            self.optimizer.zero_grad(set_to_none=True)
            progress.step += 1

            ended = position + 1 == self.steps_per_epoch
            now = time.perf_counter()
            stopping, due = _agreed(fabric, bool(stop.signal), now - saved >= settings.checkpoint_seconds)
            saving = (stopping or due) and progress.step < self.total
            if ended or saving or progress.step % STEPS_UNSEEN == 0:
                self._stop_at_bad_step(int(bad_step), epoch)
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
                self._save()
            if ended:
                on_epoch(progress)
            if stopping and progress.step < self.total:
                raise LookalikeError(
                    f"training of {self.run} was stopped by {stop.signal or 'a signal'} at step {progress.step} of "
                    f"{self.total}; its checkpoint is kept, and the same command goes on from it."
                )
        if not _all_finite(network):
            self._stop_at_bad_step(self.total - 1, settings.epochs - 1)
        progress.seconds += time.perf_counter() - since

    def _own_part(self, rows: torch.Tensor) -> torch.Tensor:
        """The rows of a batch that this process works on; all of them where there are fewer than processes."""
        fabric = self.fabric
        return rows if len(rows) < fabric.world_size else rows[fabric.global_rank :: fabric.world_size]

    def _gradients(self, rows: torch.Tensor, epoch: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Gradients of one step, by parts of the batch once a whole one did not fit in the device's memory.

        Of several processes each works on its own rows and with its own noise; gradients are averaged over them.

        Every part draws the support that the whole batch would, so that the mean over the parts is the loss of the
        batch; only batch normalisation and noise see the parts. A memory or support passes whole with each part.

        Returns:
            The loss () and the number of right answers (), both on the device.

        Raises:
            LookalikeError: A single image does not fit.
        """
        pool, fabric, network, progress = self.pool, self.fabric, self.network, self.progress
        whole, rows = len(rows), self._own_part(rows)
        # The mean over processes of what they weigh so is the mean over the batch.
        weight = 1.0 if whole < fabric.world_size else len(rows) * fabric.world_size / whole
        rank = (fabric.global_rank,) if fabric.world_size > 1 else ()
        buffers = list(network.buffers())
        before = [buffer.clone() for buffer in buffers]
        while True:
            size = progress.micro_batch or self.settings.micro_batch or len(rows)
            loss = torch.zeros((), device=fabric.device)
            correct = torch.zeros((), dtype=torch.float64, device=fabric.device)
            try:
                generators = {
                    name: make_generator(
                        self.seeds.of_run(name, progress.step, *(() if name in SHARED else rank)), fabric.device
                    )
                    for name in PURPOSES
                }
                images = pool.load(rows, generators["augment"])
                states = {name: generators[name].get_state() for name in SHARED}
                # a network's own noise, dropout say
                seed_network(self.seeds.of_run("network", progress.step, *rank), fabric.device)
                parts = rows.split(size)
                for number, (part, shown) in enumerate(zip(parts, images.split(size), strict=True)):
                    for name, state in states.items():
                        generators[name].set_state(state)
                    batch = Batch(shown, pool.labels[part], part, pool, generators, epoch)
                    # gradients cross over with the last part
                    waiting = fabric.world_size > 1 and number + 1 < len(parts)
                    with fabric.no_backward_sync(network, enabled=waiting):
                        with fabric.autocast():  # a marked method of a single device does not get it from Fabric
                            part_loss, answers = network.training_loss(batch)
                        share = part_loss * (len(part) / len(rows) * weight)
                        fabric.backward(share)
                    loss += share.detach()
                    correct += network.count_correct(answers.detach(), batch)
                if fabric.world_size > 1:
                    both = torch.stack([loss.double(), correct * (weight * whole / len(rows))])
                    loss, correct = fabric.all_reduce(both, reduce_op="mean")
                return loss, correct
            except torch.OutOfMemoryError:
                if fabric.world_size > 1:
                    raise LookalikeError(
                        f"a batch of {len(rows)} of {self.run} does not fit in the memory of {fabric.device}; write "
                        f"training.micro_batch: {-(-size // 2)}."
                    ) from None
                if size == 1:
                    remedies = ["a smaller backbone", *self.classifier.memory_remedies()]
                    raise LookalikeError(
                        f"{self.run} does not fit in the memory of {fabric.device} even with one image at a time; "
                        f"use a device with more memory, {', '.join(remedies)}, or training.precision: bf16-mixed."
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
                self.run,
                size,
                fabric.device,
                progress.micro_batch,
            )

    def _leave_out(self, buffers: list[torch.Tensor], epoch: int) -> None:
        """Undo what the forward pass of a bad step left in the network; stop after too many in a row."""
        for buffer, value in zip(self.network.buffers(), buffers, strict=True):  # running statistics
            buffer.copy_(value)
        progress = self.progress
        progress.nonfinite_steps += 1
        log.warning("%s: the loss of step %d is not finite; the step is left out", self.run, progress.step)
        if progress.nonfinite_steps > self.network.max_nonfinite_steps:
            raise LookalikeError(
                f"the loss of {self.run} was not finite {progress.nonfinite_steps} times in a row, last at step "
                f"{progress.step} (epoch {epoch + 1}); none of these steps was applied, and {self._what_is_kept()}; "
                f"{self._remedy()}."
            )

    def _stop_at_bad_step(self, step: int, epoch: int) -> None:
        """Stop where a loss was not finite; the last checkpoint, written before it, stays."""
        if step == self.total:
            return
        raise LookalikeError(
            f"the loss of {self.run} is not finite at step {step} (epoch {epoch + 1}); {self._what_is_kept()}; "
            f"{self._remedy()}."
        )

    def _what_is_kept(self) -> str:
        if self.checkpoint.exists():
            return f"the last good weights are in {self.checkpoint}"
        return "no checkpoint had been written yet"

    def _remedy(self) -> str:
        return f"lower training.lr (now {self.settings.lr}) or set training.clip_gradient"


def _agreed(fabric: Fabric, *wishes: bool) -> list[bool]:
    """Wishes that any of several processes has; none may go on while another stops."""
    if fabric.world_size == 1:
        return list(wishes)
    wished = torch.tensor(wishes, dtype=torch.float32, device=fabric.device)
    return [bool(wish) for wish in fabric.all_reduce(wished, reduce_op="sum")]


def _all_finite(network: torch.nn.Module) -> bool:
    """Whether weights and running statistics are numbers; a step whose loss still was can have spoilt them."""
    return all(bool(torch.isfinite(value).all()) for value in network.state_dict().values())


def part_sizes(images: int, settings: TrainingSettings) -> set[int]:
    """Numbers of images that pass the network at once: whole batches, last ones, and their parts."""
    batches = {min(images, settings.batch_size)}
    rest = images % settings.batch_size
    if rest and (not settings.drop_last or images < settings.batch_size):
        batches.add(rest)
    if settings.ema is not None:  # whose statistics all images give once more
        batches.add(images)
    size = settings.micro_batch or settings.batch_size
    return {size for batch in batches if batch >= size} | {batch % size for batch in batches if batch % size}


def _check_parts(run: str, classifier: Classifier, pool: Images, settings: TrainingSettings) -> None:
    """Raise LookalikeError where a part of one image meets batch normalisation that needs two.

    Otherwise the training would end there: after the first epoch, or, with `ema`, after all of them.
    """
    if 1 not in part_sizes(len(pool), settings):
        return
    probe = copy.deepcopy(classifier).train()
    if not any(isinstance(layer, BATCH_NORMS) and layer.training for layer in probe.modules()):
        return
    try:
        with torch.no_grad():
            probe.embed(pool.load(torch.zeros(1, dtype=torch.int64, device=pool.device)).to(pool.device))
    except ValueError:
        parts = f"{len(pool)} images in batches of {settings.batch_size}"
        parts += f" and parts of {settings.micro_batch}" if settings.micro_batch else ""
        or_else = "" if settings.drop_last else ", or drop_last: true"
        raise LookalikeError(
            f"{run}: {parts} leave a part of one image, of which batch normalisation knows no spread; write another "
            f"training.batch_size or micro_batch{or_else}."
        ) from None


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


def as_csv(rows: list[Row]) -> str:
    """Rows as CSV with full digits."""
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
