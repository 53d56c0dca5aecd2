"""Embed images: everything behind the backbone once."""

from __future__ import annotations

import torch
from torch import Tensor

from lookalike.data.images import Images
from lookalike.methods.base import Classifier, Embedded

IMAGES_PER_BATCH = 256


@torch.no_grad()
def embed(classifier: Classifier, images: Images) -> Embedded:
    """All images behind the backbone, on the CPU."""
    parts: list[Tensor] = []
    for start in range(0, len(images), IMAGES_PER_BATCH):
        rows = torch.arange(start, min(start + IMAGES_PER_BATCH, len(images)), device=images.labels.device)
        parts.append(classifier.embed(images.take(rows)).float().cpu())
    return Embedded(torch.cat(parts), images.labels.cpu(), images.environments.cpu(), images.ids)
