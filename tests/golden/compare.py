"""How golden numbers are compared."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

Values = np.ndarray | Tensor | Sequence[float] | float


def as_array(values: Values) -> np.ndarray:
    return np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values)


def close(
    ours: Values,
    stored: Values,
    absolute: float | np.ndarray,
    relative: float = 0.0,
    scale: float | np.ndarray | None = None,
    what: str = "",
) -> None:
    """Fail where |ours - stored| > absolute + relative * scale; what is not finite must be the same in both.

    Args:
        ours: Numbers of this project.
        stored: Numbers of the original.
        absolute: Part of the limit; an array for a limit of each entry.
        relative: Part of the limit, of `scale`.
        scale: Largest finite magnitude that is stored unless given; an array for a limit of each entry.
        what: Name of the numbers, for messages.
    """
    ours, stored = (as_array(values).astype(np.float64) for values in (ours, stored))
    assert ours.shape == stored.shape, f"{what}: shape {ours.shape}, stored {stored.shape}"
    finite = np.isfinite(stored)
    assert np.isfinite(ours[finite]).all(), f"{what}: not finite where the stored number is"
    assert np.array_equal(ours[~finite], stored[~finite], equal_nan=True), (
        f"{what}: {ours[~finite]} where {stored[~finite]} is stored"
    )
    if not finite.any():
        return
    if scale is None:
        scale = np.abs(stored[finite]).max()
    limit = np.broadcast_to(absolute + relative * np.asarray(scale), stored.shape)[finite]
    difference = np.abs(ours[finite] - stored[finite])
    worst = (difference - limit).argmax()
    assert difference[worst] <= limit[worst], f"{what}: off by {difference[worst]:.3g}, allowed {limit[worst]:.3g}"


def equal(ours: Values, stored: Values, what: str = "") -> None:
    """Fail where two arrays differ."""
    np.testing.assert_array_equal(as_array(ours), as_array(stored), what)
