"""Golden families of Memory Wrap: subset draws."""

import numpy as np

from lookalike.data.settings import ArraySettings
from lookalike.data.subsets import memory_wrap_draw

HELD_OUT = {"SVHN": 6000, "CIFAR10": 6000, "CINIC10": 10}
NAMES = {"SVHN": "svhn", "CIFAR10": "cifar10", "CINIC10": "cinic10"}


def check_splits(name: str, content: dict[str, np.ndarray]) -> None:
    """Every stored subset is the beginning of our order, every validation part the beginning of ours."""
    checked = 0
    for key, stored in content.items():
        dataset, *parts = key.split(".")
        if dataset not in HELD_OUT:
            continue
        seed, part = int(parts[0].removeprefix("seed")), parts[1]
        total = ArraySettings(source=NAMES[dataset]).source_counts()["train"]
        order, validation = memory_wrap_draw(total, HELD_OUT[dataset], seed)
        if parts[-1] == "size":
            assert len(order) == stored, key
        else:
            found = validation if part == "val" else order
            np.testing.assert_array_equal(found[: len(stored)], stored, key)
        assert sorted([*order, *validation]) == list(range(total)), key
        checked += 1
    assert checked
    labels = content["bal_labels"]
    np.testing.assert_allclose(len(labels) / np.bincount(labels)[labels], content["bal_weights"], rtol=1e-12)


FAMILIES = [("splits_", ("bal_labels", "bal_weights"), check_splits)]
