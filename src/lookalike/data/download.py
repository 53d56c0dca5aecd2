"""Fetch the files of data sets: resumed, from mirrors in order, several at once, and never taken unchecked.

pooch checks hashes and moves a file into place only when it is whole; the resuming transfer and the records are ours.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import logging
import os
import shutil
import threading
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import pooch
import requests

from lookalike.core.errors import LookalikeError
from lookalike.core.files import sha256, write_json
from lookalike.core.locks import locked
from lookalike.data.fetched import PARTLY, RECORD, check_accepted, check_by_hand, has_own_folders, recorded_files
from lookalike.data.reader_input import downloads
from lookalike.data.registry import DATA_SETS, SourceFile

AT_ONCE = 4
ATTEMPTS = 3  # a mirror that drops the connection is asked again for the rest
CHUNK = 1 << 16  # what a dropped connection can cost
TIMEOUT = (20, 60)  # seconds to connect, and between two pieces
SPARE = 256 << 20  # bytes that must stay free
log = logging.getLogger(__name__)
pooch.get_logger().setLevel(logging.WARNING)  # our own progress says it better
Report = Callable[[str, int, int], None]  # file, bytes so far, bytes in all (0 = unknown)


def fetch(name: str, report: Report = lambda file, done, total: None) -> str:
    """Fetch what is missing of a data set and record it in fetched.json, which is written last.

    Args:
        name: Name in the registry.
        report: Called while a file arrives.

    Returns:
        What was done, in a few words.

    Raises:
        LookalikeError: Terms not accepted, a file must be fetched by hand, no mirror gave a whole file, no space.
    """
    row, folder = DATA_SETS[name], downloads() / name
    if not row.files:
        return "nothing to fetch"
    check_accepted(name)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / ".lock"):  # two studies may ask at once
        recorded = recorded_files(folder)
        missing = [file for file in row.files if not _is_here(folder, file, recorded)]
        if has_own_folders(name):
            missing = []
        check_by_hand(name, [file for file in missing if not file.urls and not (folder / file.name).exists()])
        _check_space(name, folder, missing)
        _get_all(name, folder, missing, recorded, report)
        if missing or not (folder / RECORD).exists():
            write_json(folder / RECORD, {"name": name, "version": row.version, "files": recorded})
        (folder / PARTLY).unlink(missing_ok=True)
    arrived = sum(recorded[file.name]["bytes"] for file in missing)
    return f"{len(missing)} files, {arrived / 1e6:,.1f} MB" if missing else "all files are here"


# Files --------------------------------------------------------------------------------------------


def _get_all(name: str, folder: Path, missing: list[SourceFile], recorded: dict[str, Any], report: Report) -> None:
    """Several files at once; each is recorded when it is there, and an error or Ctrl-C stops the others."""
    stop = threading.Event()
    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        futures = {pool.submit(_get, name, folder, file, report, stop): file for file in missing}
        for future in as_completed(futures):
            recorded[futures[future].name] = future.result()
            write_json(folder / PARTLY, {"files": recorded})
    except BaseException:
        stop.set()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _is_here(folder: Path, file: SourceFile, recorded: dict[str, Any]) -> bool:
    """Whether a file is there with the recorded size; one that is there unrecorded is checked by `_get`."""
    path = folder / file.name
    return file.name in recorded and path.exists() and path.stat().st_size == recorded[file.name]["bytes"]


def _check_space(name: str, folder: Path, missing: list[SourceFile]) -> None:
    there = sum(path.stat().st_size for file in missing if (path := _part(folder, file.name)).exists())
    needed = sum(file.bytes for file in missing if not (folder / file.name).exists()) - there
    free = shutil.disk_usage(folder).free
    if needed > 0 and needed + SPARE > free:
        raise LookalikeError(
            f"data set {name} needs {needed / 1e9:.1f} GB in {folder}, where {free / 1e9:.1f} GB are free; free some "
            "space, or set LOOKALIKE_DOWNLOADS to a folder on another disk."
        )


def _get(name: str, folder: Path, file: SourceFile, report: Report, stop: threading.Event) -> dict[str, Any]:
    """One file from wherever it can be had, and its record."""
    path = folder / file.name
    if path.exists():
        return _placed(name, path, file)
    reasons = []
    if file.local and Path(file.local).exists():
        if _content_is_published(Path(file.local), file):
            return _taken(path, file)
        reasons.append(f"{file.local} holds another content than the published {file.name}")
    for url in file.urls:
        try:
            pooch.retrieve(
                url,
                file.checksum or None,
                fname=file.name,
                path=folder,
                downloader=Transfer(file.name, _part(folder, file.name), report, stop),
            )
            return _record(path, url)
        except (requests.RequestException, ValueError, LookalikeError) as error:
            reasons.append(f"{url}: {_reason(error, file)}")
            log.warning("%s of %s: %s", file.name, name, reasons[-1])
    raise LookalikeError(
        f"{file.name} of data set {name} could not be fetched ({'; '.join(reasons)}); try again later, or put the "
        f"file into {folder} yourself and run `lookalike data fetch {name}`."
    )


def _reason(error: Exception, file: SourceFile) -> str:
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answers {error.response.status_code}"
    if isinstance(error, ValueError) and "hash" in str(error):
        return f"what arrived is not the published file ({file.checksum.partition(':')[0]} differs)"
    return str(error).rstrip(".")


def _placed(name: str, path: Path, file: SourceFile) -> dict[str, Any]:
    """Check a file that the user put there."""
    kind, _, checksum = file.checksum.partition(":")
    if file.content_sha256 and _content_is_published(path, file):
        return _record(path, "put there by hand")
    if checksum and pooch.file_hash(str(path), alg=kind) != checksum:
        raise LookalikeError(
            f"{path} is not the published {file.name} of data set {name} ({kind} differs); delete it and fetch it "
            "again."
        )
    return _record(path, "put there by hand")


def _taken(path: Path, file: SourceFile) -> dict[str, Any]:
    """Copy a file of a system's package; its packing may differ, its content does not."""
    temporary = path.with_name(f".{path.name}.tmp")
    shutil.copyfile(file.local, temporary)
    os.replace(temporary, path)
    return _record(path, file.local)


