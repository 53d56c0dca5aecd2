"""Images in use: on the device as uint8, normalised and augmented there."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lookalike.data.prepared import PreparedData


class DeviceImages:
    """Images of a subset, on the device as uint8, normalised and augmented there batch by batch.

    Args:
        data: the prepared data set.
        rows: (n,) index rows.
        device: where the images live.
        crop_padding: random crop after zero padding by so many pixels.
        flip: random horizontal flip.
    """

    def __init__(
        self,
        data: PreparedData,
        rows: np.ndarray,
        device: torch.device | str = "cpu",
        crop_padding: int = 0,
        flip: bool = False,
    ) -> None:
        self.images = torch.from_numpy(np.ascontiguousarray(data.images[rows])).to(device)
        self.labels = torch.from_numpy(data.index["label"][rows]).to(device)
        self.environments = torch.from_numpy(data.index["environment"][rows]).to(device)
        self.ids = torch.from_numpy(data.index["id"][rows])
        self.crop_padding, self.flip = crop_padding, flip
        shape = (1, -1, 1, 1)
        self._mean = torch.tensor(data.mean, device=device).mul_(255).view(shape)
        self._scale = torch.tensor(data.std, device=device).clamp_min(1e-6).mul_(255).reciprocal_().view(shape)

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: Tensor, made: torch.Generator | None = None) -> Tensor:
        """Normalised images (n, C, H, W) float32; augmented where a generator is given."""
        images = self.images[rows]
        if made is not None:
            images = self._augmented(images, made)
        return (images.float() - self._mean) * self._scale

    def _augmented(self, images: Tensor, made: torch.Generator) -> Tensor:
        n, _, height, width = images.shape
        device = images.device
        if self.crop_padding:
            p = self.crop_padding
            offset = torch.randint(2 * p + 1, (2, n, 1), generator=made, device=device)
            y = (offset[0] + torch.arange(height, device=device))[:, :, None]
            x = (offset[1] + torch.arange(width, device=device))[:, None, :]
            padded = F.pad(images, (p, p, p, p))
            which = torch.arange(n, device=device)[:, None, None]
            images = padded[which, :, y, x].permute(0, 3, 1, 2)
        if self.flip:
            flipped = torch.rand(n, generator=made, device=device) < 0.5
            images = torch.where(flipped[:, None, None, None], images.flip(3), images)
        return images
