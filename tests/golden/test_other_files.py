"""The checks of golden files take files of any size, and no changed number passes them.

Files of other sizes, seeds and options than the original's are made with this project's own results.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compare import close
from families import METHODS, all_files, check_file
from golden_file import Arrays, Family, GoldenFile

FAMILIES = [(name, family) for name, method in METHODS.items() for family in method.families]
every_family = pytest.mark.parametrize(("method", "family"), FAMILIES, ids=[f"{m}/{f.pattern}" for m, f in FAMILIES])


@dataclass(frozen=True)
class Written:
    """A file, its arrays, and which of them are results."""

    path: Path
    arrays: Arrays
    results: set[str]


Write = Callable[[str, Family], list[Written]]


@pytest.fixture(scope="module")
def write(tmp_path_factory: pytest.TempPathFactory) -> Write:
    """Files of a family, each written once."""
    folder = tmp_path_factory.mktemp("golden")
    files: dict[tuple[str, str], list[Written]] = {}

    def of_family(name: str, family: Family) -> list[Written]:
        if (name, family.pattern) not in files:
            written = [write_file(folder / name / f"{stem}.npz", inputs) for stem, inputs in family.examples().items()]
            # An example may need another kind of file beside it.
            of_kind = [file for file in written if METHODS[name].family_of(file.path) is family]
            files[name, family.pattern] = of_kind
        return files[name, family.pattern]

    return of_family


def write_file(path: Path, inputs: Arrays) -> Written:
    method = METHODS[path.parent.name]
    lent = method.lent(path, inputs)
    file = GoldenFile(path.stem, lent | inputs, new=True)
    method.family_of(path).check(file)
    arrays = {key: values for key, values in file.arrays.items() if key in inputs or key not in lent}
    path.parent.mkdir(exist_ok=True)
    np.savez(path, **arrays)
    return Written(path, arrays, file.compared & arrays.keys())


def sample(arrays: Arrays) -> dict[str, np.ndarray]:
    """Arrays to change: the first and the last of those whose names differ in numbers, or parts of a network, alone."""
    kinds: dict[str, list[str]] = {}
    for key in arrays:
        first, *rest = re.sub(r"\d+", "", key).split(".")
        kinds.setdefault(first if len(rest) > 2 else ".".join([first, *rest]), []).append(key)
    return {key: arrays[key] for keys in kinds.values() for key in {keys[0]: 0, keys[-1]: 0}}


def passes(path: Path, changes: Arrays) -> bool:
    try:
        check_file(path, changes)
    except Exception:  # a changed size or option raises many kinds
        return False
    return True


def other(value: Any) -> Any:
    """Another value of a setting."""
    if isinstance(value, bool) or not isinstance(value, int | float | list | dict):
        return {"cosine": "l2", "euclidean": "cosine", "MemoryWrapLayer": "BaselineMemory"}.get(value, "cosine")
    if isinstance(value, dict):
        return {name: other(part) for name, part in value.items()}
    return [other(part) for part in value] if isinstance(value, list) else value + 2


def changes_of(key: str, values: np.ndarray, result: bool) -> dict[str, np.ndarray]:
    """An array changed beyond any limit, by what was changed: a number of a result, every other one of an input."""
    if not values.size:
        return {}
    if values.dtype.kind == "U" and values.ndim:
        return {key: np.full_like(values, "another")}
    if values.dtype.kind == "U":
        if not str(values).startswith("{"):
            return {key: np.array(other(str(values)))}
        settings = json.loads(str(values))
        return {f"{key}/{name}": np.array(json.dumps({**settings, name: other(settings[name])})) for name in settings}
    places = np.arange(0, values.size, 2)
    if result:  # neither a zero nor an outlier
        finite = np.flatnonzero(np.isfinite(values))
        places = finite[np.abs(values.flat[finite].astype(float)).argsort()[[len(finite) // 2]]]
    changed, numbers = values.copy(), values.flat[places]
    if values.dtype.kind == "b":
        changed.flat[places] = ~numbers
    elif values.dtype.kind == "f":
        with np.errstate(all="ignore"):
            changed.flat[places] = numbers - 1 - 2 * np.abs(numbers)
    else:
        changed.flat[places] = numbers + 2
    return {key: changed}


def not_finite(values: np.ndarray) -> list[np.ndarray]:
    """An array with infinities and what is no number in places where something else is stored."""
    arrays = []
    for value in (np.nan, np.inf):
        others = np.flatnonzero(~((values == value) | (np.isnan(values) & np.isnan(value))))
        arrays.append(values.copy())
        arrays[-1].flat[others[0]] = value
        if np.isnan(values).any() and not np.isnan(value):
            arrays.append(np.where(np.isnan(values), value, values).astype(values.dtype))
    return arrays


@every_family
def test_files_of_other_sizes_pass(method: str, family: Family, write: Write) -> None:
    for file in write(method, family):
        assert not check_file(file.path), f"{file.path.name}: arrays that nothing is compared with"


@every_family
def test_changed_numbers_fail(method: str, family: Family, write: Write) -> None:
    """A changed result fails in every file; a changed input or option in at least one of its kind."""
    unnoticed: dict[str, bool] = {}
    for file in write(method, family):
        for key, values in sample(file.arrays).items():
            result = key in file.results
            for what, changed in changes_of(key, values, result).items():
                if family.leaves(what) or not (result or unnoticed.get(what, True)):
                    continue
                unnoticed[what] = passes(file.path, {key: changed})
                assert not (result and unnoticed[what]), f"{file.path.name} passes with another {what}"
    assert not [what for what, passed in unnoticed.items() if passed], "inputs that nothing depends on"


@pytest.mark.long
@every_family
def test_numbers_that_are_not_finite_fail(method: str, family: Family, write: Write) -> None:
    file = write(method, family)[0]
    for key, values in sample({key: file.arrays[key] for key in sorted(file.results)}).items():
        for changed in not_finite(values) if values.dtype.kind == "f" else []:
            assert not passes(file.path, {key: changed}), f"{file.path.name} passes with {changed} for {key}"


@pytest.mark.parametrize("stored", [np.nan, np.inf, -np.inf, 1.0])
@pytest.mark.parametrize("ours", [np.nan, np.inf, -np.inf, 1.0])
def test_what_is_not_finite_is_equal_to_itself_alone(ours: float, stored: float) -> None:
    if ours == stored or np.isnan([ours, stored]).all():
        close([1.0, ours], [1.0, stored], 1e-6, 1e-6)
    else:
        with pytest.raises(AssertionError):
            close([1.0, ours], [1.0, stored], 1e6, 1e6)


@pytest.mark.parametrize("name", ["nw_head/other_small.npz", "nw_head/kernels_small.json", "rivals/kernels_small.npz"])
def test_a_file_without_a_check_fails(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.parent.mkdir()
    with path.open("wb") as file:
        np.savez(file, values=np.zeros(3))
    assert all_files(tmp_path) == [path]
    with pytest.raises(AssertionError, match="has no check"):
        check_file(path)
