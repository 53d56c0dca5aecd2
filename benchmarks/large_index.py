"""The index at ImageNet's size: open, split, filter and draw subsets of 1,281,167 rows; seconds and peak memory."""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lookalike.core.files import sha256, write_json
from lookalike.data.prepared import PreparedData
from lookalike.data.subsets import take_turns

CLASSES, TEST = 1000, 50_000


def write_index(folder: Path, rows: int) -> None:
    """A prepared set without pixels: what listing, filtering and drawing read."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.RandomState(0)
    labels = random.randint(0, CLASSES, rows)
    split = np.where(np.arange(rows) < rows - min(TEST, rows // 2), "train", "test")
    names = pa.array([f"n{label:08d}" for label in range(CLASSES)])
    table = pa.table(
        {
            "id": np.arange(rows),
            "split": pa.array(split).dictionary_encode(),
            "label": labels,
            "class_name": pa.DictionaryArray.from_arrays(pa.array(labels.astype(np.int32)), names),
            "environment": np.zeros(rows, np.int64),
            "source_file": [f"n{label:08d}/n{label:08d}_{row}.JPEG" for row, label in enumerate(labels)],
            "height": random.randint(100, 600, rows),
            "width": random.randint(100, 600, rows),
            "offset": np.zeros(rows, np.int64),
            "bytes": np.zeros(rows, np.int64),
            "sha256": [f"{row:064x}" for row in range(rows)],
            "shard": np.zeros(rows, np.int64),
        }
    )
    pq.write_table(table, folder / "index.parquet")
    files = {
        "index.parquet": {
            "bytes": (folder / "index.parquet").stat().st_size,
            "sha256": sha256(folder / "index.parquet"),
        }
    }
    facts = {"options": {}, "classes": names.to_pylist(), "mean": [0.5], "std": [0.2], "cache": False, "trim": 0}
    write_json(folder / "manifest.json", {"name": "imagenet", "files": files, **facts})


def main() -> None:
    """Write the index in another process, then measure reading it in this one."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_281_167)
    parser.add_argument("--folder", type=Path, default=Path("results/benchmarks/large_index"))
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    if options.write:
        write_index(options.folder, options.rows)
        return
    subprocess.run([sys.executable, __file__, "--write", *sys.argv[1:]], check=True)
    seconds = {}

    def timed(name: str, began: float) -> None:
        seconds[name] = round(time.perf_counter() - began, 2)

    began = time.perf_counter()
    data = PreparedData(options.folder)
    timed("open", began)
    began = time.perf_counter()
    counts = np.bincount(data.index["label"][data.rows("train")], minlength=CLASSES)
    timed("list", began)
    began = time.perf_counter()
    large = data.rows("test")[(data.column("height") >= 224)[data.rows("test")]]
    timed("filter", began)
    began = time.perf_counter()
    train = data.rows("train")
    subset = train[take_turns(data.index["label"][train], 0)][:100_000]
    timed("subset", began)
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    peak = int(status["VmHWM"].split()[0]) / 1024  # of this program; getrusage counts what the caller had before exec
    print(
        json.dumps(
            {
                "rows": len(data),
                "classes": int((counts > 0).sum()),
                "large": len(large),
                "subset": len(subset),
                "seconds": seconds,
                "peak_mb": round(peak),
            }
        )
    )


if __name__ == "__main__":
    main()
