"""What drawings of explanations share: one set of axes in inches from the top left corner, images and short texts.

A picture table of a hundred images takes a tenth of the time that a hundred axes take.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lookalike.data.prepared import PreparedData
from lookalike.explanation.record import Explanation
from lookalike.reporting.style import GREY, PAGE, RIGHT, WRONG

HEAD, QUERY, EDGE = 0.38, 0.52, 0.06  # inches
LONGEST_NAME = 12  # characters that fit below an image
Colour = tuple[float, float, float]


def make_canvas(rows: list[float]) -> tuple[Figure, Axes]:
    """A figure for queries of these heights and axes in inches, y downwards."""
    height = HEAD + sum(rows) - 0.08
    figure = plt.figure(figsize=(PAGE, height), layout="none")
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    return figure, axes


def set_limits(axes: Axes) -> None:
    """Images reset the limits; put them back."""
    axes.set_xlim(0, PAGE)
    axes.set_ylim(axes.figure.get_figheight(), 0)  # type: ignore[union-attr]
    axes.set_aspect("auto")


def add_headings(axes: Axes, texts: dict[float, str]) -> None:
    """Bold texts at the top, by their place from the left."""
    for left, text in texts.items():
        axes.text(left, 0.06, text, va="top", fontsize=7.5, fontweight="bold")


def signed(value: float) -> str:
    """`+0.037`, and `+8e-5` for what would read as zero."""
    return f"{value:+.3f}" if abs(value) >= 5e-4 else f"{value:+.0e}".replace("e-0", "e-")


def share(value: float) -> str:
    """`0.037`, and `8e-5` for what would read as zero."""
    return signed(value).removeprefix("+")


def short(name: str) -> str:
    """A class name that fits below an image."""
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "\N{HORIZONTAL ELLIPSIS}"


def add_query(axes: Axes, left: float, top: float, record: Explanation, data: PreparedData) -> None:
    """A query between its true and its predicted class."""
    add_image(axes, left, top, QUERY, record.query, data, None)
    axes.text(left, top - 0.02, f"true {short(data.class_names[record.label])}", va="bottom", fontsize=6.5)
    axes.text(
        left,
        top + QUERY + 0.02,
        f"predicted {short(data.class_names[record.predicted])}",
        va="top",
        fontsize=6.5,
        color=RIGHT if record.label == record.predicted else WRONG,
    )


def add_captioned(
    axes: Axes, left: float, top: float, side: float, image: int, data: PreparedData, frame: Colour, text: str
) -> None:
    """An image with two short lines below it."""
    add_image(axes, left, top, side, image, data, frame)
    axes.text(left + side / 2, top + side + 0.03, text, ha="center", va="top", fontsize=6, linespacing=1.0)


def add_image(
    axes: Axes, left: float, top: float, side: float, image: int, data: PreparedData, frame: Colour | None
) -> None:
    """A training or query image in a square; its longer side fills it."""
    add_pixels(axes, left, top, side, data.picture(image), frame)


def add_pixels(axes: Axes, left: float, top: float, side: float, pixels: np.ndarray, frame: Colour | None) -> None:
    """Pixels (H, W, C) uint8 in a square, the longer side as long as it."""
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    x, y = left + (side - width * scale) / 2, top + (side - height * scale) / 2
    grey = pixels.shape[-1] == 1
    axes.imshow(
        pixels[..., 0] if grey else pixels,
        cmap="gray_r" if grey else None,
        vmin=0,
        vmax=255,
        extent=(x, x + width * scale, y + height * scale, y),
        interpolation="nearest",
    )
    axes.add_patch(
        Rectangle(
            (x, y),
            width * scale,
            height * scale,
            fill=False,
            edgecolor=GREY if frame is None else frame,
            lw=0.5 if frame is None else 1.3,
        )
    )
    set_limits(axes)
