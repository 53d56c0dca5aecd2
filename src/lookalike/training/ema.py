"""Exponential moving averages of weights."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lookalike.contracts.classifier import Batch, Classifier

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm)


def make_average(classifier: Classifier, kept: float) -> AveragedModel:
    """A copy of the classifier that follows its weights, `kept` of itself at a step."""
    return AveragedModel(classifier, multi_avg_fn=get_ema_multi_avg_fn(kept))


@torch.no_grad()
def take_average(classifier: Classifier, average: AveragedModel, batches: Iterable[Batch]) -> None:
    """Give the classifier the averaged weights, and the running statistics that they have over training batches.

    Layers that do not learn keep their statistics.
    """
    averaged = dict(average.module.named_parameters())
    for name, parameter in classifier.named_parameters():
        parameter.copy_(averaged[name])
    classifier.train()
    norms = [layer for layer in classifier.modules() if isinstance(layer, BATCH_NORMS) and layer.training]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
    for batch in batches:
        classifier.training_loss(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
