"""What a reader reads from: fetched files, unpacked archives, settings."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lookalike.core.errors import LookalikeError
from lookalike.core.files import digest
from lookalike.data.archives import unpack


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


def hash_of_images(path: Path) -> str:
    """What a user's own images follow from: a table's content, and names, sizes and times of all files."""
    folder = path if path.is_dir() else path.parent
    table = [] if path.is_dir() else path.read_text(encoding="utf-8", errors="replace").splitlines()
    names = [str(p.relative_to(folder)) for p in sorted(folder.rglob("*"))] if path.is_dir() else []
    names += [line.split(",", 1)[0].strip('"') for line in table[1:]]
    stats = []
    for name in names:
        file = folder / name
        if file.is_file():
            stats.append((name, file.stat().st_size, file.stat().st_mtime_ns))
    return digest([table, stats])


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


def class_folders(folder: Path) -> list[str]:
    """Names of the folders below, sorted: one a class.

    Raises:
        LookalikeError: There is none.
    """
    if not folder.is_dir():
        raise LookalikeError(f"{folder} is missing; it must hold one folder a class.")
    names = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "__")))
    if not names:
        raise LookalikeError(f"{folder} holds no class folder; put the images of each class into a folder of its own.")
    return names


IMAGE_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"))


def images_below(folder: Path, names: list[str]) -> tuple[list[Path], list[int]]:
    """Images of class folders, by class and sorted by name, and their labels.

    Raises:
        LookalikeError: A class folder is missing or holds no image.
    """
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        if not (folder / name).is_dir():
            raise LookalikeError(f"{folder} lacks the class folder {name!r}; every split needs every class.")
        images = sorted(p for p in (folder / name).rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
        if not images:
            raise LookalikeError(f"class folder {folder / name} holds no image; remove it or put images there.")
        files += images
        labels += [label] * len(images)
    return files, labels


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
        images, classes = images_below(root / folder, names)
        files += images
        labels += classes
        splits += [split] * len(images)
    return files, labels, splits
