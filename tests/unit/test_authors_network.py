"""CHM-Corr with a checkpoint of the authors' layout and their geometry, from the study to the explanation."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import torchvision
from layouts import image_bytes, put

from lookalike.data.prepare import prepare_data
from lookalike.data.prepared import open_data
from lookalike.data.settings import entry_settings
from lookalike.errors import LookalikeError
from lookalike.evaluation.evaluate import evaluate
from lookalike.explanation.explain import explain
from lookalike.explanation.record import read_explanations
from lookalike.methods.chm_corr.network import Branches, Learner, join_checkpoint
from lookalike.plan import Plan, RunSpec
from lookalike.study import check_study
from lookalike.support.precompute import gallery_origin, load_run, precompute_support
from lookalike.tensors import write_tensors


def make_plan(folder: Path, size: int = 240) -> Plan:
    ranking = {"shortlist": 4, "voters": 3, "compat": "upstream"}
    frozen = {"name": "resnet18", "weights": str(folder / "resnet18.pth")}
    study = {
        "version": 1,
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
                "inference": ranking,
            },
            "emd_corr": {"method": "emd_corr", "backbone": frozen, "inference": ranking},
        },
    }
    plan = check_study(study, "authors.yaml").plan(folder / "results")
    plan.write()
    if not plan.data_folder("mine").exists():
        prepare_data(entry_settings(plan.datasets["mine"]), plan.data_folder("mine"))
    return plan


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("authors")
    for split, count in (("train", 3), ("test", 1)):
        for label, name in enumerate(("cat", "dog")):
            for number in range(count):
                seed = 10 * label + number + (100 if split == "test" else 0)
                put(made / "mine" / split / name / f"{number}.jpg", image_bytes(seed, 250, 260))
    torch.manual_seed(0)
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), made / "resnet18.pth")
    write_tensors(made / "pas_psi.safetensors", join_checkpoint(Branches(), Learner("psi", 1024, 8)))
    return made


@pytest.mark.parametrize("model", ["chm_corr", "emd_corr"])
def test_from_the_study_to_the_explanation(folder: Path, model: str) -> None:
    plan = make_plan(folder)
    run = plan.run(f"mine/{model}/all/seed0")
    assert not run.trained
    precompute_support(run)
    evaluate(run, "vote", "test")
    rows = pq.read_table(run.predictions("vote", "test")).to_pandas()
    assert len(rows) == 2
    _, _, queries = load_run(run, "test")
    scores = queries.compared["scores_vote"]
    assert scores.shape == (2, 4)
    assert bool(scores.isfinite().all())
    explain(run, "vote", "test")
    (record,) = read_explanations(run.explanations("vote", "test"))
    side = 7 if model == "chm_corr" else 8  # the authors' frame of 224 pixels; EMD-Corr sees the 240 of the study
    assert record.grid == [side, side]
    assert np.array(record.shown[0].partner).max() < side**2


def test_the_frame_of_the_authors_is_asked_for(folder: Path) -> None:
    plan = make_plan(folder, 224)
    with pytest.raises(LookalikeError, match=r"compat: upstream shows images of 240 pixels, these have 224; write"):
        precompute_support(plan.run("mine/chm_corr/all/seed0"))


def test_another_matching_network_makes_the_store_stale(folder: Path) -> None:
    run = make_plan(folder).run("mine/chm_corr/all/seed0")
    precompute_support(run)
    torch.manual_seed(1)
    write_tensors(folder / "pas_psi.safetensors", join_checkpoint(Branches(), Learner("psi", 1024, 8)))
    with pytest.raises(LookalikeError, match=r"support store .* was made from other settings than the run has now"):
        load_run(run, "test")
    precompute_support(run)  # the prepared training images beside it are of the other network
    first = load_run(run, "test")[2].compared["scores_vote"]
    (run.support_folder / "gallery.safetensors").unlink()
    precompute_support(run)
    assert torch.equal(load_run(run, "test")[2].compared["scores_vote"], first)


def test_prepared_images_are_those_of_the_subset(folder: Path) -> None:
    """Another seed of the study draws another subset."""
    origins = []
    for seed in (0, 7):
        plan = replace(make_plan(folder), seed=seed, sizes=["4"])
        run = RunSpec(plan, "mine", "chm_corr", "4", 0)
        origins.append((gallery_origin(run, open_data(run)), open_data(run).training_rows(run).tolist()))
    assert origins[0][1] != origins[1][1]
    assert origins[0][0]["images"] != origins[1][0]["images"]
