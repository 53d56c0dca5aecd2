"""A study in one file: what its tables and figures come from, opened and checked on another machine."""

from __future__ import annotations

import re
import shutil
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lookalike.data.archives import unpack
from lookalike.errors import LookalikeError
from lookalike.files import read_json, sha256, write_json, writing
from lookalike.plan import Plan
from lookalike.provenance import git_state

CONTENTS = "bundle.json"
STUDY_FILES = ("plan.json", "config.json", "report.html", "tables/*", "figures/*", "human_study/*", "packs/*.json")
RUN_FILES = (
    "run.json",
    "history.csv",
    "eval/*/predictions.parquet",
    "explain/*.parquet",
    "counterfactuals/*.parquet",
    "correspondences/*.parquet",
    "prototypes/*.safetensors",
    "logs/*.log",
)
WEIGHTS = ("model.safetensors",)
EPOCH = (1980, 1, 1, 0, 0, 0)  # of every member, so that the same study gives the same bytes


def bundle(plan: Plan, path: Path, weights: bool = False) -> str:
    """Write tables, figures, predictions, explanations, run records, histories and logs as one zip file.

    Args:
        plan: the study.
        path: the file to write.
        weights: add the networks.

    Raises:
        LookalikeError: the study is not finished, or the file cannot be written.
    """
    expected = [e.run.predictions(e.mode, e.split) for e in (*plan.evaluations(), *plan.outliers())]
    lacking = [predictions for predictions in expected if not predictions.exists()]
    if lacking:
        raise LookalikeError(
            f"study {plan.study} lacks {len(lacking)} of {len(expected)} predictions, {lacking[0]} for one; run it to "
            "its end, then bundle it."
        )
    patterns = [*STUDY_FILES, *(f"{run.id}/{name}" for run in plan.runs() for name in RUN_FILES + WEIGHTS * weights)]
    found = {file for pattern in patterns for file in plan.folder.glob(pattern) if file.is_file()}
    files = sorted(file for file in found if not file.name.startswith("."))  # hidden: logs' second names, leftovers
    contents = {
        "study": plan.study,
        "lookalike": version("lookalike"),
        "git": git_state(),
        "files": {
            str(file.relative_to(plan.folder)): {"bytes": file.stat().st_size, "sha256": sha256(file)} for file in files
        },
    }
    with writing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        listed = temporary.with_suffix(".json")
        try:
            write_json(listed, contents)
            _add(archive, listed, CONTENTS)
        finally:
            listed.unlink(missing_ok=True)
        for file in files:
            _add(archive, file, str(file.relative_to(plan.folder)))
    return f"{len(files)} files, {path.stat().st_size / 1e6:.1f} MB, in {path}"


def _add(archive: zipfile.ZipFile, file: Path, name: str) -> None:
    member = zipfile.ZipInfo(name, EPOCH)
    member.compress_type = zipfile.ZIP_DEFLATED
    with open(file, "rb") as source, archive.open(member, "w", force_zip64=True) as target:
        shutil.copyfileobj(source, target)


def unbundle(path: Path, root: Path) -> Plan:
    """Open a bundle as `root`/<study>, every file compared with its hash.

    Raises:
        LookalikeError: the study is there already, or the bundle is damaged or none of ours.
    """
    if not path.exists():
        raise LookalikeError(f"bundle {path} is missing; give the path of a file that `lookalike bundle` wrote.")
    opened = root / f".{path.stem}.opened"
    shutil.rmtree(opened, ignore_errors=True)
    try:
        unpack(path, opened)
        if not (opened / CONTENTS).exists():
            raise LookalikeError(f"{path} holds no {CONTENTS}; give a file that `lookalike bundle` wrote.")
        contents = read_json(opened / CONTENTS)
        _verify(path, opened, contents)
        plan = Plan.read(opened / "plan.json")
        _check_names(path, plan)
        target = root / plan.study
        if target.exists():
            raise LookalikeError(f"{target} exists; move it away, or open the bundle elsewhere with --results FOLDER.")
        opened.rename(target)
    finally:
        shutil.rmtree(opened, ignore_errors=True)
    return Plan.read(target / "plan.json")


def _check_names(path: Path, plan: Plan) -> None:
    """Names of a plan become parts of paths."""
    names = [plan.study, *plan.datasets, *plan.models, *plan.sizes, *plan.evaluation_sets]
    names += [*plan.human_studies, *plan.published]
    names += [settings["prepared"] for settings in plan.datasets.values()]
    names += [mode for settings in plan.models.values() for mode in (*settings["modes"], *settings["explain"])]
    for name in names:
        if not re.fullmatch(r"[A-Za-z0-9_-]+", str(name)):
            raise LookalikeError(
                f"bundle {path} has the name {name!r} in its plan.json, which cannot be one; do not trust it."
            )


def _verify(path: Path, opened: Path, contents: dict[str, Any]) -> None:
    there = {str(file.relative_to(opened)) for file in opened.rglob("*") if file.is_file()} - {CONTENTS}
    listed = contents["files"]
    if there != set(listed):
        odd = sorted(there ^ set(listed))[0]
        raise LookalikeError(f"bundle {path} and its list of files differ by {odd}; copy it again.")
    for name, known in listed.items():
        if sha256(opened / name) != known["sha256"]:
            raise LookalikeError(f"bundle {path} has {name} with another content than it lists; copy it again.")


def rebuild(plan: Plan) -> list[str]:
    """Draw all tables and figures anew from predictions, histories and explanations.

    Returns:
        One line for each table that came out otherwise, and each figure that needs images that are not here.
    """
    from lookalike.evaluation.collect import collect_metrics
    from lookalike.reporting.compare import compare
    from lookalike.reporting.figures import draw_figure
    from lookalike.reporting.names import figure_names, shown_explanations, table_names
    from lookalike.reporting.tables import draw_table

    tables = plan.folder / "tables"
    before = {file.name: file.read_bytes() for file in tables.glob("*.csv")}
    collect_metrics(plan)
    if plan.published:
        compare(plan)
    for name in table_names(plan):
        draw_table(plan, name)
    remarks = [f"table {name} came out otherwise" for name in before if (tables / name).read_bytes() != before[name]]
    shown = shown_explanations(plan)
    for name in figure_names(plan):
        explained = shown.get(name.partition("-")[2])
        if explained is not None and not (explained.run.data_folder / "manifest.json").exists():
            source = plan.datasets[explained.run.dataset]["source"]
            remarks.append(f"figure {name} stays as it was: its images are not here; `lookalike data prepare {source}`")
            continue
        draw_figure(plan, name)
    return remarks
