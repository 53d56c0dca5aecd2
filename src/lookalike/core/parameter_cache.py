"""What follows from parameters, computed once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")


class ParameterCache:
    """Results by name; each holds until a parameter that it follows from changes.

    Where a gradient is asked for, nothing is kept: the result belongs to one step's graph.
    """

    def __init__(self) -> None:
        self._results: dict[str, tuple[tuple[object, ...], Any]] = {}

    def get(self, name: str, compute: Callable[..., Result], *parameters: Tensor) -> Result:
        """`compute` of the parameters."""
        if torch.is_grad_enabled() and any(parameter.requires_grad for parameter in parameters):
            return compute(*parameters)
        state = tuple((parameter._version, parameter.data_ptr(), parameter.dtype) for parameter in parameters)
        if name not in self._results or self._results[name][0] != state:
            self._results[name] = (state, compute(*(parameter.detach() for parameter in parameters)))
        result: Result = self._results[name][1]
        return result
