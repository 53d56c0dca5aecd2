"""Corruptions: of their published strength, reproducible from a seed, each image's its own."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from lookalike.data.corruptions import (
    BLUR,
    NOISE,
    SMALL_BLUR,
    SMALL_NOISE,
    _as_stored,
    gaussian_blur,
    gaussian_noise,
)
from lookalike.data.settings import SEVERITIES


@pytest.mark.parametrize("size", [(224, 100), (8, 8), (32, 32), (64, 80)])
@pytest.mark.parametrize("severity", SEVERITIES)
def test_blur_is_scipys(severity: int, size: tuple[int, int]) -> None:
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0)).double()
    sigma = SMALL_BLUR[severity - 1] * max(1, min(size) / 32) if min(size) <= 64 else BLUR[severity - 1] * 100 / 224
    expected = np.stack([ndimage.gaussian_filter(i.numpy(), (0, sigma, sigma), mode="nearest") for i in images])
    changed = gaussian_blur(images, torch.arange(2), severity, 0).numpy()
    assert np.abs(changed - np.floor(expected * 255 + 1e-3) / 255).max() <= 1 / 255 + 1e-9
    assert (changed == np.floor(expected * 255 + 1e-3) / 255).mean() > 0.999
    assert np.abs(changed - images.numpy()).max() > 0.05  # even the weakest blur is one


@pytest.mark.parametrize("side", [64, 96])
@pytest.mark.parametrize("severity", SEVERITIES)
def test_noise_has_its_strength_and_its_seed(severity: int, side: int) -> None:
    grey = torch.full((4, 3, side, side), 0.5)
    strength = (SMALL_NOISE if side <= 64 else NOISE)[severity - 1]
    ids = torch.tensor([7, 8, 9, 10])
    changed = gaussian_noise(grey, ids, severity, 0)
    if strength < 0.2:  # hardly cut off
        assert (changed - grey).std().item() == pytest.approx(strength, rel=0.03)
    assert torch.equal(changed, gaussian_noise(grey, ids, severity, 0))
    assert not torch.equal(changed, gaussian_noise(grey, ids, severity, 1))
    turned = gaussian_noise(grey.flip(0), ids.flip(0), severity, 0).flip(0)
    assert torch.equal(changed, turned)  # an image's noise is its own, whatever the batch
    assert torch.equal(changed * 255, (changed * 255).round())


def test_levels_survive() -> None:
    levels = (torch.arange(256) / 255).view(1, 1, 16, 16)
    assert torch.equal((_as_stored(levels) * 255).round(), torch.arange(256.0).view(1, 1, 16, 16))
