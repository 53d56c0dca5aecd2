"""Everything behind the backbone, once."""

from __future__ import annotations

import torch

from lookalike.contracts.classifier import Classifier
from lookalike.contracts.features import Features
from lookalike.data.images import Images

IMAGES_PER_BATCH = 256


@torch.no_grad()
def embed(classifier: Classifier, images: Images) -> Features:
    """All images behind the backbone, on the CPU; ImageNet's features take 10 GB, and no second copy here."""
    features = torch.empty(0)
    for rows in torch.arange(len(images), device=images.labels.device).split(IMAGES_PER_BATCH):
        batch = classifier.embed(images.load(rows)).float().cpu()
        if not len(features):
            features = torch.empty(len(images), *batch.shape[1:])
        features[rows.cpu()] = batch
    return Features(features, images.labels.cpu(), images.environments.cpu(), images.ids)
