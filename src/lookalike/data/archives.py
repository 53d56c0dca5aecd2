"""Unpack archives of strangers: only plain files and folders, only below the target, only so large."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import IO

from lookalike.core.errors import LookalikeError

MOST_FILES = 5_000_000
LARGEST_GROWTH = 50  # photographs grow by a per cent, text by ten times; a zip bomb by a thousand
ALWAYS_ALLOWED = 64 << 20  # bytes: small archives may hold a long list
CHUNK = 1 << 20


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a tar (plain, gzip, bzip2, xz) or zip into a folder that exists only when all is there.

    Raises:
        LookalikeError: The archive is damaged, or holds a path outside, a link, a device, a file twice, or
            more than `LARGEST_GROWTH` times its own size.
    """
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    left = archive.stat().st_size * LARGEST_GROWTH + ALWAYS_ALLOWED
    seen: set[PurePosixPath] = set()
    try:
        for name, handle in _members(archive):
            target = _checked(archive, name)
            if target in seen:
                raise _refused(archive, f"holds {name!r} twice")
            seen.add(target)
            if len(seen) > MOST_FILES:
                raise _refused(archive, f"holds more than {MOST_FILES:,} files")
            path = temporary / target
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "xb") as out:
                while chunk := handle.read(CHUNK):
                    left -= len(chunk)
                    if left < 0:
                        raise _refused(archive, f"grows to more than {LARGEST_GROWTH} times its size at {name!r}")
                    out.write(chunk)
        if not seen:
            raise _refused(archive, "holds no file")
        temporary.rename(folder)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, LZMAError, EOFError) as error:
        raise LookalikeError(
            f"archive {archive} is truncated or damaged ({error}); delete it and fetch it again."
        ) from None
    except FileExistsError as error:
        raise _refused(archive, f"holds {Path(error.filename).name!r} as a file and as a folder") from None
    except OSError as error:
        raise LookalikeError(
            f"archive {archive} could not be unpacked into {folder} ({error.strerror or error}); free some space "
            "or mend the permissions and run again."
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Plain files of an archive, in its order; anything that is neither file nor folder is refused."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            for info in packed.infolist():
                kind = info.external_attr >> 16 & 0o170000
                if kind not in (0, 0o100000, 0o040000):
                    raise _refused(archive, f"holds {info.filename!r}, which is a link or a device")
                if info.flag_bits & 1:
                    raise _refused(archive, f"holds {info.filename!r} under a password; unpack it and pack it without")
                if not info.is_dir():
                    with packed.open(info) as handle:
                        yield info.filename, handle
        return
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.isdir():
                _checked(archive, member.name)
                continue
            content = tar.extractfile(member) if member.isreg() else None
            if content is None:
                raise _refused(archive, f"holds {member.name!r}, which is a link or a device")
            yield member.name, content
        # tarfile takes a cut or spoilt header for the end; the real end is a block of zeros.
        assert tar.fileobj is not None
        tar.fileobj.seek(tar.offset)
        if tar.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("it ends in the middle")


def _checked(archive: Path, name: str) -> PurePosixPath:
    """The path of a member, if it stays below the target."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or "\0" in name or (path.parts and ":" in path.parts[0]):
        raise _refused(archive, f"holds {name!r}, which points outside")
    return path


def _refused(archive: Path, what: str) -> LookalikeError:
    return LookalikeError(f"archive {archive} {what}; it is not what the data set's authors published: delete it.")
