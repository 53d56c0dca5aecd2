"""Tables that say what they are: any change of content, and any other origin, is refused."""

import io
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lookalike.core.errors import LookalikeError
from lookalike.core.files import read_json, read_sealed, seal_of, write_json, write_sealed
from lookalike.core.tables import content_digest, read_csv, read_table, write_table

ORIGIN = {"study": "tiny", "run": "digits/nw/all/seed0", "mode": "full"}


def table(rows: int = 200) -> pa.Table:
    random_numbers = np.random.default_rng(0)
    return pa.table(
        {
            "id": np.arange(rows),
            "confidence": random_numbers.random(rows),
            "right": pa.array([None if i % 7 == 0 else i % 2 == 0 for i in range(rows)]),
            "names": pa.array([f"class {i % 5}" for i in range(rows)]).dictionary_encode(),
            "lists": pa.array([[float(i)] * (i % 3) for i in range(rows)]),
        }
    )


def test_a_table_comes_back_as_it_was(tmp_path: Path) -> None:
    write_table(tmp_path / "a.parquet", table(), ORIGIN)
    assert read_table(tmp_path / "a.parquet", {"run": ORIGIN["run"]}, ("id", "lists")).equals(table())
    first = (tmp_path / "a.parquet").read_bytes()
    write_table(tmp_path / "a.parquet", table(), ORIGIN)
    assert (tmp_path / "a.parquet").read_bytes() == first


def test_the_digest_is_that_of_values_and_not_of_memory() -> None:
    whole = table()
    pieces = pa.concat_tables([whole.slice(0, 50), whole.slice(50)])
    again = pa.BufferOutputStream()
    pq.write_table(pieces, again)
    read = pq.read_table(pa.BufferReader(again.getvalue()))
    other = io.BytesIO()
    pq.write_table(whole, other)
    assert content_digest(read) == content_digest(pq.read_table(pa.BufferReader(other.getvalue())))
    assert content_digest(whole) != content_digest(whole.slice(1))


def test_another_origin_and_other_columns_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_table(path, table(), ORIGIN)
    with pytest.raises(LookalikeError, match=r"a.parquet is of another run \(digits/nw/all/seed0, not .*seed1\)"):
        read_table(path, {**ORIGIN, "run": "digits/nw/all/seed1"})
    with pytest.raises(LookalikeError, match="has no column rank; delete it and run again"):
        read_table(path, ORIGIN, ("id", "rank"))
    changed = table().set_column(1, "confidence", pa.array([7.0] * 200))
    pq.write_table(changed.replace_schema_metadata(pq.ParquetFile(path).read().schema.metadata), path)
    with pytest.raises(LookalikeError, match="was changed since it was written; delete it and run again"):
        read_table(path, ORIGIN)
    pq.write_table(table(), path)  # of somebody else
    with pytest.raises(LookalikeError, match="was changed since it was written"):
        read_table(path, ORIGIN)
    with pytest.raises(LookalikeError, match=r"b.parquet is missing"):
        read_table(tmp_path / "b.parquet", ORIGIN)


def flips(content: bytes, count: int) -> list[bytes]:
    """The bytes with one bit turned, at seeded places."""
    chooser = random.Random(0)
    changed = []
    for _ in range(count):
        place = chooser.randrange(len(content))
        changed.append(content[:place] + bytes([content[place] ^ 1 << chooser.randrange(8)]) + content[place + 1 :])
    return changed


def test_no_bit_of_a_table_changes_in_silence(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_table(path, table(), ORIGIN)
    for content in flips(path.read_bytes(), 400):
        path.write_bytes(content)
        try:
            assert read_table(path, ORIGIN).equals(table())  # a bit that means nothing
        except LookalikeError as error:
            assert "a.parquet" in str(error)  # noqa: PT017


@pytest.mark.parametrize("kind", ["json", "csv"])
def test_no_bit_of_json_and_csv_changes_in_silence(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    value = {"run": "digits/nw", "numbers": [1.5, 2, None], "nested": {"a": True, "b": "text"}}
    text = "id,accuracy\n1,0.5\n2,0.75\n"
    if kind == "json":
        write_json(path, value)
    else:
        write_sealed(path, text)
    for content in flips(path.read_bytes(), 300):
        path.write_bytes(content)
        try:
            assert (read_json(path) if kind == "json" else read_sealed(path)) in (value, text)
        except LookalikeError as error:
            assert "delete it and run again" in str(error)  # noqa: PT017
        except AssertionError:
            assert kind == "json"
            assert set(read_json(path)) - set(value)  # the name of the digest itself: nothing of the content changed
            assert {key: read_json(path)[key] for key in value} == value


def test_a_sealed_table_without_its_seal_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    write_sealed(path, "id,size\n1,all\n")
    assert read_csv(path, dtype=str)["size"].tolist() == ["all"]
    seal_of(path).unlink()
    with pytest.raises(LookalikeError, match=r"a.csv.sha256 is missing; delete .*a.csv, if it is there, and run again"):
        read_csv(path)
