"""The study that a command is given: its YAML, or the plan.json that the workflow wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lookalike.pipeline.resources import check_resources
from lookalike.study.plan import Plan
from lookalike.study.read import check_study, read_yaml


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
        LookalikeError: The file is missing, or the study is wrong.
    """
    return Plan.read(path) if path.suffix == ".json" else plan_of(read_yaml(path), str(path))
