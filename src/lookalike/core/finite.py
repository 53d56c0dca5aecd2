"""Numbers are finite or refused: NaN would otherwise become a confident class, or the nearest of all."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lookalike.core.errors import LookalikeError


class NotFiniteError(LookalikeError, ValueError):
    """A number is NaN or infinite where a result would follow from it."""


def check_finite(
    values: Tensor,
    what: str,
    name: Callable[[int], str] = "row {}".format,
    remedy: str = "look at what they come from",
) -> None:
    """Raise where a number is NaN or infinite; one pass over the values, and no copy.

    Args:
        values: (N, ...).
        what: What they are, as the message begins: "features of the support".
        name: Row number -> what the message calls it.
        remedy: What to do.

    Raises:
        NotFiniteError: The message names the first bad row.
    """
    if is_finite(values):
        return
    bad = (~values.detach().isfinite()).reshape(len(values), -1).any(1)
    first = name(int(bad.nonzero()[0]))
    raise NotFiniteError(f"{what} are not finite in {int(bad.sum())} of {len(bad)} rows, first in {first}; {remedy}.")


def is_finite(values: Tensor) -> bool:
    """Whether no number is NaN or infinite; the extremes tell, in one pass."""
    if not values.numel() or not values.is_floating_point():
        return True
    return bool(torch.isfinite(torch.stack(values.detach().aminmax())).all())


def may_wait(values: Tensor, training: bool) -> bool:
    """Whether a check may ask for values now: a training on a GPU would wait for the answer; there the loss tells."""
    return values.device.type == "cpu" or not training


def check_features(features: Tensor, memory: Tensor, training: bool) -> None:
    """Raise NotFiniteError where a query (B, D) or a memory row (M, D) holds NaN or an infinity."""
    for rows, what in ((features, "queries"), (memory, "memory")):
        if may_wait(rows, training):
            check_finite(rows, f"features of the {what}", remedy="look at the encoder and its input")
