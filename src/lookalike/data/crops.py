"""Squares cut out of photographs."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from lookalike.data.prepared import PreparedData
from lookalike.data.settings import PhotographSettings

RATIOS = (3 / 4, 4 / 3)  # of width to height in a random resized crop, as in torchvision
TRIES = 10


def square(data: PreparedData, row: int) -> np.ndarray:
    """(size, size, 3) uint8: a photograph as models see it, without augmentation."""
    settings = data.settings
    assert isinstance(settings, PhotographSettings)
    image = boxed(data, row)
    if settings.fit == "squash":
        return np.asarray(image.resize((settings.size, settings.size), Image.Resampling.BILINEAR))
    return np.asarray(centre(image, settings.resize, settings.size))


def boxed(data: PreparedData, row: int) -> Image.Image:
    """A photograph, or its bounding box where the study asks for that."""
    image = data.photograph(row)
    if not getattr(data.settings, "box", False):
        return image
    return image.crop(inside_box(data.boxes[row], image.size))


def centre(image: Image.Image, resize: int, size: int) -> Image.Image:
    """Shorter side to `resize`, then the central square of `size`; the pixels are those of torchvision's transforms."""
    width, height = image.size
    tall = width <= height
    new = (resize, int(resize * height / width)) if tall else (int(resize * width / height), resize)
    if new != image.size:
        image = image.resize(new, Image.Resampling.BILINEAR)
    left, top = round((image.width - size) / 2), round((image.height - size) / 2)
    return image.crop((left, top, left + size, top + size))


def inside_box(box: np.ndarray, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Corners left, top, right, bottom in whole pixels of a box x, y, width, height, cut to the image."""
    x, y, width, height = (float(value) for value in box)
    left, top = max(math.floor(x), 0), max(math.floor(y), 0)
    right, bottom = min(math.ceil(x + width), size[0]), min(math.ceil(y + height), size[1])
    return left, top, max(right, left + 1), max(bottom, top + 1)


def random_crop(size: tuple[int, int], areas: tuple[float, float], draw: list[float]) -> tuple[int, int, int, int]:
    """Corners left, top, right, bottom of a random crop: share of the area uniform, ratio uniform in its logarithm.

    Ten tries, then the largest central crop whose ratio is allowed, as torchvision's random resized crop.

    Args:
        size: Width and height of the image.
        areas: Smallest and largest share of the area.
        draw: Uniform numbers, four a try.
    """
    width, height = size
    for start in range(0, 4 * TRIES, 4):
        share, ratio, across, down = draw[start : start + 4]
        area = width * height * (areas[0] + share * (areas[1] - areas[0]))
        low, high = math.log(RATIOS[0]), math.log(RATIOS[1])
        shape = math.exp(low + ratio * (high - low))
        w, h = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(across * (width - w + 1)), int(down * (height - h + 1))
            return left, top, left + w, top + h
    w = min(width, round(height * RATIOS[1]))
    h = min(height, round(width / RATIOS[0]))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h
