"""How figures look, and how they are saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.text import Text

from lookalike.contracts.drawing import GREY, PAGE, PALETTE, RIGHT, WRONG
from lookalike.core.files import writing
from lookalike.reporting.catalogue import FIGURE_FORMATS

__all__ = ["COLUMN", "GREY", "PAGE", "PALETTE", "RIGHT", "WRONG", "save_figure", "set_style"]

COLUMN = 3.4  # inches: one column of a paper


def set_style() -> None:
    """Small sans-serif type that stays readable at column width; thin lines; no chart junk."""
    sns.set_theme(context="paper", style="ticks", palette="colorblind")
    mpl.rcParams.update(
        {
            "font.size": 7,
            "axes.titlesize": 7.5,
            "axes.labelsize": 7,
            "xtick.labelsize": 6.5,
            "ytick.labelsize": 6.5,
            "legend.fontsize": 6.5,
            "axes.linewidth": 0.6,
            "lines.linewidth": 1.0,
            "xtick.major.width": 0.6,
            "ytick.major.width": 0.6,
            "svg.hashsalt": "lookalike",  # equal figures give equal bytes
            "svg.fonttype": "none",
            "image.composite_image": False,  # joining them takes ten times longer than drawing
            "pdf.fonttype": 42,
            "savefig.dpi": 300,
        }
    )


def save_figure(figure: Figure, path: Path) -> None:
    """Write <path>.svg, .pdf and .png without time stamps."""
    empty: dict[str, dict[str, Any]] = {
        "svg": {"Date": None},
        "pdf": {"CreationDate": None},
        "png": {"Software": None},
    }
    formulas: set[Text] = set()  # powers of ten, which matplotlib itself writes as formulas
    for axes in figure.axes:
        for axis, scale in ((axes.xaxis, axes.get_xscale()), (axes.yaxis, axes.get_yscale())):
            labels = [*axis.get_majorticklabels(), *axis.get_minorticklabels()]
            formulas.update(labels if scale == "log" else [])
    for text in set(figure.findobj(Text)) - formulas:  # names of models and classes may hold dollars
        text.set_parse_math(False)
    for suffix in FIGURE_FORMATS:
        with writing(path.with_suffix(f".{suffix}")) as temporary:
            figure.savefig(temporary, metadata=empty[suffix])
        figure.set_layout_engine("none")  # all formats have the layout of the first, and it is found once
    plt.close(figure)
