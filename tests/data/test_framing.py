"""Key points of photographs, in the frame that models see."""

import numpy as np
import pytest
import torch
from helpers import layouts
from helpers.miniatures import Prepare, Source
from PIL import Image

from lookalike.data.framing import framed_points
from lookalike.data.images import open_images


@pytest.mark.parametrize("reading", [{}, {"fit": "squash"}, {"box": True, "size": 28}, {"size": 16, "resize": 20}])
def test_key_points_are_where_models_see_them(prepare: Prepare, source: Source, reading: dict[str, object]) -> None:
    """In photographs whose pixels know where they are."""
    layouts.make_cub200(source("cub200"))
    data = prepare("cub200", {"train": 3, "test": 2}, **{"size": 24, "resize": 28, **reading})
    rows = np.arange(5)

    def photograph(row: int) -> Image.Image:
        height, width = (int(data.column(name)[row]) for name in ("height", "width"))
        y, x = np.mgrid[:height, :width]
        return Image.fromarray(np.stack([x * 8, y * 8, x * 0], -1).astype(np.uint8))

    data.photograph = photograph
    points = framed_points(data, rows)
    assert points is not None
    shown = open_images(data, rows).raw(torch.arange(5)) * 255 / 8  # (5, 3, H, W): x and y of each pixel
    stored = data.column("points").reshape(5, -1, 3)
    checked = 0
    for image in range(5):
        for (x, y, inside), (px, py, visible) in zip(points[image].tolist(), stored[image].tolist(), strict=True):
            if not inside:
                continue
            assert visible
            at = [min(int(value * shown.shape[-1]), shown.shape[-1] - 1) for value in (y, x)]
            colours = shown[image, :2, at[0], at[1]].tolist()
            assert colours == pytest.approx([px - 0.5, py - 0.5], abs=1.3)
            checked += 1
    assert checked
