"""MATLAB files of data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scipy.io import loadmat

from lookalike.core.errors import LookalikeError


def read_mat(path: Path, *names: str) -> dict[str, Any]:
    """Variables of a MATLAB file by name.

    Raises:
        LookalikeError: The file is damaged or lacks a variable.
    """
    try:
        content: dict[str, Any] = loadmat(path, variable_names=names)
    except Exception as error:  # the reader raises many kinds on damaged bytes
        raise LookalikeError(f"{path} is truncated or damaged ({error}); delete it and fetch it again.") from None
    missing = [name for name in names if name not in content]
    if missing:
        raise LookalikeError(f"{path} lacks the variable {missing[0]}; delete it and fetch it again.")
    return content
