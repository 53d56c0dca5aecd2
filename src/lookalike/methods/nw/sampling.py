"""Training supports of the NW head: which training images a step compares its queries with."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lookalike.core.errors import LookalikeError

EMPTY = -2.0  # key of a table entry that holds no image; real keys are at least -1


class SupportSampler:
    """Draws class-balanced supports from a training subset, without a loop over classes.

    Args:
        labels: (N,) classes of the training subset.
        n_classes: Number of classes C.
        n_shot: Different images a class.
        n_way: Classes a support; all of them when None.
        exclude_queries: Leave the queries' own images out. The original does not: a query then finds
            itself at distance 0.
        environments: (N,) environment of each image. When given, each support comes from one
            environment, drawn anew each step whatever the queries' own (NeurIPS 2023).

    Raises:
        LookalikeError: A class has too few images, in any environment.
    """

    def __init__(
        self,
        labels: Tensor,
        n_classes: int,
        n_shot: int,
        n_way: int | None = None,
        exclude_queries: bool = True,
        environments: Tensor | None = None,
    ) -> None:
        if n_way is not None and n_way > n_classes:
            raise LookalikeError(
                f"episodes.n_way is {n_way}, but there are {n_classes} classes; write n_way: {n_classes}."
            )
        self.n_classes, self.n_shot, self.n_way = n_classes, n_shot, n_way
        self.exclude_queries = exclude_queries
        self.labels = labels
        self.tables: list[Tensor] = []  # one (C, M) table of row numbers an environment, -1 where none
        parts = [torch.ones_like(labels, dtype=torch.bool)]
        if environments is not None:
            parts = [environments == value for value in environments.unique()]
        for part in parts:
            rows = part.nonzero().squeeze(1)
            order = rows[labels[rows].sort(stable=True).indices]
            sizes = torch.bincount(labels[order], minlength=n_classes)
            self._check(sizes, environments is not None)
            starts = sizes.cumsum(0) - sizes
            table = torch.full((n_classes, int(sizes.max())), -1, device=labels.device)
            column = torch.arange(len(order), device=labels.device) - starts[labels[order]]
            table[labels[order], column] = order
            self.tables.append(table)

    def _check(self, sizes: Tensor, may_lack_classes: bool) -> None:
        least = self.n_shot + int(self.exclude_queries)
        counted = sizes[sizes > 0] if may_lack_classes else sizes
        smallest = int(counted.min())
        if smallest < least:
            label = int((sizes == smallest).nonzero()[0])
            what = "no image" if smallest == 0 else f"{smallest} image{'s' * (smallest > 1)}"
            raise LookalikeError(
                f"class {label} has {what} in the training subset, but n_shot: {self.n_shot} needs at least {least}"
                f"{' (the query itself is left out)' * self.exclude_queries}; use a larger size or a smaller n_shot."
            )

    def draw(self, query_rows: Tensor, generator: torch.Generator) -> Tensor:
        """Rows (n,) of one support for the whole batch, ordered by class.

        Every class of the support gives `n_shot` different rows. With `exclude_queries` the images of the
        batch are drawn only where a class has too few others; the loss then hides them from their own query.

        Args:
            query_rows: (B,) rows of the queries.
            generator: The step's generator, on the device of the labels.
        """
        device = self.labels.device
        which = 0
        if len(self.tables) > 1:
            which = int(torch.randint(len(self.tables), (1,), generator=generator, device=device))
        table = self.tables[which]
        if self.n_way is not None:
            # Distinct classes: those of the queries first, then random others.
            key = torch.rand(self.n_classes, generator=generator, device=device)
            key[self.labels[query_rows]] += 1
            key[(table >= 0).sum(1) == 0] -= 2
            needed = int((key >= 1).sum())
            table = table[key.topk(max(self.n_way, needed)).indices.sort().values]
        keys = torch.rand(table.shape, generator=generator, device=device)
        keys[table < 0] = EMPTY
        if self.exclude_queries:
            keys -= torch.isin(table, query_rows).float()  # only where a class has no other image left
        values, columns = keys.topk(min(self.n_shot, table.shape[1]), dim=1)
        rows = table.gather(1, columns)
        return rows[values > EMPTY]


def upstream_draw(
    random: np.random.RandomState, labels: np.ndarray, query_labels: np.ndarray, n_shot: int, n_way: int | None
) -> np.ndarray:
    """The original's draw, bit for bit, from numpy's legacy generator.

    All classes ascending; with n_way, first the classes absent from the batch, then the queries' labels
    in batch order, repetitions included: a class that occurs twice counts twice. The queries' own
    images may be drawn.

    Args:
        random: The legacy generator.
        labels: (N,) of the training set.
        query_labels: (B,), B at most n_way.
        n_shot: Images per entry.
        n_way: Entries, or None for every class once.

    Returns:
        (n,) row numbers.
    """
    classes = np.unique(labels)
    entries = classes
    if n_way is not None:
        absent = ~np.isin(classes, query_labels)
        chance = absent / absent.sum() if absent.any() else None
        others = random.choice(classes, n_way - len(query_labels), replace=False, p=chance)
        entries = np.concatenate([others, query_labels])
    draws = [random.choice(np.flatnonzero(labels == label), n_shot, replace=False) for label in entries]
    return np.concatenate(draws)


def balanced_rows(labels: Tensor, environments: Tensor, most: int) -> Tensor:
    """The original's balanced support: in each environment the first m images of each class.

    m is the smaller of `most` and the environment's smallest class. Environments and classes ascending.

    Args:
        labels: (N,).
        environments: (N,).
        most: Largest m.

    Returns:
        (n,) row numbers.
    """
    chosen = []
    for environment in environments.unique():
        rows = (environments == environment).nonzero().squeeze(1)
        rows = rows[labels[rows].sort(stable=True).indices]
        sizes = torch.bincount(labels[rows])
        sizes = sizes[sizes > 0]
        position = torch.arange(len(rows)) - (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
        chosen.append(rows[position < min(most, int(sizes.min()))])
    return torch.cat(chosen)


def rows_per_class(labels: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """N random different rows of each class, classes ascending; all rows of a smaller class.

    Args:
        labels: (N,).
        n: Rows a class.
        generator: A CPU generator.

    Returns:
        (m,) row numbers.
    """
    shuffled = torch.randperm(len(labels), generator=generator)
    order = shuffled[labels[shuffled].sort(stable=True).indices]
    sizes = torch.bincount(labels)
    position = torch.arange(len(order)) - (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
    return order[position < n]
