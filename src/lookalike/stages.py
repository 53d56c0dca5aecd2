"""The stages of the workflow and the code each one runs: what must change for a result to be out of date."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lookalike.backbones.registry import BACKBONES
from lookalike.data.registry import DATA_SETS
from lookalike.data.source import fingerprint
from lookalike.methods.registry import METHODS
from lookalike.provenance import code_hash

if TYPE_CHECKING:
    from lookalike.data.settings import DataSettings

STAGES = {
    "fetch_data": "lookalike.data.download",
    "prepare_data": "lookalike.data.prepare",
    "filter_data": "lookalike.data.filters",
    "train": "lookalike.training.train",
    "make_patch": "lookalike.evaluation.patch",
    "precompute_support": "lookalike.support.precompute",
    "embed_queries": "lookalike.support.precompute",
    "evaluate": "lookalike.evaluation.evaluate",
    "explain": "lookalike.explanation.explain",
    "score_counterfactuals": "lookalike.explanation.counterfactuals",
    "score_correspondences": "lookalike.evaluation.correspondence",
    "show_prototypes": "lookalike.explanation.prototypes",
    "analyse_responses": "lookalike.human_study.analyse",
    "collect_metrics": "lookalike.evaluation.collect",
    "compare": "lookalike.reporting.compare",
    "draw_table": "lookalike.reporting.tables",
    "draw_figure": "lookalike.reporting.figures",
    "write_report": "lookalike.reporting.report",
}


def stage_code(stage: str, settings: dict[str, Any] | None = None, dataset: str | None = None) -> str:
    """Hash of the code of a stage: its module, and the model's method and backbone or the data set's reader.

    Args:
        stage: a name of `STAGES`.
        settings: of the model, where the stage works on a run.
        dataset: the registry row, where the stage prepares one.
    """
    modules = [STAGES[stage]]
    if settings is not None:
        modules.append(METHODS[settings["method"]])
        if settings.get("backbone"):
            modules.append(BACKBONES[settings["backbone"]["name"]][0])
    if dataset is not None:
        modules.append(DATA_SETS[dataset].reader)
    return code_hash(modules)


def prepared_version(settings: DataSettings) -> str:
    """What a prepared data set is made of: registry row, code that reads and prepares it, the user's own files.

    `lookalike data prepare` leaves it in made_of.txt, so that the workflow knows repaired data from other data.
    """
    row = DATA_SETS[settings.source]
    files = " ".join(file.checksum for file in row.files)
    path = getattr(settings, "path", None)
    own = fingerprint(Path(path)) if path and Path(path).exists() else ""
    return f"{row.version} {files} {stage_code('prepare_data', dataset=settings.source)} {own}"
