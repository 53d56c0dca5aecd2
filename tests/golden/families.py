"""All kinds of golden files."""

from pathlib import Path

import families_chm_corr
import families_emd_corr
import families_memory_wrap
import families_nw_head
import families_protoflow
from golden_file import Arrays, GoldenFile, read_arrays

METHODS = {
    "chm_corr": families_chm_corr.METHOD,
    "emd_corr": families_emd_corr.METHOD,
    "memory_wrap": families_memory_wrap.METHOD,
    "nw_head": families_nw_head.METHOD,
    "protoflow": families_protoflow.METHOD,
}


def golden_files(folder: Path) -> list[Path]:
    """All files of the methods' folders but their texts."""
    return [path for path in all_files(folder) if path.parent.name in METHODS]


def all_files(folder: Path) -> list[Path]:
    """All files of a folder of golden numbers but its texts."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".md")


def folders_without_a_check(folder: Path) -> list[str]:
    """Folders of what no method of the project computes."""
    return sorted({path.parent.name for path in all_files(folder)} - METHODS.keys())


def check_file(path: Path, changes: Arrays | None = None) -> list[str]:
    """Compare a file with what this project computes.

    Args:
        path: File in the folder of its method.
        changes: Arrays to put in the place of the file's.

    Returns:
        Names of the arrays that the check did not need.
    """
    assert path.parent.name in METHODS, f"{path.parent.name}/{path.name} has no check: no golden numbers of this method"
    method = METHODS[path.parent.name]
    family = method.family_of(path)
    arrays = read_arrays(path) | (changes or {})
    file = GoldenFile(path.stem, method.lent(path, arrays) | arrays)
    family.check(file)
    assert file.compared, f"{path.name} holds nothing that was compared"
    return [key for key in arrays if key not in file.used and not family.leaves(key)]
