"""Tables that say what they are: parquet with its origin, and CSV, both checked by a digest where they are read."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from lookalike.core.errors import LookalikeError
from lookalike.core.files import digest, read_sealed, writing

if TYPE_CHECKING:
    import pandas as pd

KEY = b"lookalike"  # of the schema's metadata
Origin = Mapping[str, str]


def write_table(path: Path, table: pa.Table, origin: Origin) -> None:
    """Write a table as parquet, with its origin and the digest of its content in the metadata.

    Args:
        path: File to write.
        table: The table.
        origin: What it follows from, in a few words each: `{"run": "digits/nw/all/seed0", "mode": "full"}`.

    Raises:
        LookalikeError: The disk is full or not writable; an older file is unchanged.
    """
    plain = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(), plain)
    # As it will be read: the same values may lie in memory otherwise before they were written.
    content = content_digest(pq.read_table(pa.BufferReader(plain.getvalue())))
    note = json.dumps({"origin": dict(origin), "digest": digest([dict(origin), content])})
    with writing(path) as temporary:
        pq.write_table(table.replace_schema_metadata({KEY: note}), temporary)


def read_table(path: Path, origin: Origin, columns: Iterable[str] = ()) -> pa.Table:
    """Read what `write_table` wrote.

    Args:
        path: The file.
        origin: What it must follow from; further words of its own origin do not matter.
        columns: Columns that it must have.

    Raises:
        LookalikeError: The file is missing or damaged, was changed by something else, follows from something else, or
            lacks a column.
    """
    again = "delete it and run again"
    try:
        table = pq.ParquetFile(path).read()
        note = json.loads((table.schema.metadata or {}).get(KEY, b"{}"))
        table = table.replace_schema_metadata()
        changed = note.get("digest") != digest([note.get("origin"), content_digest(table)])
    except FileNotFoundError:
        raise LookalikeError(f"{path} is missing; run the stage that writes it again.") from None
    except (OSError, ValueError, AttributeError, pa.ArrowException) as error:  # what a damaged footer makes of it
        raise LookalikeError(f"{path} cannot be read ({str(error)[:200]}); {again}.") from None
    if changed:
        raise LookalikeError(f"{path} was changed since it was written; {again}.")
    for name, value in origin.items():
        if note["origin"].get(name) != value:
            raise LookalikeError(
                f"{path} is of another {name.replace('_', ' ')} ({note['origin'].get(name)}, not {value}); {again}."
            )
    lacking = [name for name in columns if name not in table.column_names]
    if lacking:
        raise LookalikeError(f"{path} has no column {lacking[0]}; {again}.")
    return table


def read_csv(path: Path, **options: Any) -> pd.DataFrame:
    """Read a CSV file that `write_sealed` wrote.

    Args:
        path: The file.
        **options: As pandas' `read_csv` takes them.

    Raises:
        LookalikeError: The file or its seal is missing, or the file was changed since it was written.
    """
    import pandas as pd

    frame: pd.DataFrame = pd.read_csv(io.StringIO(read_sealed(path)), **options)
    return frame


def content_digest(table: pa.Table) -> str:
    """Hex digest of a table's names, types and values, however they lie in memory or in the file."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema.remove_metadata()) as stream:
        stream.write_table(table.combine_chunks())
    return hashlib.sha256(sink.getvalue()).hexdigest()
