"""Sixty short runs on SLURM: a job a training, against job groups. Brings up a SLURM on this host: root and apt-get.

The trainings alone, sixty jobs, are compared with all stages of the same runs (training,
support, evaluation) in job groups.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
STUDY = {
    "version": 1,
    "name": "sixty",
    "datasets": ["digits"],
    "sizes": [600],
    "models": {"fc": {"method": "fc", "training": {"epochs": 5, "batch_size": 32, "optimizer": "adamw", "lr": 0.003}}},
    "resources": {"train": {"mem_mb": 1500, "runtime": 10}, "run_job_group": {"mem_mb": 6000, "runtime": 30}},
}


def checkout(folder: Path, study: dict[str, object]) -> None:
    """A copy of the project with a study."""
    for name in ("Snakefile", "config.yaml", "workflow", "profiles", "src", "requirements.lock"):
        source = ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, folder / name)
    (folder / "study.yaml").write_text(yaml.safe_dump(study, sort_keys=False))


def snakemake(folder: Path, *targets: str) -> float:
    """Seconds that the workflow takes on SLURM."""
    command = [sys.executable, "-m", "snakemake", *targets, "--profile", "profiles/slurm"]
    command += ["--config", "study=study.yaml"]
    command += ["--latency-wait", "5", "--slurm-init-seconds-before-status-checks", "5"]
    began = time.perf_counter()
    with open(folder / "said.log", "ab") as log:
        subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder / "src")},
            stdout=log,
            stderr=log,
            check=True,
        )
    return time.perf_counter() - began


def main() -> None:
    """Measure both and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--runs-per-job", type=int, default=30)
    options = parser.parse_args()
    subprocess.run([ROOT / "tests" / "slurm" / "slurm-up"], check=True, stderr=subprocess.DEVNULL)
    study = {**STUDY, "seeds": list(range(options.runs))}
    try:
        with tempfile.TemporaryDirectory() as apart, tempfile.TemporaryDirectory() as grouped:
            checkout(Path(apart), study)
            checkout(Path(grouped), {**study, "runs_per_job": options.runs_per_job})
            tracking = "results/tracking/init_tracking-sixty.json"
            for folder in (apart, grouped):
                snakemake(Path(folder), "data", tracking)
            weights = [f"results/sixty/digits/fc/600/seed{seed}/model.safetensors" for seed in study["seeds"]]
            one = snakemake(Path(apart), *weights)
            job_groups = [
                f"results/sixty/job_groups/digits-fc-600-{n}.json"
                for n in range(-(-options.runs // options.runs_per_job))
            ]
            many = snakemake(Path(grouped), *job_groups)
            same = all((Path(apart) / name).read_bytes() == (Path(grouped) / name).read_bytes() for name in weights)
    finally:
        subprocess.run([ROOT / "tests" / "slurm" / "slurm-down"], check=False)
    print(f"{options.runs} trainings as {options.runs} jobs: {one:.0f} s")
    print(f"{options.runs} runs (training, support, evaluation) in {len(job_groups)} job groups: {many:.0f} s")
    print(f"ratio {many / one:.2f}; same weights byte for byte: {same}")


if __name__ == "__main__":
    main()
