"""Learning rates as functions of the step: nothing to save, nothing to restore."""

from __future__ import annotations

import math

from lookalike.contracts.settings import TrainingSettings


def learning_rate(settings: TrainingSettings, step: int, steps_per_epoch: int) -> float:
    """The rate of a step: linear warm-up, then constant, multistep (per epoch) or cosine (per step).

    Args:
        settings: Settings of the training.
        step: Number of the step over the whole training, from 0.
        steps_per_epoch: Steps in an epoch.
    """
    warmup = settings.warmup_epochs * steps_per_epoch
    if step < warmup:
        return settings.lr * (step + 1) / (warmup + 1)
    if settings.schedule == "multistep":
        passed = sum(step // steps_per_epoch >= milestone for milestone in settings.milestones)
        return settings.lr * settings.gamma**passed
    if settings.schedule == "cosine":
        total = settings.epochs * steps_per_epoch - warmup
        left = 0.5 * (1 + math.cos(math.pi * (step - warmup) / total))
        return settings.final_lr + (settings.lr - settings.final_lr) * left
    return settings.lr
