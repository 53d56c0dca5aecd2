"""Packs: many short runs in one job of a cluster, each still with its own files, log, record and failure.

The job of a pack is a Snakemake of its own, inside the allocation, on the files of its runs. Only the pack's record is
an output of that job: what its runs made stays where another run of the pack fails, and is not made again.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lookalike.errors import LookalikeError
from lookalike.files import read_json, write_json
from lookalike.plan import Plan, RunSpec
from lookalike.reporting.names import shown_explanations

INSIDE = "LOOKALIKE_PACK"  # names the pack in the environment of its job


@dataclass(frozen=True)
class Pack:
    """Runs of one job.

    Attributes:
        name: `digits-fc-all-0`: data set, first model, size, number.
        runs: closed under `backbone_from` and the patch: a pack waits for no other one.
    """

    name: str
    runs: tuple[RunSpec, ...]

    @property
    def path(self) -> Path:
        """results/<study>/packs/<name>.json, written when all runs are done."""
        return self.runs[0].plan.folder / "packs" / f"{self.name}.json"

    @property
    def log(self) -> Path:
        """What Snakemake said inside the job."""
        return self.runs[0].plan.folder / "logs" / f"run_pack-{self.name}.log"

    def targets(self) -> list[Path]:
        """The files that tables and figures need of these runs."""
        plan = self.runs[0].plan
        wanted = set(self.runs)
        files = [run.folder / "run.json" for run in self.runs]
        files += [
            run.predictions(mode, split)
            for run in self.runs
            for mode in run.settings["modes"]
            for split in plan.sets_of(run.dataset)
        ]
        files += [e.run.predictions(e.mode, e.split) for e in plan.outliers() if e.run in wanted]
        files += [run.counterfactuals(split) for run, split in plan.counterfactuals() if run in wanted]
        files += [run.correspondences(split) for run, split in plan.correspondences() if run in wanted]
        files += [run.prototypes(split) for run, split in plan.prototypes() if run in wanted]
        files += [e.run.explanations(e.mode, e.split) for e in shown_explanations(plan).values() if e.run in wanted]
        return files


def packs(plan: Plan) -> Iterator[Pack]:
    """The packs of a study; none where it does not ask for them."""
    if plan.runs_per_job is None:
        return
    for dataset in plan.datasets:
        for models in _families(plan):
            seeds = max(1, plan.runs_per_job // len(models))
            for size in plan.sizes:
                here = [model for model in models if plan.has_cell(dataset, model, size)]
                for start in range(0, len(plan.seeds) if here else 0, seeds):
                    runs = (
                        RunSpec(plan, dataset, model, size, seed)
                        for seed in plan.seeds[start : start + seeds]
                        for model in here
                    )
                    yield Pack(f"{dataset}-{here[0]}-{size}-{start // seeds}", tuple(runs))


def _families(plan: Plan) -> list[list[str]]:
    """Models that need each other's runs of the same seed."""
    if plan.patch is not None:  # one model's patch is every model's evaluation set
        return [list(plan.models)]
    families: dict[str, list[str]] = {}
    for name in plan.models:
        families.setdefault(plan.owner_of(name), []).append(name)
    return [sorted(models, key=lambda name: name != root) for root, models in families.items()]


def forget_broken(plan: Plan) -> None:
    """Delete the records of packs whose files are gone, so that the workflow makes those files again."""
    for pack in packs(plan):
        if pack.path.exists() and not all(path.exists() for path in pack.targets()):
            pack.path.unlink()


def run_pack(plan: Plan, name: str, cores: int) -> str:
    """Make all files of a pack that are missing or out of date, then its record.

    Args:
        plan: the study; `config.json` beside its plan.json holds what Snakemake was given.
        name: of the pack.
        cores: CPU cores of the job.

    Raises:
        LookalikeError: there is no such pack, or a run of it failed; what the others made stays.
    """
    pack = next((pack for pack in packs(plan) if pack.name == name), None)
    if pack is None:
        known = [pack.name for pack in packs(plan)]
        raise LookalikeError(f"{plan.path} has no pack {name!r}; there are {', '.join(known[:5]) or 'none'}.")
    began = time.perf_counter()
    command = [sys.executable, "-m", "snakemake", *map(str, pack.targets()), "--nolock", "--cores", str(cores)]
    command += ["--configfile", str(plan.folder / "config.json")]
    pack.log.parent.mkdir(parents=True, exist_ok=True)
    with open(pack.log, "ab") as log:
        inside = subprocess.Popen(command, env={**os.environ, INSIDE: name}, stdout=log, stderr=log)
        # It hands the signal to trainings, which write their checkpoints; this process must not be gone before.
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
            signal.signal(number, lambda *_: inside.terminate())
        status = inside.wait()
    if status:
        from lookalike.status import failures

        lines = failures(plan, pack.runs)
        raise LookalikeError(
            f"{len(lines)} jobs failed, what the other runs made stays: {'; '.join(lines)}"
            if lines
            else f"not all runs could be made, see {pack.log}; what was made stays"
        )
    write_json(pack.path, {"runs": [run.id for run in pack.runs], "seconds": time.perf_counter() - began})
    return f"{len(pack.runs)} runs"


def write_config(plan: Plan, config: dict[str, object]) -> None:
    """Keep what Snakemake was given beside plan.json: packs and bundles read the study from it."""
    path = plan.folder / "config.json"
    if not path.exists() or read_json(path) != config:
        write_json(path, config)
