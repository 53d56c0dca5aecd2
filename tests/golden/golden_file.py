"""A golden file as its check sees it, and what files of a kind have in common."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import compare
import numpy as np
import torch
from compare import Values, as_array
from torch import Tensor

Arrays = dict[str, np.ndarray]


def blank(*shape: int) -> np.ndarray:
    """A result of a new file whose shape alone is given."""
    return np.zeros(shape, "V1")


class GoldenFile:
    """Arrays by name: a check reads the inputs, and compares its results with the rest.

    One that is new holds inputs only and takes the results of the check: so the tests of the tests make files of other
    sizes than the original's.

    Args:
        name: Name of the file, without ending.
        arrays: Arrays of the file.
        new: Whether results are taken, not compared.
    """

    def __init__(self, name: str, arrays: Arrays, new: bool = False) -> None:
        self.name, self.new = name, new
        self.arrays = {key: np.asarray(values) for key, values in arrays.items()}
        self.used: set[str] = set()
        self.compared: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return key in self.arrays

    def __iter__(self) -> Iterator[str]:
        return iter(list(self.arrays))

    def __getitem__(self, key: str) -> np.ndarray:
        assert key in self.arrays, f"{self.name} lacks {key}"
        self.used.add(key)
        return self.arrays[key]

    def number(self, key: str) -> Any:
        """A scalar as Python has it."""
        return self[key].item()

    def settings(self, key: str = "meta") -> dict[str, Any]:
        """An array of one text that holds JSON."""
        return json.loads(str(self[key]))

    def tensor(self, key: str, double: bool = False) -> Tensor:
        """An array as a tensor of its own; of floating-point numbers in float64 where `double`."""
        values = torch.from_numpy(np.array(self[key]))
        return values.double() if double and values.is_floating_point() else values

    def state(self, prefix: str) -> dict[str, Tensor]:
        """Tensors whose names begin so, by the rest of their names."""
        return {key.removeprefix(prefix): self.tensor(key) for key in self if key.startswith(prefix)}

    def cases(self, ending: str) -> list[str]:
        """What stands before the ending in the names that have it; at least one."""
        cases = [key.removesuffix(ending) for key in self if key.endswith(ending)]
        assert cases, f"{self.name} has no array *{ending}"
        return cases

    def holds(self, key: str) -> bool:
        """Whether a result is to be compared: one that not every file has."""
        return self.new or key in self

    def result(self, key: str, ours: Values) -> np.ndarray:
        """The stored numbers; a new file takes ours."""
        if self.new and (key not in self.arrays or self.arrays[key].dtype.kind == "V"):
            self.arrays[key] = as_array(ours)
        self.compared.add(key)
        return self[key]

    def close(
        self,
        key: str,
        ours: Values,
        absolute: float | np.ndarray,
        relative: float = 0.0,
        scale: float | None = None,
        entrywise: bool = False,
        where: np.ndarray | None = None,
    ) -> None:
        """Compare numbers.

        Args:
            key: Name of the stored numbers.
            ours: Numbers of this project.
            absolute: Part of the limit.
            relative: Part of the limit, of `scale`.
            scale: Largest stored magnitude unless given.
            entrywise: Whether each stored number is the scale of its own limit.
            where: True for the entries, or rows, that are compared; all when left out.
        """
        stored, ours = self.result(key, ours), as_array(ours)
        if where is not None:
            stored, ours = stored[where], ours[where]
        compare.close(ours, stored, absolute, relative, np.abs(stored) if entrywise else scale, f"{self.name} {key}")

    def equal(self, key: str, ours: Values) -> None:
        """Compare what must be the same."""
        compare.equal(ours, self.result(key, ours), f"{self.name} {key}")


@dataclass(frozen=True)
class Family:
    """Files of one kind.

    Attributes:
        pattern: Pattern of their names, without ending.
        check: Compares what this project computes with what a file holds.
        examples: Gives inputs of files of other sizes, seeds and options than the original's, by the files' names.
        unchecked: Patterns of arrays, and of settings as `meta/seed`, on which no comparison depends.
    """

    pattern: str
    check: Callable[[GoldenFile], None]
    examples: Callable[[], dict[str, Arrays]]
    unchecked: tuple[str, ...] = ()

    def leaves(self, key: str) -> bool:
        """Whether an array, or a setting, counts for nothing."""
        return any(fnmatchcase(key, pattern) for pattern in self.unchecked)


@dataclass(frozen=True)
class Method:
    """A folder of golden files.

    Attributes:
        families: Kinds of files; the first that fits a name counts.
        lent: Gives the arrays that a file leaves out because another one beside it holds them.
    """

    families: tuple[Family, ...]
    lent: Callable[[Path, Arrays], Arrays] = lambda path, arrays: {}

    def family_of(self, path: Path) -> Family:
        """The kind of a file."""
        for family in self.families:
            if path.suffix == ".npz" and fnmatchcase(path.stem, family.pattern):
                return family
        patterns = ", ".join(family.pattern for family in self.families)
        raise AssertionError(f"{path.parent.name}/{path.name} has no check; there are {patterns}")


def read_arrays(path: Path) -> Arrays:
    with np.load(path, allow_pickle=False) as archive:
        return dict(archive)
