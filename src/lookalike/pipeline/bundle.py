"""A study in one file: what its tables and figures come from, opened and checked on another machine."""

from __future__ import annotations

import shutil
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lookalike.core.errors import LookalikeError
from lookalike.core.files import read_json, seal_of, sha256, write_json, writing
from lookalike.core.provenance import git_state
from lookalike.data.archives import unpack
from lookalike.pipeline.jobs import run_jobs
from lookalike.reporting.catalogue import figures_of, tables_of
from lookalike.study.plan import Plan

CONTENTS = "bundle.json"
STUDY_FILES = ("plan.json", "report.html", "tables/*", "figures/*", "human_study/*", "job_groups/*.json")
# Stages of a run whose outputs are left out: what they embed is large and follows from the networks.
LEFT_OUT = ("embed", "embed_queries")
EPOCH = (1980, 1, 1, 0, 0, 0)  # of every member, so that the same study gives the same bytes


def bundle(plan: Plan, path: Path, weights: bool = False) -> str:
    """Write tables, figures, predictions, explanations, run records, histories and logs as one zip file.

    Args:
        plan: The study.
        path: File to write.
        weights: Whether the networks are added.

    Raises:
        LookalikeError: The study is not finished, or the file cannot be written.
    """
    expected = [evaluation.predictions for evaluation in (*plan.evaluations(), *plan.ood_evaluations())]
    lacking = [predictions for predictions in expected if not predictions.exists()]
    if lacking:
        raise LookalikeError(
            f"study {plan.name} lacks {len(lacking)} of {len(expected)} predictions, {lacking[0]} for one; run it to "
            "its end, then bundle it."
        )
    kept = {file for pattern in STUDY_FILES for file in plan.folder.glob(pattern)}
    for run in plan.runs():
        kept |= {run.record, run.history, *run.folder.glob("logs/*.log")}
        kept |= {run.weights} if weights else set()
    for job in run_jobs(plan):
        if job.stage.name not in (*LEFT_OUT, "train"):
            kept |= set(job.outputs)
    kept |= {seal for file in kept if (seal := seal_of(file)).exists()}
    # Hidden files are logs' second names and leftovers.
    files = sorted(file for file in kept if file.is_file() and not file.name.startswith("."))
    contents = {
        "study": plan.name,
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
        LookalikeError: The study is there already, or the bundle is damaged or none of ours.
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
        try:
            plan = Plan.read(opened / "plan.json")  # whose names become parts of paths: their patterns are checked
        except LookalikeError:
            raise LookalikeError(
                f"bundle {path} holds no plan that this lookalike can use; open it with the version that wrote it, and "
                "do not trust it if that is this one."
            ) from None
        target = root / plan.name
        if target.exists():
            raise LookalikeError(f"{target} exists; move it away, or open the bundle elsewhere with --results FOLDER.")
        opened.rename(target)
    finally:
        shutil.rmtree(opened, ignore_errors=True)
    return Plan.read(target / "plan.json")


def _verify(path: Path, opened: Path, contents: dict[str, Any]) -> None:
    unpacked = {str(file.relative_to(opened)) for file in opened.rglob("*") if file.is_file()} - {CONTENTS}
    listed = contents["files"]
    if unpacked != set(listed):
        odd = sorted(unpacked ^ set(listed))[0]
        raise LookalikeError(f"bundle {path} and its list of files differ by {odd}; copy it again.")
    for name, record in listed.items():
        if sha256(opened / name) != record["sha256"]:
            raise LookalikeError(f"bundle {path} has {name} with another content than it lists; copy it again.")


def rebuild(plan: Plan) -> list[str]:
    """Draw all tables and figures anew from predictions, histories and explanations.

    Returns:
        One line for each table that came out otherwise, and each figure that needs images that are not here.
    """
    from lookalike.stages.collect_metrics import collect_metrics
    from lookalike.stages.compare import compare
    from lookalike.stages.draw_figure import draw_figure
    from lookalike.stages.draw_table import draw_table

    tables = plan.folder / "tables"
    before = {file.name: file.read_bytes() for file in tables.glob("*.csv")}
    collect_metrics(plan)
    if plan.published:
        compare(plan)
    for name in tables_of(plan):
        draw_table(plan, name)
    remarks = [f"table {name} came out otherwise" for name in before if (tables / name).read_bytes() != before[name]]
    for name, figure in figures_of(plan).items():
        dataset = None if figure.shows is None else figure.shows.run.dataset
        if dataset is not None and not (plan.data_folder(dataset) / "manifest.json").exists():
            source = plan.datasets[dataset].source
            remarks.append(f"figure {name} stays as it was: its images are not here; `lookalike data prepare {source}`")
            continue
        draw_figure(plan, name)
    return remarks
