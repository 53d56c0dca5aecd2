"""Everything behind the backbone, once."""

from __future__ import annotations

from functools import partial

import torch

from lookalike.contracts.classifier import Classifier
from lookalike.contracts.features import Features
from lookalike.core.finite import check_finite
from lookalike.data.images import Images

IMAGES_PER_BATCH = 256


@torch.no_grad()
def embed(classifier: Classifier, images: Images) -> Features:
    """All images behind the backbone, on the CPU; ImageNet's features take 10 GB, and no second copy here.

    Raises:
        NotFiniteError: The network gives NaN or an infinity for an image.
    """
    features = torch.empty(0)
    for rows in torch.arange(len(images), device=images.labels.device).split(IMAGES_PER_BATCH):
        batch = classifier.embed(images.load(rows)).float().cpu()
        if not len(features):
            features = torch.empty(len(images), *batch.shape[1:])
        name = partial(_name, images, int(rows[0]))
        check_finite(batch, "features", name, "look at the weights of the network")
        features[rows.cpu()] = batch
    return Features(features, images.labels.cpu(), images.environments.cpu(), images.ids)


def _name(images: Images, first: int, row: int) -> str:
    return images.name(first + row)
