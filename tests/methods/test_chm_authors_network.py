"""CHM-Corr with a checkpoint of the authors' layout and their geometry, from the study to the explanation."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import torchvision
from helpers.layouts import image_bytes, put
from helpers.studies import make_plan, opened, run_stage

from lookalike.contracts.explanation import read_explanations
from lookalike.contracts.features import Features
from lookalike.core.errors import LookalikeError
from lookalike.core.tensors import write_tensors
from lookalike.data.prepare import prepare_data
from lookalike.methods.chm_corr.network import CHMBackbones, CHMNet, join_checkpoint
from lookalike.study.plan import Plan, RunSpec


def plan_of(folder: Path, size: int = 240, **changes: object) -> Plan:
    ranking = {"compat": "upstream", "inference": {"n_candidates": 4, "k": 3}}
    frozen = {"name": "resnet18", "weights": str(folder / "resnet18.pth")}
    study = {
        "version": 2,
        "name": "authors",
        "datasets": {
            "mine": {"source": "image_folder", "path": str(folder / "mine"), "size": size, "resize": size},
        },
        "seeds": [0],
        "explained_queries": 1,
        "models": {
            "chm_corr": {
                "method": "chm_corr",
                "backbone": frozen,
                "correspondence": {"weights": str(folder / "pas_psi.safetensors")},
                **ranking,
            },
            "emd_corr": {"method": "emd_corr", "backbone": frozen, **ranking},
        },
    }
    plan = make_plan({**study, **changes}, folder / "results")
    plan.write()
    if not plan.data_folder("mine").exists():
        prepare_data(plan.datasets["mine"], plan.data_folder("mine"))
    return plan


def queries_of(plan: Plan, run: RunSpec) -> Features:
    inside = opened(plan, run)
    return inside.queries("test", inside.data)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("authors")
    for split, count in (("train", 3), ("test", 1)):
        for label, name in enumerate(("cat", "dog")):
            for number in range(count):
                seed = 10 * label + number + (100 if split == "test" else 0)
                put(root / "mine" / split / name / f"{number}.jpg", image_bytes(seed, 250, 260))
    torch.manual_seed(0)
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), root / "resnet18.pth")
    write_tensors(root / "pas_psi.safetensors", join_checkpoint(CHMBackbones(), CHMNet("psi", 1024, 8)))
    return root


@pytest.mark.parametrize("model", ["chm_corr", "emd_corr"])
def test_from_the_study_to_the_explanation(folder: Path, model: str) -> None:
    plan = plan_of(folder)
    run = plan.run(f"mine/{model}/all/seed0")
    assert plan.settings_of(run).own_training is None
    run_stage(plan, "embed", run)
    run_stage(plan, "evaluate", run, "vote", "test")
    rows = pq.read_table(run.predictions("vote", "test")).to_pandas()
    assert len(rows) == 2
    scores = queries_of(plan, run).match_scores["scores_vote"]
    assert scores.shape == (2, 4)
    assert bool(scores.isfinite().all())
    run_stage(plan, "explain", run, "vote", "test")
    (record,) = read_explanations(run.explanations("vote", "test"))
    side = 7 if model == "chm_corr" else 8  # the authors' frame of 224 pixels; EMD-Corr sees the 240 of the study
    assert record.grid == [side, side]
    assert np.array(record.shown[0].target).max() < side**2


def test_the_frame_of_the_authors_is_asked_for(folder: Path) -> None:
    plan = plan_of(folder, 224)
    with pytest.raises(LookalikeError, match=r"compat: upstream shows images of 240 pixels, these have 224; write"):
        run_stage(plan, "embed", plan.run("mine/chm_corr/all/seed0"))


@pytest.mark.long
def test_another_matching_network_makes_the_store_stale(folder: Path) -> None:
    plan = plan_of(folder)
    run = plan.run("mine/chm_corr/all/seed0")
    run_stage(plan, "embed", run)
    torch.manual_seed(1)
    write_tensors(folder / "pas_psi.safetensors", join_checkpoint(CHMBackbones(), CHMNet("psi", 1024, 8)))
    with pytest.raises(LookalikeError, match=r"safetensors follows from other weights than the run has now"):
        queries_of(plan, run)
    run_stage(plan, "embed", run)  # the prepared training images beside it are of the other network
    first = queries_of(plan, run).match_scores["scores_vote"]
    run.gallery.unlink()
    run_stage(plan, "embed", run)
    assert torch.equal(queries_of(plan, run).match_scores["scores_vote"], first)


def test_prepared_images_are_those_of_the_subset(folder: Path) -> None:
    """Another seed of the study draws another subset."""
    origins = []
    for seed in (0, 7):
        plan = plan_of(folder, seed=seed, train_sizes=[4])
        inside = opened(plan, plan.run("mine/chm_corr/4/seed0"))
        origins.append((inside.gallery_origin(), inside.training_rows().tolist()))
    assert origins[0][1] != origins[1][1]
    assert origins[0][0]["images"] != origins[1][0]["images"]
