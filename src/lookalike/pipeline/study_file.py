"""The study that a command or Snakemake is given: its YAML, or the plan.json that the workflow wrote."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lookalike.core.errors import LookalikeError
from lookalike.pipeline.resources import check_resources
from lookalike.study.plan import Plan
from lookalike.study.read import check_study
from lookalike.study.yaml_file import read_yaml

DEFAULT = "config.yaml"


def study_of(config: Mapping[str, Any], config_files: Sequence[Path]) -> Path:
    """The study that Snakemake is asked to run: `--config study=FILE`, one `--configfile`, or config.yaml.

    Args:
        config: What `--config` was given.
        config_files: What `--configfile` was given. Snakemake has read these already, and run the templates in them.

    Raises:
        LookalikeError: Two studies are named, or a key of the study is given outside its file.
    """
    others = [key for key in config if key != "study"]
    if others:
        raise LookalikeError(
            f"--config gives {others[0]}, but takes study=FILE alone; write {others[0]} into that file, which is then "
            "what the results came from."
        )
    named = [*config_files, *config.values()]
    if len(named) > 1:
        raise LookalikeError(f"two studies are named, {named[0]} and {named[1]}; write --config study=FILE once.")
    path = str(named[0]) if named else DEFAULT
    return Path(path.removeprefix(os.getcwd() + os.sep))


def plan_of(values: Any, path: str) -> Plan:
    """The plan of a study's content.

    Args:
        values: Content of the YAML.
        path: Path of the file, for messages.

    Raises:
        LookalikeError: The study is wrong; the message has the YAML to write.
    """
    study = check_study(values, path)
    check_resources(study, path)
    return Plan.of(study)


def read_plan(path: Path) -> Plan:
    """The plan of a study's YAML, or of a plan.json.

    Raises:
        LookalikeError: The file is missing, or the study is wrong; the message has the YAML to write.
    """
    return Plan.read(path) if path.suffix == ".json" else plan_of(read_yaml(path), str(path))


def read_written_plan(path: Path) -> Plan:
    """The plan that the main process wrote for the study of a file, without checking that file anew.

    Raises:
        LookalikeError: The file or the plan is missing or damaged.
    """
    return Plan.read(path if path.suffix == ".json" else Path("results") / str(read_yaml(path)["name"]) / "plan.json")
