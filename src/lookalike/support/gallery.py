"""Prepared training images by row: all of them where memory allows, else the recently used."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lookalike.errors import LookalikeError

IMAGES_PER_BATCH = 64


class Gallery:
    """What a method has prepared of its training images; made when asked for, least recently used forgotten first.

    Args:
        make: rows (n,) -> named tensors (n, ...).
        count: number of training images N.
        budget: bytes that may be kept.
        tensors: all rows, where they were made before.
    """

    def __init__(
        self,
        make: Callable[[Tensor], dict[str, Tensor]],
        count: int,
        budget: int,
        tensors: dict[str, Tensor] | None = None,
    ) -> None:
        self.make, self.count, self.budget = make, count, budget
        self.kept = tensors
        capacity = count if tensors else 0
        self.made = capacity  # rows made so far, the forgotten ones counted again
        self._row_of = torch.arange(capacity)
        self._slot_of = torch.full((count,), -1)
        self._slot_of[:capacity] = torch.arange(capacity)
        self._used = torch.zeros(capacity, dtype=torch.int64)
        self._clock = 0

    @property
    def capacity(self) -> int:
        """Rows that fit; all of them until the first is made."""
        return self.count if self.kept is None else len(self._row_of)

    def take(self, rows: Tensor) -> dict[str, Tensor]:
        """Named tensors (n, ...) of rows (n,); a row may occur several times.

        Raises:
            LookalikeError: the rows asked for together do not fit.
        """
        rows = rows.cpu()
        wanted = rows.unique()
        if self.kept is None:
            self._allocate(self.make(wanted[:1]))
        self._clock += 1
        there = self._slot_of[wanted]
        self._used[there[there >= 0]] = self._clock
        missing = wanted[there < 0]
        if len(missing):
            self._fill(missing)
        assert self.kept is not None
        slots = self._slot_of[rows]
        return {name: values[slots.to(values.device)] for name, values in self.kept.items()}

    def complete(self) -> dict[str, Tensor] | None:
        """All rows, made now where they are missing; None where they do not fit together."""
        if self.kept is None:
            self._allocate(self.make(torch.zeros(1, dtype=torch.int64)))
        if len(self._row_of) < self.count:
            return None
        for rows in torch.arange(self.count).split(IMAGES_PER_BATCH):
            self.take(rows)
        assert self.kept is not None
        order = self._slot_of
        if bool((order == torch.arange(self.count)).all()):
            return self.kept
        return {name: values[order.to(values.device)] for name, values in self.kept.items()}

    def _allocate(self, one: dict[str, Tensor]) -> None:
        size = sum(value.nbytes for value in one.values())
        capacity = min(self.count, max(self.budget // size, 1))
        self.kept = {name: value.new_empty(capacity, *value.shape[1:]) for name, value in one.items()}
        self._row_of = torch.full((capacity,), -1)
        self._used = torch.zeros(capacity, dtype=torch.int64)

    def _fill(self, rows: Tensor) -> None:
        """Make rows and put them where the longest unused ones are."""
        assert self.kept is not None
        slots = self._used.argsort(stable=True)[: len(rows)]
        if len(rows) > int((self._used < self._clock).sum()):
            raise LookalikeError(
                f"a query's shortlist needs more than the {self.budget / 1e9:.3g} GB that prepared training images may "
                "take; raise inference.gallery_gb or lower inference.shortlist."
            )
        forgotten = self._row_of[slots]
        self._slot_of[forgotten[forgotten >= 0]] = -1
        for some, where in zip(rows.split(IMAGES_PER_BATCH), slots.split(IMAGES_PER_BATCH), strict=True):
            for name, values in self.make(some).items():
                self.kept[name][where.to(values.device)] = values
        self._row_of[slots], self._slot_of[rows], self._used[slots] = rows, slots, self._clock
        self.made += len(rows)
