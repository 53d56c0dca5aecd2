"""Whole files or none: every output is written under a temporary name and renamed.

JSON carries the digest of its own content, so that a changed file is noticed where it is read.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lookalike.core.errors import LookalikeError

DIGEST = "digest"  # key of the digest in JSON of ours


@contextmanager
def writing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success flush it to disk and rename it to `path`.

    The suffix is kept, because several writers choose their format by it. On any error, a full
    disk included, the temporary file goes and an older `path` stays as it was.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with open(temporary, "rb") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise LookalikeError(
            f"{path} could not be written ({error.strerror or error}); free some space or mend the permissions "
            "and run again: what was there before is unchanged."
        ) from error
    finally:
        # A folder that may not be written has none; its own error would hide the sentence above.
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` to `path`, whole or not at all."""
    with writing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON; an object gets the digest of its content as last key."""
    if isinstance(value, dict):
        value = {**value, DIGEST: digest(json.loads(json.dumps(value)))}  # keys as they will be read, as text
    write_text(path, json.dumps(value, indent=1) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file, and compare its content with the digest that `write_json` left in it.

    Raises:
        LookalikeError: The file is missing, is not JSON, or was changed since it was written.
    """
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LookalikeError(f"{path} is missing; run the stage that writes it again.") from None
    except (ValueError, RecursionError) as error:  # no JSON, no UTF-8, a number of thousands of digits, or very deep
        raise LookalikeError(f"{path} is not valid JSON ({error}); delete it and run again.") from None
    except OSError as error:
        raise LookalikeError(f"{path} cannot be read ({error.strerror}); mend its permissions, run again.") from None
    if isinstance(value, dict) and DIGEST in value and value.pop(DIGEST) != digest(value):
        raise LookalikeError(f"{path} was changed since it was written; delete it and run again.")
    return value


def write_sealed(path: str | Path, text: str) -> None:
    """Write text that stages read later, and beside it <name>.sha256, as `sha256sum --check` reads it."""
    # The seal first: where the file is there, it is complete.
    write_text(seal_of(path), f"{hashlib.sha256(text.encode()).hexdigest()}  {Path(path).name}\n")
    write_text(path, text)


def read_sealed(path: str | Path) -> str:
    """Read what `write_sealed` wrote.

    Raises:
        LookalikeError: The file or its seal is missing, or the file was changed since it was written.
    """
    try:
        content = Path(path).read_bytes()
        expected = seal_of(path).read_text(encoding="utf-8").split()[:1]
    except FileNotFoundError as error:
        raise LookalikeError(f"{error.filename} is missing; delete {path}, if it is there, and run again.") from None
    except (OSError, ValueError) as error:
        raise LookalikeError(f"{path} cannot be read ({error}); delete it and run again.") from None
    if expected != [hashlib.sha256(content).hexdigest()]:
        raise LookalikeError(f"{path} was changed since it was written; delete it and run again.")
    return content.decode("utf-8")


def seal_of(path: str | Path) -> Path:
    """The file beside a sealed one that holds its digest."""
    return Path(f"{path}.sha256")


def sha256(path: str | Path) -> str:
    """Hex digest of a file's bytes."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def digest(value: Any) -> str:
    """Hex digest (16 characters) of any JSON value, independent of the order of keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
