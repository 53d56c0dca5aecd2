"""Images in use: batches of uint8 on the device, augmented, corrupted and normalised there.

Small images lie on the device altogether. Photographs are decoded batch by batch by threads (Pillow leaves the
interpreter's lock), cut to one size, and go on as the small ones do.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from lookalike.contracts.settings import TrainingSettings
from lookalike.data.crops import TRIES, boxed, random_crop, square
from lookalike.data.prepared import PreparedData
from lookalike.data.settings import PhotographSettings

LUMA = (0.299, 0.587, 0.114)  # grey of red, green, blue: ITU-R BT.601, as Pillow's mode L


def open_images(
    data: PreparedData,
    rows: np.ndarray,
    device: torch.device | str = "cpu",
    training: TrainingSettings | None = None,
) -> Images:
    """The images of a subset, ready for batches.

    Args:
        data: The prepared data set.
        rows: (n,) index rows.
        device: Where batches live.
        training: What augmentation there is; none without.
    """
    kind = Photographs if data.encoded else DeviceImages
    return kind(data, rows, device, training)


class Images(ABC):
    """Images of a subset.

    Attributes:
        labels, environments: (n,) int64 on the device.
        ids: (n,) int64 image ids of the data set's index.
        change: How an evaluation set is computed from another: images (B, C, H, W) in [0, 1] and their ids -> changed
            images.
    """

    def __init__(
        self,
        data: PreparedData,
        rows: np.ndarray,
        device: torch.device | str = "cpu",
        training: TrainingSettings | None = None,
    ) -> None:
        self.data, self.rows, self.device = data, rows, torch.device(device)
        self.training = training or TrainingSettings()
        self.labels = torch.from_numpy(data.index["label"][rows]).to(device)
        self.environments = torch.from_numpy(data.index["environment"][rows]).to(device)
        self.ids = torch.from_numpy(data.index["id"][rows])
        self.change: Callable[[Tensor, Tensor], Tensor] | None = None
        shape = (1, -1, 1, 1)
        self._mean = torch.tensor(data.mean, device=device).mul_(255).view(shape)
        self._scale = torch.tensor(data.std, device=device).clamp_min(1e-6).mul_(255).reciprocal_().view(shape)

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, row: int) -> str:
        """What a message calls an image: its number in the index, and its file where it has one."""
        number = int(self.rows[row])
        file = str(self.data.column("source_file")[number]) if "source_file" in self.data.columns else ""
        return f"image {number}" + f" ({file})" * bool(file)

    @abstractmethod
    def pixels(self, rows: Tensor, generator: torch.Generator | None) -> Tensor:
        """(n, C, H, W) uint8 of some rows, cut at random where a generator is given."""

    def load(self, rows: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Normalised images (n, C, H, W) float32; augmented where a generator is given."""
        images = self._seen(rows, generator)
        if generator is not None:
            images = self._augmented(images, generator)
        if self.change is not None:
            images = self.change(images.float() / 255, self.ids[rows.cpu()]) * 255
        # `float` copies bytes; what `change` gives is nobody else's
        return images.float().sub_(self._mean).mul_(self._scale)

    def _seen(self, rows: Tensor, generator: torch.Generator | None) -> Tensor:
        """(n, C, H, W) uint8 of some rows, of the shape that models see."""
        images, shape = self.pixels(rows, generator), self.data.image_shape
        return images if images.shape[1:] == shape else recast(images, shape)

    def raw(self, rows: Tensor) -> Tensor:
        """Images (n, C, H, W) float32 in [0, 1], not normalised."""
        return self._seen(rows, None).float() / 255

    def normalised(self, images: Tensor) -> Tensor:
        """What `load` gives for images in [0, 1]."""
        return (images * 255 - self._mean) * self._scale

    def _augmented(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Random crop after zero padding, and random flip."""
        n, device, p = len(images), images.device, self.training.crop_padding
        down = across = torch.zeros(n, dtype=torch.int64, device=device)
        flipped = torch.zeros(n, dtype=torch.bool, device=device)
        if p:
            down, across = torch.randint(2 * p + 1, (2, n), generator=generator, device=device)
        if self.training.flip:
            flipped = torch.rand(n, generator=generator, device=device) < 0.5
        return crop_and_flip(images, p, down, across, flipped) if p or self.training.flip else images


def crop_and_flip(images: Tensor, padding: int, down: Tensor, across: Tensor, flipped: Tensor) -> Tensor:
    """Images after zero padding cut back to their size, as one gather: twice as fast as one after the other.

    Args:
        images: (n, C, H, W).
        padding: Pixels on each side.
        down: (n,) row of the padded image where the cut begins.
        across: (n,) column where it begins.
        flipped: (n,) bool: left and right exchanged.
    """
    _, channels, height, width = images.shape
    rows, columns = (torch.arange(side, device=images.device) for side in (height, width))
    padded = F.pad(images, (padding,) * 4)
    turned = torch.where(flipped[:, None], width - 1 - columns, columns)  # (n, W)
    pixel = (down[:, None] + rows)[:, :, None] * padded.shape[3] + (across[:, None] + turned)[:, None, :]  # (n, H, W)
    chosen = pixel.flatten(1)[:, None].expand(-1, channels, -1)
    return padded.flatten(2).gather(2, chosen).unflatten(2, (height, width))


def recast(images: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Images of one data set as those of another: grey or coloured, of its size, in whole levels.

    Args:
        images: (n, C, H, W) uint8.
        shape: (C', H', W') with 1 or 3 channels.
    """
    channels, *size = shape
    recoloured = images.float()
    if channels < images.shape[1]:
        weights = torch.tensor(LUMA, device=images.device).view(1, 3, 1, 1)
        recoloured = (recoloured * weights).sum(1, keepdim=True)
    recoloured = F.interpolate(recoloured, size, mode="bilinear", antialias=True).round()
    return recoloured.clamp(0, 255).to(torch.uint8).expand(-1, channels, -1, -1)


class DeviceImages(Images):
    """Small images, on the device altogether as uint8."""

    def __init__(self, data: PreparedData, rows: np.ndarray, *more: Any, **named: Any) -> None:
        super().__init__(data, rows, *more, **named)
        self.images = torch.from_numpy(np.ascontiguousarray(data.images[rows])).to(self.device)

    def pixels(self, rows: Tensor, generator: torch.Generator | None) -> Tensor:
        """Rows of the array."""
        return self.images[rows]


class Photographs(Images):
    """Photographs, decoded and cut by threads when they are needed."""

    def __init__(self, data: PreparedData, rows: np.ndarray, *more: Any, **named: Any) -> None:
        super().__init__(data, rows, *more, **named)
        assert isinstance(data.settings, PhotographSettings)
        self.settings = data.settings
        self._pool = ThreadPoolExecutor(max(torch.get_num_threads(), 1))

    def pixels(self, rows: Tensor, generator: torch.Generator | None) -> Tensor:
        """Photographs as squares of the study's size."""
        index = self.rows[rows.cpu().numpy()]
        draws: list[list[float]] | list[None] = [None] * len(index)
        if generator is not None and self.training.resized_crop is not None:
            draws = torch.rand(len(index), 4 * TRIES, generator=generator, device=generator.device).tolist()
        squares = self._pool.map(self._square, index.tolist(), draws)
        return torch.from_numpy(np.stack(list(squares)).transpose(0, 3, 1, 2).copy()).to(self.device)

    def _square(self, row: int, draw: list[float] | None) -> np.ndarray:
        if draw is None or self.training.resized_crop is None:
            return square(self.data, row)
        image, size = boxed(self.data, row), self.settings.size
        box = random_crop(image.size, self.training.resized_crop, draw)
        return np.asarray(image.crop(box).resize((size, size), Image.Resampling.BILINEAR))
