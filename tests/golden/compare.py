"""How golden numbers are compared."""

import numpy as np
import torch
from torch import Tensor


def close(found, stored, absolute: float, relative: float = 0.0, scale: float | None = None, what: str = "") -> None:
    """|found - stored| <= absolute + relative * scale; scale is the largest stored magnitude unless given."""
    found = np.asarray(found.detach() if isinstance(found, Tensor) else found, np.float64)
    stored = np.asarray(stored, np.float64)
    assert found.shape == stored.shape, f"{what}: shape {found.shape}, stored {stored.shape}"
    if not stored.size:
        return
    if scale is None:
        scale = np.abs(stored[np.isfinite(stored)]).max(initial=0)
    assert (np.isfinite(found) == np.isfinite(stored)).all(), f"{what}: other entries are finite"
    finite = np.isfinite(stored)
    assert (found[~finite] == stored[~finite]).all() or np.isnan(stored[~finite]).all(), f"{what}: other infinities"
    worst = np.abs(found[finite] - stored[finite]).max(initial=0)
    assert worst <= absolute + relative * scale, (
        f"{what}: off by {worst:.3g}, allowed {absolute + relative * scale:.3g}"
    )


def tensors(file) -> dict[str, Tensor]:
    """Numeric arrays of a golden file as tensors."""
    return {key: torch.from_numpy(file[key]) for key in file if file[key].dtype.kind in "fib"}
