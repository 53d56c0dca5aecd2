"""Prepared training images by row: all of them where memory allows, else the recently used."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lookalike.core.errors import LookalikeError

IMAGES_PER_BATCH = 64


class Gallery:
    """What a method has prepared of its training images; prepared when asked for, the longest unused forgotten first.

    Args:
        prepare: Rows (n,) -> named tensors (n, ...).
        count: Number of training images N.
        budget: Bytes that may be kept.
        tensors: All rows, where they were prepared before.

    Attributes:
        prepared: Rows prepared so far, the forgotten ones counted again.
    """

    def __init__(
        self,
        prepare: Callable[[Tensor], dict[str, Tensor]],
        count: int,
        budget: int,
        tensors: dict[str, Tensor] | None = None,
    ) -> None:
        self.prepare, self.count, self.budget = prepare, count, budget
        self.tensors = tensors
        capacity = count if tensors else 0
        self.prepared = capacity
        self._row_of = torch.arange(capacity)
        self._slot_of = torch.full((count,), -1)
        self._slot_of[:capacity] = torch.arange(capacity)
        self._used = torch.zeros(capacity, dtype=torch.int64)
        self._clock = 0

    @property
    def capacity(self) -> int:
        """Rows that fit; all of them until the first is prepared."""
        return self.count if self.tensors is None else len(self._row_of)

    def load(self, rows: Tensor) -> dict[str, Tensor]:
        """Named tensors (n, ...) of rows (n,); a row may occur several times.

        Raises:
            LookalikeError: The rows asked for together do not fit.
        """
        rows = rows.cpu()
        distinct = rows.unique()
        if self.tensors is None:
            self._allocate(self.prepare(distinct[:1]))
        self._clock += 1
        there = self._slot_of[distinct]
        self._used[there[there >= 0]] = self._clock
        missing = distinct[there < 0]
        if len(missing):
            self._fill(missing)
        assert self.tensors is not None
        slots = self._slot_of[rows]
        return {name: values[slots.to(values.device)] for name, values in self.tensors.items()}

    def complete(self) -> dict[str, Tensor] | None:
        """All rows, prepared now where they are missing; None where they do not fit together."""
        if self.tensors is None:
            self._allocate(self.prepare(torch.zeros(1, dtype=torch.int64)))
        if len(self._row_of) < self.count:
            return None
        for rows in torch.arange(self.count).split(IMAGES_PER_BATCH):
            self.load(rows)
        assert self.tensors is not None
        order = self._slot_of
        if bool((order == torch.arange(self.count)).all()):
            return self.tensors
        return {name: values[order.to(values.device)] for name, values in self.tensors.items()}

    def _allocate(self, example: dict[str, Tensor]) -> None:
        size = sum(value.nbytes for value in example.values())
        capacity = min(self.count, max(self.budget // size, 1))
        self.tensors = {name: value.new_empty(capacity, *value.shape[1:]) for name, value in example.items()}
        self._row_of = torch.full((capacity,), -1)
        self._used = torch.zeros(capacity, dtype=torch.int64)

    def _fill(self, rows: Tensor) -> None:
        """Prepare rows and put them where the longest unused ones are."""
        assert self.tensors is not None
        slots = self._used.argsort(stable=True)[: len(rows)]
        if len(rows) > int((self._used < self._clock).sum()):
            raise LookalikeError(
                f"a query's candidates need more than the {self.budget / 1e9:.3g} GB that prepared training images may "
                "take; raise inference.gallery_gb or lower inference.n_candidates."
            )
        forgotten = self._row_of[slots]
        self._slot_of[forgotten[forgotten >= 0]] = -1
        for some, where in zip(rows.split(IMAGES_PER_BATCH), slots.split(IMAGES_PER_BATCH), strict=True):
            for name, values in self.prepare(some).items():
                self.tensors[name][where.to(values.device)] = values
        self._row_of[slots], self._slot_of[rows], self._used[slots] = rows, slots, self._clock
        self.prepared += len(rows)
