"""Which training images a run sees."""

from __future__ import annotations

import numpy as np


def take_turns(labels: np.ndarray, seed: int) -> np.ndarray:
    """(N,) an order in which the classes take turns, so that every beginning of it is class-balanced.

    The rows of each class are shuffled; the n-th images of all classes come before the (n+1)-th. A smaller
    subset is contained in a larger one of the same seed.

    Args:
        labels: (N,) classes.
        seed: Seed of the shuffle.
    """
    shuffled = np.random.RandomState(seed % 2**32).permutation(len(labels))  # a stream numpy keeps for ever
    classes = labels[shuffled]
    order = np.argsort(classes, kind="stable")
    sizes = np.bincount(classes)
    turn = np.empty(len(labels), np.int64)
    turn[order] = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    turns: np.ndarray = shuffled[np.lexsort((np.arange(len(labels)), turn))]
    return turns


def uniform_draw(count: int, validation_size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Uniform and nested, not class-balanced: the draw of Memory Wrap's authors (golden `splits_a`).

    A permutation seeded by the run's number parts off the last `validation_size` images; a second one, by a new
    generator of the same seed, orders the rest.

    Args:
        count: Number of training images N.
        validation_size: Number of images that are never trained on.
        seed: The run's number.

    Returns:
        (N - validation_size,) the order from which a subset is the beginning, and (validation_size,) the images held
        out.
    """
    import torch  # figures read prepared data too, and need not wait for it

    first = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    rest, validation = first[: count - validation_size], first[count - validation_size :]
    second = torch.randperm(len(rest), generator=torch.Generator().manual_seed(seed))
    return rest[second].numpy(), validation.numpy()
