"""A copy of the project in which tests run the real Snakemake."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
TRAINING = {"epochs": 2, "batch_size": 32, "lr": 0.1}
STUDY = {
    "version": 2,
    "name": "tiny",
    "datasets": ["digits"],
    "train_sizes": [60],
    "seeds": [0],
    "explained_queries": 2,
    "models": {
        "fc": {"method": "fc", "training": TRAINING},
        "nw": {
            "method": "nw",
            "training": TRAINING,
            "modes": ["full", "cluster"],
            "inference": {"n_neighbors": 5},
        },
        "knn": {"method": "knn", "backbone_from": "fc", "inference": {"k": 5}},
    },
}


class Checkout:
    """A copy of the project, so that tests may edit its code.

    Attributes:
        folder: Folder of the copy.
        source: Folder of the package: the project's own until `copy_source`, so that all copies share a warm server.
        study: Study that `study.yaml` holds.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.source, self.study = folder, ROOT / "src", STUDY
        for name in ("workflow", "profiles"):
            shutil.copytree(ROOT / name, folder / name)
        for name in ("Snakefile", "config.yaml", "requirements.lock"):
            shutil.copy(ROOT / name, folder / name)

    def copy_source(self) -> None:
        """Give the copy a package of its own, which may be edited."""
        if self.source == ROOT / "src":
            self.source = self.folder / "src"
            shutil.copytree(ROOT / "src", self.source, ignore=shutil.ignore_patterns("__pycache__"))

    @property
    def environment(self) -> dict[str, str]:
        """Environment of commands in the copy."""
        return {**os.environ, "PYTHONPATH": str(self.source)}

    def write(self, study: dict) -> None:
        self.study = study
        (self.folder / "study.yaml").write_text(yaml.safe_dump(study, sort_keys=False))

    def snakemake(self, *arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", "snakemake", *arguments, "--config", "study=study.yaml"],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
        )

    def run(self, *arguments: str) -> list[str]:
        """Rules that ran, one entry a job."""
        done = self.snakemake(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return re.findall(r"Finished jobid: \d+ \(Rule: (\w+)\)", done.stderr + done.stdout)

    def edit(self, path: str, old: str, new: str) -> None:
        self.copy_source()  # published numbers too are read beside the package
        file = self.folder / path
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))


def count(rules: list[str]) -> dict[str, int]:
    """How often the stages ran that tests of the workflow count."""
    return {name: rules.count(name) for name in ("prepare_data", "train", "evaluate", "explain")}


def embedded(rules: list[str]) -> int:
    """How many runs were embedded."""
    return sum(name in ("embed", "embed_frozen") for name in rules)
