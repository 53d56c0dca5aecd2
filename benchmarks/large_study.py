"""How long the plan of a large study takes, and how much memory: `lookalike plan`, Snakemake included."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
CASES = ((2_000, None), (20_000, 100))  # runs, runs in a job
STUDY = {
    "version": 1,
    "name": "large",
    "datasets": ["digits"],
    "models": {"fc": {"method": "fc", "training": {"epochs": 2}}},
}


def measure(runs: int, runs_per_job: int | None) -> dict[str, float]:
    """Seconds, and the largest memory (MB) of one process."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("Snakefile", "workflow", "profiles", "src", "requirements.lock"):
            (Path(folder) / name).symlink_to(ROOT / name)
        study = {**STUDY, "seeds": list(range(runs)), "runs_per_job": runs_per_job}
        (Path(folder) / "study.yaml").write_text(yaml.safe_dump(study))
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "lookalike", "plan", "study.yaml"], cwd=folder, stdout=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)  # its children's memory included
        if status:
            raise SystemExit("lookalike plan failed")
        return {"runs": runs, "seconds": time.perf_counter() - began, "megabytes": usage.ru_maxrss / 1024}


def main() -> None:
    """Measure and print."""
    for runs, runs_per_job in CASES:
        found = measure(runs, runs_per_job)
        grouped = f" in groups of {runs_per_job}" if runs_per_job else ""
        print(f"{found['runs']:,} runs{grouped}: {found['seconds']:.1f} s, {found['megabytes']:.0f} MB")


if __name__ == "__main__":
    main()
