"""Embed images: everything behind the backbone once."""

from __future__ import annotations

import torch

from lookalike.data.images import Images
from lookalike.methods.base import Classifier, Embedded

IMAGES_PER_BATCH = 256


@torch.no_grad()
def embed(classifier: Classifier, images: Images) -> Embedded:
    """All images behind the backbone, on the CPU; ImageNet's features take 10 GB, and no second copy here."""
    features = torch.empty(0)
    for rows in torch.arange(len(images), device=images.labels.device).split(IMAGES_PER_BATCH):
        some = classifier.embed(images.take(rows)).float().cpu()
        if not len(features):
            features = torch.empty(len(images), *some.shape[1:])
        features[rows.cpu()] = some
    return Embedded(features, images.labels.cpu(), images.environments.cpu(), images.ids)
