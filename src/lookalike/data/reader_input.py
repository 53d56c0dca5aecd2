"""What a reader reads from: fetched files, unpacked archives, settings."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lookalike.core.errors import LookalikeError
from lookalike.data.archives import unpack
from lookalike.data.image_files import image_files


def downloads() -> Path:
    """Where fetched files live: `LOOKALIKE_DOWNLOADS`, else results/downloads."""
    return Path(os.environ.get("LOOKALIKE_DOWNLOADS") or "results/downloads")


@dataclass(frozen=True)
class ReaderInput:
    """The files of one data set.

    Attributes:
        name: Name in the registry.
        folder: Folder of the fetched files.
        work: Folder that archives are unpacked to; gone when the set is prepared.
        settings: Keys of the study's entry.
    """

    name: str
    folder: Path
    work: Path
    settings: dict[str, Any]

    def file(self, name: str) -> Path:
        """A fetched file.

        Raises:
            LookalikeError: It is not there.
        """
        path = self.folder / name
        if not path.exists():
            raise LookalikeError(f"{path} is missing; run `lookalike data fetch {self.name}`.")
        return path

    def unpacked(self, archive: str) -> Path:
        """The content of a fetched archive, unpacked once; an interrupted attempt is done again."""
        path = self.file(archive)
        stat = path.stat()  # another file of this name, fetched since, is unpacked anew
        folder = self.work / f"{archive}-{stat.st_size}-{stat.st_mtime_ns}"
        if not folder.exists():
            unpack(path, folder)
        return folder

    def discard(self) -> None:
        """Remove what was unpacked."""
        shutil.rmtree(self.work, ignore_errors=True)


def inside(folder: Path, name: str, listed_in: Path) -> Path:
    """A file that a list of the source names.

    Raises:
        LookalikeError: The list points outside the folder, or the file is missing.
    """
    path = folder / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise LookalikeError(f"{listed_in} names {name!r}, which lies outside {folder}; fetch the source again.")
    if not path.is_file():
        raise LookalikeError(f"{listed_in} names {name!r}, but {path} is missing; fetch the source again.")
    return path


def images_below(folder: Path, names: list[str]) -> tuple[list[Path], list[int], list[Path]]:
    """Images of class folders, by class and sorted by name, their labels, and other files that were left out.

    Raises:
        LookalikeError: A class folder is missing or holds no image.
    """
    files: list[Path] = []
    labels: list[int] = []
    left_out: list[Path] = []
    for label, name in enumerate(names):
        if not (folder / name).is_dir():
            raise LookalikeError(f"{folder} lacks the class folder {name!r}; every split needs every class.")
        below = image_files(folder / name)
        if not below.images:
            of_others = f" ({below.left_out[0].name} is none)" if below.left_out else ""
            raise LookalikeError(
                f"class folder {folder / name} holds no image{of_others}; remove it or put images there."
            )
        files += below.images
        labels += [label] * len(below.images)
        left_out += below.left_out
    return files, labels, left_out


def images_of_parts(root: Path, parts: dict[str, str], names: list[str]) -> tuple[list[Path], list[int], list[str]]:
    """Images of several folders of class folders: files, labels and splits, part after part.

    Args:
        root: Folder that holds the parts.
        parts: Folder of each split.
        names: Names of the classes, which every part must have.
    """
    files: list[Path] = []
    labels: list[int] = []
    splits: list[str] = []
    for split, folder in parts.items():
        images, classes, _ = images_below(root / folder, names)
        files += images
        labels += classes
        splits += [split] * len(images)
    return files, labels, splits
