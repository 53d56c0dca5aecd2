"""Which files below a folder are images: by what Pillow reads, links followed, hidden and system folders left out."""

from __future__ import annotations

import os
import stat
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lookalike.core.errors import LookalikeError

# What is opened at all: each is decoded by a library of its own; others, such as EPS, start programs.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
# Folders and files that systems and editors leave among a person's files, in small letters.
SYSTEM = frozenset(("__macosx", "@eadir", "$recycle.bin", "lost+found", "system volume information"))
SYSTEM_FILES = frozenset(("thumbs.db", "desktop.ini", "ehthumbs.db", "icon\r"))
HIDDEN_BY_PROGRAMS = (".git", ".ipynb_checkpoints", ".trash", ".svn", ".cache", ".dvc", ".idea", ".vscode", ".ds_store")


@dataclass(frozen=True)
class ImageFiles:
    """What is below a folder.

    Attributes:
        images: Images, sorted by name.
        left_out: Other files, and whole folders that are hidden or of the system.
    """

    images: list[Path]
    left_out: list[Path]


def image_files(folder: Path) -> ImageFiles:
    """All images below a folder.

    Raises:
        LookalikeError: A link leads nowhere or in a circle, or a file is no regular one.
    """
    images: list[Path] = []
    left_out: list[Path] = []
    for path in _files(folder, left_out, (os.path.realpath(folder),)):
        if not _is_regular(path):
            raise LookalikeError(f"{path} is no regular file; take it out of the folder.")
        (images if _is_image(path) else left_out).append(path)
    return ImageFiles(sorted(images), sorted(left_out))


def class_folders(folder: Path) -> list[str]:
    """Names of the folders below, sorted: one a class.

    Raises:
        LookalikeError: There is none, or one with images is hidden.
    """
    if not folder.is_dir():
        raise LookalikeError(f"{folder} is missing; it must hold one folder a class.")
    names = []
    for path in sorted(folder.iterdir()):
        if not path.is_dir():
            if path.is_symlink() and not path.exists():
                raise LookalikeError(f"{path} is a link that leads nowhere; mend it or take it out.")
            continue
        if not is_hidden(path.name):
            names.append(path.name)
        elif not _is_of_programs(path.name) and image_files(path).images:
            raise LookalikeError(
                f"class folder {path} is hidden by the dot in its name, but holds images; rename it or take it out."
            )
    if not names:
        raise LookalikeError(f"{folder} holds no class folder; put the images of each class into a folder of its own.")
    return names


def is_hidden(name: str) -> bool:
    """Whether files of this name are hidden, or a system's own."""
    return name.startswith(".") or name.lower() in SYSTEM or name.lower() in SYSTEM_FILES


def _is_of_programs(name: str) -> bool:
    return name.lower() in SYSTEM or name.lower().startswith(HIDDEN_BY_PROGRAMS)


def _files(folder: Path, left_out: list[Path], above: tuple[str, ...]) -> Iterator[Path]:
    """Files below a folder, links followed; what is hidden goes to `left_out`."""
    with os.scandir(folder) as entries:
        for entry in entries:
            path = Path(entry.path)
            if is_hidden(entry.name):
                left_out.append(path)
            elif entry.is_dir():
                real = os.path.realpath(path) if entry.is_symlink() else entry.path
                if entry.is_symlink() and real in above:
                    raise LookalikeError(f"{path} is a link to a folder that it lies in; take it out.")
                yield from _files(path, left_out, (*above, os.path.realpath(path)))
            elif entry.is_symlink() and not path.exists():
                raise LookalikeError(f"{path} is a link that leads nowhere; mend it or take it out.")
            else:
                yield path


def _is_regular(path: Path) -> bool:
    return stat.S_ISREG(path.stat().st_mode)


@cache
def _suffixes() -> frozenset[str]:
    from PIL import Image  # not for those who only look at a study

    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in FORMATS)


def _is_image(path: Path) -> bool:
    """Whether Pillow reads it: by its suffix, or by its first bytes where the suffix tells nothing."""
    if path.suffix.lower() in _suffixes():
        return True
    if path.stat().st_size == 0:
        return False
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=FORMATS):
                return True
    except Exception:  # whatever a decoder makes of other bytes
        return False
