"""Check the numbers of the finished default study: `python tests/check_study.py results/digits`."""

import csv
import sys
from pathlib import Path

LEAST_ACCURACY = 0.97
CLUSTER_GAP = 0.02


def main(folder: Path) -> None:
    with open(folder / "tables" / "accuracy.csv") as handle:
        rows = {(row["model"], row["mode"]): row for row in csv.DictReader(handle)}
    accuracy = {key: float(row["accuracy"]) for key, row in rows.items()}
    for key in (("fc", "linear"), ("nw", "full")):
        low, high = float(rows[key]["accuracy_low"]), float(rows[key]["accuracy_high"])
        print(f"{' '.join(key)}: {accuracy[key]:.4f} [{low:.4f}, {high:.4f}] over {rows[key]['seeds']} seeds")
        assert accuracy[key] >= LEAST_ACCURACY, key
        assert low < accuracy[key] < high
    gap = abs(accuracy["nw", "full"] - accuracy["nw", "cluster"])
    print(f"nw full against nw cluster: {gap:.4f} apart")
    assert gap <= CLUSTER_GAP


if __name__ == "__main__":
    main(Path(sys.argv[1]))
