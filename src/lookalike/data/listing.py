"""What there is: every data set with its licence, size, origin and state on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lookalike.core.errors import LookalikeError
from lookalike.core.files import read_json
from lookalike.data.fetched import RECORD, has_own_folders, is_fetched, obstacle, verify
from lookalike.data.manifest import check_files
from lookalike.data.reader_input import downloads
from lookalike.data.registry import DATA_SETS


@dataclass(frozen=True)
class Listed:
    """One line of the list.

    Attributes:
        name: Name in the registry.
        images: Numbers of images by split.
        size: Size of the download.
        licence: Licence of the images.
        how: Way to get it.
        state: What of it is here.
        origin: Place that it comes from.
    """

    name: str
    images: str
    size: str
    licence: str
    how: str
    state: str
    origin: str


def list_data(root: Path) -> list[Listed]:
    """Every data set of the registry.

    Args:
        root: Folder that holds `data/`.
    """
    lines = []
    for name, row in DATA_SETS.items():
        images = " + ".join(f"{count:,}" for count in row.images.values()) or "as you have"
        size = f"{row.download_bytes / 1e6:,.1f} MB" if row.download_bytes else "unknown" if row.files else "none"
        if row.form == "made":
            how, images = "made", "as its set"
        elif not row.files:
            how = "yours" if name == "image_folder" else "ships"
        else:
            how = "by hand" if row.manual else "fetch"
        lines.append(Listed(name, images, size, row.licence, how, _state(name, root), row.origin))
    return lines


def _state(name: str, root: Path) -> str:
    row = DATA_SETS[name]
    prepared = prepared_folders(name, root)
    if prepared:
        return "prepared" if len(prepared) == 1 else f"prepared {len(prepared)} times"
    if row.form in ("made", "labels"):
        return "here"
    if not row.files:
        return "" if name == "image_folder" else "here"
    if is_fetched(name):
        return "fetched"
    if has_own_folders(name):
        return "your folders"
    some = any((downloads() / name / file.name).exists() for file in row.files)
    return "partly fetched" if some else "terms to accept" if row.accept and obstacle(name) else "not here"


def prepared_folders(name: str, root: Path) -> list[Path]:
    """Folders of prepared forms of a data set."""
    manifests = sorted((root / "data").glob(f"{name}*/manifest.json"))
    return [path.parent for path in manifests if path.parent.name.split("-")[0] == name]


def verify_data(name: str, root: Path) -> list[str]:
    """Hash everything of a data set again: what was fetched and what was prepared.

    Returns:
        One sentence a fault.
    """
    faults = verify(name)
    for folder in prepared_folders(name, root):
        try:
            check_files(folder, read_json(folder / "manifest.json")["files"], thorough=True)
        except LookalikeError as error:
            faults.append(str(error))
    return faults


def has_anything(name: str, root: Path) -> bool:
    """Whether there is anything to verify."""
    return (downloads() / name / RECORD).exists() or bool(prepared_folders(name, root))