def _content_is_published(path: Path, file: SourceFile) -> bool:
    """Whether a gzipped file holds the published content, however it is packed."""
    try:
        return hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest() == file.content_sha256
    except (OSError, EOFError, zlib.error):
        return False


def _record(path: Path, origin: str) -> dict[str, Any]:
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {"bytes": path.stat().st_size, "sha256": sha256(path), "from": origin, "fetched": when}


def _part(folder: Path, name: str) -> Path:
    """Where a transfer keeps what it has."""
    return folder / f".{name}.part"


class Transfer:
    """A downloader for pooch that goes on where an earlier one stopped.

    Bytes collect in a `.part` file beside the target. A note beside it says which version of which address they
    belong to, so that two versions are never joined.
    """

    def __init__(self, name: str, part: Path, report: Report, stop: threading.Event) -> None:
        self.name, self.part, self.report, self.stop = name, part, report, stop
        self.note = part.with_suffix(".json")

    def __call__(self, url: str, output_file: str, _pooch: Any) -> None:
        """Fetch `url` whole into `output_file`.

        Raises:
            requests.RequestException: the server refuses, or drops the connection too often.
            LookalikeError: The disk is full.
        """
        for attempt in range(ATTEMPTS):
            try:
                self._continue(url)
                break
            except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError, requests.Timeout):
                if attempt + 1 == ATTEMPTS:
                    raise
                time.sleep(0.5 * 2**attempt)
            except OSError as error:
                if isinstance(error, requests.RequestException):
                    raise
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise LookalikeError(
                        f"the disk is full while {self.name} arrives in {self.part.parent}; free some space and run "
                        "again: what has arrived is kept"
                    ) from None
                raise LookalikeError(f"{self.part} could not be written ({error.strerror or error})") from None
        os.replace(self.part, output_file)
        self.note.unlink(missing_ok=True)

    def _continue(self, url: str) -> None:
        """Fetch the rest of the file; all of it where the server cannot send a part."""
        have, headers = 0, {"Accept-Encoding": "identity"}
        note = self._read_note()
        if self.part.exists() and note is not None and note["url"] == url:
            have = self.part.stat().st_size
            headers |= {"Range": f"bytes={have}-", "If-Range": note["version"]} if have else {}
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
            if response.status_code == 416:  # nothing is left to send, or the file became shorter
                complete = response.headers.get("Content-Range", "").removeprefix("bytes */") == str(have)
                if complete:
                    return
                self.part.unlink()
                raise requests.ConnectionError("the part kept is longer than the file", response=response)
            response.raise_for_status()
            if response.status_code != 206:
                have = 0
            total = have + int(response.headers.get("Content-Length", 0))
            self._write_note(url, response)
            with open(self.part, "ab" if have else "wb") as out:
                for chunk in response.iter_content(CHUNK):
                    if self.stop.is_set():
                        raise LookalikeError("stopped, because another file failed; what has arrived is kept")
                    out.write(chunk)
                    have += len(chunk)
                    self.report(self.name, have, total)
            if total and have < total:
                raise requests.ConnectionError(f"the connection ended after {have} of {total} bytes")

    def _read_note(self) -> dict[str, str] | None:
        try:
            note: dict[str, str] = json.loads(self.note.read_text())
        except (OSError, ValueError):
            return None
        return note

    def _write_note(self, url: str, response: requests.Response) -> None:
        """Only a strong mark of the version makes a part worth keeping (RFC 9110, section 13.1.5)."""
        version = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
        if version and not version.startswith("W/"):
            self.note.write_text(json.dumps({"url": url, "version": version}))
        else:
            self.note.unlink(missing_ok=True)
