"""What follows from parameters, computed once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

Found = TypeVar("Found")


class Kept:
    """Results by name; each holds until a parameter that it follows from changes.

    Where a gradient is asked for, nothing is kept: the result belongs to one step's graph.
    """

    def __init__(self) -> None:
        self._results: dict[str, tuple[tuple[object, ...], Any]] = {}

    def get(self, name: str, compute: Callable[..., Found], *parameters: Tensor) -> Found:
        """`compute` of the parameters."""
        if torch.is_grad_enabled() and any(one.requires_grad for one in parameters):
            return compute(*parameters)
        state = tuple((one._version, one.data_ptr(), one.dtype) for one in parameters)
        if name not in self._results or self._results[name][0] != state:
            self._results[name] = (state, compute(*(one.detach() for one in parameters)))
        result: Found = self._results[name][1]
        return result
