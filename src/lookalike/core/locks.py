"""Locks of the kernel on files: gone when the process that holds them ends, however it ends.

Standard library only: the client of the job server runs without any package.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO


def try_lock(path: str | os.PathLike[str]) -> IO[str] | None:
    """An open file that holds the lock until it is closed; None where another process holds it.

    Args:
        path: The lock file; it is created where it is missing, and its content is left alone.

    Raises:
        OSError: The file cannot be opened, or the file system has no locks.
    """
    handle = open(path, "a+")  # noqa: SIM115
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.close()
        return None
    except OSError:
        handle.close()
        raise
    return handle


@contextlib.contextmanager
def locked(path: str | os.PathLike[str]) -> Iterator[None]:
    """Wait for the lock of a file and hold it while entered.

    Args:
        path: The lock file; it is created, with its folder, where it is missing.

    Raises:
        OSError: The file cannot be opened, or the file system has no locks.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def is_locked(path: str | os.PathLike[str]) -> bool:
    """Whether a live process holds the lock; true where that cannot be told."""
    if not os.path.exists(path):
        return False
    try:
        handle = try_lock(path)
    except OSError:
        return True
    if handle is None:
        return True
    handle.close()
    return False


def private_folder(below: str = "") -> str:
    """The folder of this user alone for the sockets and locks of this machine.

    Args:
        below: Folder that it lies in; that of temporary files when left out.

    Raises:
        OSError: The folder belongs to somebody else.
    """
    folder = os.path.join(below or tempfile.gettempdir(), f"lookalike-{os.getuid()}")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    status = os.lstat(folder)
    if status.st_uid != os.getuid() or not stat.S_ISDIR(status.st_mode) or status.st_mode & 0o077:
        raise OSError(f"{folder} is not a folder of this user alone")
    return folder
