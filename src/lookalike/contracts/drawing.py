"""The contract of drawings of explanations: a canvas in inches, from the top left corner, with images and short texts.

A method's drawing function takes what is to be drawn and the data set that its images come from, and gives a `Canvas`.
One set of axes holds all: a picture table of a hundred images takes a tenth of the time that a hundred axes take.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.patches import Rectangle

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lookalike.contracts.explanation import Explanation

Colour = Any  # whatever matplotlib takes for one
PAGE = 6.9  # inches: two columns of a paper
PALETTE = sns.color_palette("colorblind")
RIGHT, WRONG = PALETTE[0], PALETTE[3]
GREY = "0.55"
HEAD, QUERY, EDGE = 0.38, 0.52, 0.06  # inches
LONGEST_NAME = 12  # characters that fit below an image


class Canvas:
    """A figure as wide as a page, with axes in inches, y downwards.

    Attributes:
        figure: The figure.
        axes: Its one set of axes.
        class_names: Name of each class.
    """

    def __init__(self, rows: list[float], class_names: list[str]) -> None:
        """An empty canvas.

        Args:
            rows: Height of each row below the headings, in inches.
            class_names: Name of each class.
        """
        self.class_names = class_names
        self.figure: Figure = plt.figure(figsize=(PAGE, HEAD + sum(rows) - 0.08), layout="none")
        self.axes: Axes = self.figure.add_axes((0.0, 0.0, 1.0, 1.0))
        self.axes.set_axis_off()

    def name(self, label: int) -> str:
        """The name of a class, cut to what fits below an image."""
        return shorten(self.class_names[label])

    def add_headings(self, texts: Mapping[float, str]) -> None:
        """Bold texts at the top, by their place from the left in inches."""
        for left, text in texts.items():
            self.axes.text(left, 0.06, text, va="top", fontsize=7.5, fontweight="bold")

    def add_query(self, left: float, top: float, record: Explanation, pixels: np.ndarray) -> None:
        """A query between the names of its true and its predicted class.

        Args:
            left: Place from the left, in inches.
            top: Place from the top, in inches.
            record: Explanation of the query.
            pixels: (H, W, C) uint8, the query.
        """
        self.add_pixels(left, top, QUERY, pixels)
        self.axes.text(left, top - 0.02, f"true {self.name(record.label)}", va="bottom", fontsize=6.5)
        self.axes.text(
            left,
            top + QUERY + 0.02,
            f"predicted {self.name(record.predicted)}",
            va="top",
            fontsize=6.5,
            color=RIGHT if record.label == record.predicted else WRONG,
        )

    def add_pixels(
        self, left: float, top: float, side: float, pixels: np.ndarray, frame: Colour = None, caption: str = ""
    ) -> None:
        """An image in a square, its longer side as long as the square's.

        Args:
            left: Place from the left, in inches.
            top: Place from the top, in inches.
            side: Side of the square, in inches.
            pixels: (H, W, C) uint8, one channel or three.
            frame: Colour of a thick frame; a thin grey one when left out.
            caption: Two short lines below the image.
        """
        height, width = pixels.shape[:2]
        scale = side / max(height, width)
        x, y = left + (side - width * scale) / 2, top + (side - height * scale) / 2
        is_grey = pixels.shape[-1] == 1
        self.axes.imshow(
            pixels[..., 0] if is_grey else pixels,
            cmap="gray_r" if is_grey else None,
            vmin=0,
            vmax=255,
            extent=(x, x + width * scale, y + height * scale, y),
            interpolation="nearest",
        )
        self.axes.add_patch(
            Rectangle(
                (x, y),
                width * scale,
                height * scale,
                fill=False,
                edgecolor=GREY if frame is None else frame,
                lw=0.5 if frame is None else 1.3,
            )
        )
        self.reset_limits()
        if caption:
            self.add_caption(left, top, side, caption)

    def add_caption(self, left: float, top: float, side: float, text: str, colour: Colour = None) -> None:
        """Short lines in the middle below a square.

        Args:
            left: Place of the square from the left, in inches.
            top: Place of the square from the top, in inches.
            side: Side of the square, in inches.
            text: The lines.
            colour: Colour of the text; that of all text when left out.
        """
        given = {} if colour is None else {"color": colour}
        x, y = left + side / 2, top + side + 0.03
        self.axes.text(x, y, text, ha="center", va="top", fontsize=6, linespacing=1.0, **given)

    def reset_limits(self) -> None:
        """Put the axes' limits back, which images change."""
        self.axes.set_xlim(0, PAGE)
        self.axes.set_ylim(self.figure.get_figheight(), 0)
        self.axes.set_aspect("auto")


def format_signed(value: float) -> str:
    """`+0.037`, and `+8e-5` for what would read as zero."""
    return f"{value:+.3f}" if abs(value) >= 5e-4 else f"{value:+.0e}".replace("e-0", "e-")


def format_share(value: float) -> str:
    """`0.037`, and `8e-5` for what would read as zero."""
    return format_signed(value).removeprefix("+")


def shorten(name: str) -> str:
    """A class name cut to what fits below an image."""
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "\N{HORIZONTAL ELLIPSIS}"
