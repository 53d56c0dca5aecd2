"""How tables are written: CSV for machines, LaTeX (booktabs) for papers, Markdown for reading."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from lookalike.core.files import write_text
from lookalike.reporting.catalogue import TableContent

# Characters that mean something to LaTeX.
LATEX = {character: f"\\{character}" for character in "&%_#${}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\N{PLUS-MINUS SIGN}": r"$\pm$",
}
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what spreadsheets take a cell for that begins so


def write_table(path: Path, content: TableContent, label: str) -> None:
    """Write <path>.csv, .md and .tex.

    Args:
        path: Path without a suffix.
        content: Numbers, text and caption.
        label: Label of the LaTeX table.
    """
    write_csv(path.with_suffix(".csv"), content.numbers)
    write_text(path.with_suffix(".md"), as_markdown(content.shown, content.caption))
    write_text(path.with_suffix(".tex"), as_latex(content.shown, content.caption, label))


def write_csv(path: Path, frame: pd.DataFrame) -> None:
    """Write a table with all its digits."""
    write_text(path, as_csv(frame))


def as_csv(frame: pd.DataFrame) -> str:
    """A table with all its digits."""
    text: str = frame.map(_no_formula).to_csv(index=False, lineterminator="\n")
    return text


def _no_formula(cell: Any) -> Any:
    """A cell that no spreadsheet runs: text that begins as a formula does, and is no number, gets an apostrophe."""
    if not isinstance(cell, str) or not cell.startswith(FORMULA):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}" if len(cell) > 1 else cell
    return cell


def latex_label(study: str, name: str) -> str:
    """The label of a study's table."""
    return f"tab:{study}-{name}".replace("_", "-")


def as_markdown(shown: pd.DataFrame, caption: str) -> str:
    """A pipe table with its caption below."""
    rows = [list(map(str, shown.columns)), ["---"] * len(shown.columns)]
    rows += [[str(value) for value in row] for row in shown.itertuples(index=False)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + f"\n\n{caption}\n"


def as_latex(shown: pd.DataFrame, caption: str, label: str) -> str:
    """A booktabs table."""
    escaped = shown.rename(columns=lambda name: _escape(str(name)))
    style = escaped.style.hide(axis="index").format(lambda value: _bold(_escape(str(value))))
    text: str = style.to_latex(
        hrules=True,
        caption=_escape(caption),
        label=label,
        position_float="centering",
        column_format="l" * len(shown.columns),
    )
    return text


def _bold(text: str) -> str:
    """Bold text of Markdown in LaTeX."""
    return rf"\textbf{{{text[2:-2]}}}" if text.startswith("**") and text.endswith("**") else text


def _escape(text: str) -> str:
    return "".join(LATEX.get(character, character) for character in text)
