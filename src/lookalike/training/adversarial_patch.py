"""A universal adversarial patch against any classifier with a gradient (Brown et al., arXiv 1712.09665).

As in the script that kNN and EMD-Corr were tested with (docs/algorithms/data.md, section 6): a disk or square that
starts in one random colour is turned and placed at random on one image after the other; on each, it descends
-log P(target) until the target has the wanted confidence. Two differences: it is turned from its own frame each time,
so that it does not blur with every image, and confidence is that of the patched image from the start.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

import torch
from torch import Tensor

from lookalike.data.adversarial_patch import Place, patch_mask
from lookalike.data.images import Images
from lookalike.study.settings import AdversarialPatchSettings

log = logging.getLogger(__name__)


def train_patch(
    log_probs: Callable[[Tensor], Tensor], images: Images, settings: AdversarialPatchSettings, seed: int
) -> tuple[Tensor, Tensor, float]:
    """Train a patch.

    Args:
        log_probs: Normalised images (1, C, H, W) -> log-probabilities (1, classes), with a gradient.
        images: Images to place it on.
        settings: The study's `adversarial_patch`.
        seed: Seed of start, order and places.

    Returns:
        Patch (C, s, s) in [0, 1], mask (s, s), and the share of the last epoch's images that reached the confidence.
    """
    generator = torch.Generator().manual_seed(seed)
    first = images.raw(torch.zeros(1, dtype=torch.int64, device=images.device))
    mask = patch_mask(settings.shape, settings.area, first.shape[2], first.shape[3])
    side = mask.shape[0]
    colour = torch.rand(first.shape[1], generator=generator)
    patch = colour[:, None, None].expand(-1, side, side).contiguous()
    scale = images.normalised(torch.ones_like(first)) - images.normalised(torch.zeros_like(first))
    step = 1 / scale.cpu()[0, :, :1, :1] ** 2  # of 1 in normalised units
    wanted, reached = math.log(settings.confidence), 0.0
    for epoch in range(settings.epochs):
        order = torch.randperm(len(images), generator=generator)[: settings.images]
        hits = 0
        for row in order:
            image = images.raw(row[None].to(images.device))
            place = Place(generator, settings.shape, side, first.shape[2], first.shape[3])
            for iteration in range(settings.iterations + 1):
                patch.requires_grad_(True)
                target = log_probs(images.normalised(place.put(image, patch, mask)))[0, settings.target]
                if float(target.detach()) >= wanted:
                    hits += 1
                    break
                if iteration == settings.iterations:
                    break
                (gradient,) = torch.autograd.grad(-target, patch)
                patch = (patch.detach() - step * gradient).clamp(0, 1)
            patch = patch.detach()
        reached = hits / len(order)
        log.info("patch epoch %d/%d: confident on %.0f %%", epoch + 1, settings.epochs, 100 * reached)
    return patch * mask, mask, reached
