"""Check the numbers of the finished default study: `python tests/check_study.py results/digits`."""

import csv
import sys
from pathlib import Path

LEAST_ACCURACY = {"digits": 0.97, "critters": 0.80}
CLUSTER_GAP = {"digits": 0.02, "critters": 0.05}


def main(folder: Path) -> None:
    with open(folder / "tables" / "accuracy.csv") as handle:
        rows = {(row["dataset"], row["model"], row["mode"]): row for row in csv.DictReader(handle)}
    accuracy = {key: float(row["accuracy"]) for key, row in rows.items()}
    for dataset, least in LEAST_ACCURACY.items():
        for key in ((dataset, "fc", "linear"), (dataset, "nw", "full"), (dataset, "knn", "vote")):
            low, high = float(rows[key]["accuracy_low"]), float(rows[key]["accuracy_high"])
            print(f"{' '.join(key)}: {accuracy[key]:.4f} [{low:.4f}, {high:.4f}] over {rows[key]['seeds']} seeds")
            assert accuracy[key] >= least, key
            assert low < accuracy[key] < high
        gap = abs(accuracy[dataset, "nw", "full"] - accuracy[dataset, "nw", "cluster"])
        print(f"{dataset}: nw full against nw cluster: {gap:.4f} apart")
        assert gap <= CLUSTER_GAP[dataset]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
