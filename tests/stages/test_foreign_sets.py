"""Images of another data set as queries: labels, classes that compete, normalisation, and what does not fit."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from helpers.studies import make_plan, opened, run_stage
from PIL import Image

from lookalike.contracts.classifier import Prediction
from lookalike.contracts.features import Features
from lookalike.core.errors import LookalikeError
from lookalike.data.images import open_images
from lookalike.data.prepare import prepare_data
from lookalike.data.settings import CrittersSettings
from lookalike.methods.embedding import embed
from lookalike.stages.opening import OpenedRun
from lookalike.study.plan import Plan

CLASSES = ("blue", "green", "red")


def pictures(folder: Path, classes: tuple[str, ...], splits: dict[str, int], seed: int, light: int = 0) -> None:
    random = np.random.RandomState(seed)
    for split, images in splits.items():
        for name in classes:
            (folder / split / name).mkdir(parents=True)
            for number in range(images):
                pixels = random.randint(light, light + 80, (24, 24, 3)).astype(np.uint8)
                pixels[..., ("red", "green", "blue").index(name)] += 90
                Image.fromarray(pixels).save(folder / split / name / f"{number}.png")


def two_sets(folder: Path, k: int = 5, **others: object) -> Plan:
    """The plan of a study whose models are trained on one set and asked about another, both prepared."""
    size = {"source": "image_folder", "size": 16, "resize": 16}
    training = {"epochs": 2, "batch_size": 8, "lr": 0.05}
    study = {
        "version": 2,
        "name": "asked",
        "datasets": {
            "mine": {**size, "path": str(folder / "mine")},
            "theirs": {**size, "path": str(folder / "theirs"), "evaluated_with": "mine", **others},
        },
        "seeds": [0],
        "models": {
            "fc": {"method": "fc", "training": training},
            "knn": {"method": "knn", "backbone_from": "fc", "inference": {"k": k}},
            "emd": {"method": "emd_corr", "backbone_from": "fc", "inference": {"n_candidates": 8, "k": 5}},
        },
    }
    plan = make_plan(study, folder / "results")
    plan.write()
    for name, settings in plan.datasets.items():
        if not plan.data_folder(name).exists():
            prepare_data(settings, plan.data_folder(name))
    return plan


def theirs(run: OpenedRun) -> Features:
    """The embedded images of the other set."""
    return run.queries("theirs", run.data_of("theirs"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pictures(tmp_path / "mine", CLASSES, {"train": 9, "test": 4}, 0)
    pictures(tmp_path / "theirs", ("blue", "red"), {"test": 6}, 1, light=40)
    return tmp_path


def test_only_the_classes_of_the_set_compete(folder: Path) -> None:
    plan = two_sets(folder)
    assert [run.id for run in plan.runs()] == [f"mine/{model}/all/seed0" for model in ("fc", "knn", "emd")]
    assert plan.sets_of("mine") == ["test", "theirs"]
    run_stage(plan, "train", plan.run("mine/fc/all/seed0"))
    for run in plan.runs():
        run_stage(plan, "embed", run)
        run_stage(plan, "embed_queries", run, evaluation_set="theirs")
        mode = plan.models[run.model].modes[0]
        run_stage(plan, "evaluate", run, mode=mode, evaluation_set="theirs")
        rows = pq.read_table(run.predictions(mode, "theirs")).to_pandas()
        assert sorted(rows.label.unique()) == [0, 2]  # blue and red among blue, green, red
        assert set(rows.predicted) <= {0, 2}
        assert len(rows) == 12
    fc, knn, emd = (opened(plan, run) for run in plan.runs())
    classifier, queries = fc.classifier_with_support(), theirs(fc)
    logits = classifier.linear(queries.features)[:, [0, 2]].double()
    expected = (logits.exp() / logits.exp().sum(1, keepdim=True)).log()
    log_probs = classifier.predict(queries, "linear").among(queries.class_subset).log_probs
    assert torch.allclose(log_probs[:, [0, 2]].double(), expected, atol=1e-5)
    assert bool(log_probs[:, 1].isneginf().all())
    # The images are normalised as the models know them, not by their own statistics.
    asked = fc.data_of("theirs")
    assert asked.mean == fc.data.mean
    again = embed(classifier, open_images(asked, asked.rows("test")))
    assert torch.equal(again.features, queries.features)
    # Neighbours are those that a search among the other classes' images alone finds.
    neighbours, queries = knn.classifier_with_support(), theirs(knn)
    unit = queries.features / queries.features.norm(dim=1, keepdim=True)
    alike = (unit @ neighbours.features.T).masked_fill(neighbours.labels == 1, -2)
    chosen = neighbours.labels[alike.topk(5).indices]
    votes = torch.stack([(chosen == label).sum(1) for label in range(3)], 1) / 5
    assert torch.allclose(neighbours.predict(queries, "vote").log_probs.exp(), votes)
    candidates = theirs(emd).match_scores["rows"]
    assert bool((emd.classifier_with_support().labels[candidates] != 1).all())


def test_all_classes_compete_where_the_study_says_so(folder: Path) -> None:
    plan = two_sets(folder, class_subset="all")
    run = plan.run("mine/fc/all/seed0")
    run_stage(plan, "train", run)
    run_stage(plan, "embed", run)
    run_stage(plan, "embed_queries", run, evaluation_set="theirs")
    assert theirs(opened(plan, run)).class_subset is None
    narrower = opened(two_sets(folder), run)
    with pytest.raises(LookalikeError, match="follows from other settings, queries than the run has now"):
        theirs(narrower)


def test_among_gives_shares_of_what_the_competing_classes_had() -> None:
    prediction = Prediction(torch.tensor([[0.5, 0.3, 0.2], [0.0, 1.0, 0.0]]).log()).among(torch.tensor([0, 2]))
    expected = torch.tensor([[5 / 7, 0, 2 / 7], [0.5, 0, 0.5]])
    assert torch.allclose(prediction.log_probs.exp(), expected)


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ("class", r"class yellow of theirs is none of mine's; take theirs out of datasets"),
        ("size", r"images of theirs are 3 x 20 x 20, those of mine 3 x 16 x 16; give both entries the same size"),
        (
            "few",
            r"20 nearest are wanted, but there are only 18 training images of the classes that occur; lower "
            r"inference.k or inference.n_candidates, or write class_subset: all",
        ),
    ],
)
def test_what_does_not_fit_is_said(folder: Path, mistake: str, message: str) -> None:
    changes: dict[str, object] = {}
    if mistake == "class":
        (folder / "theirs" / "test" / "red").rename(folder / "theirs" / "test" / "yellow")
    if mistake == "size":
        changes = {"size": 20, "resize": 20}
    plan = two_sets(folder, k=20 if mistake == "few" else 5, **changes)
    run_stage(plan, "train", plan.run("mine/fc/all/seed0"))
    run = plan.run("mine/knn/all/seed0")
    run_stage(plan, "embed", run)
    if mistake == "few":
        run_stage(plan, "embed_queries", run, evaluation_set="theirs")
    with pytest.raises(LookalikeError, match=message):
        if mistake == "few":
            run_stage(plan, "evaluate", run, mode="vote", evaluation_set="theirs")
        else:
            run_stage(plan, "embed_queries", run, evaluation_set="theirs")


def test_models_are_not_trained_without_training_images(folder: Path) -> None:
    plan = two_sets(folder, evaluated_with=None)
    run = opened(plan, plan.run("theirs/fc/all/seed0"))
    message = "data set theirs has no training images; add them, or let the models of another classify it"
    with pytest.raises(LookalikeError, match=message):
        run.training_rows()


def test_one_more_set_leaves_the_others_as_they_are() -> None:
    """Where a data set is used is no part of what its runs were made of."""
    plain, placed, open_to_all = (
        CrittersSettings(source="critters", **more)
        for more in (
            {},
            {"evaluation_sets": ["test"], "evaluated_with": "digits", "train_sizes": ["all"]},
            {"class_subset": "all"},
        )
    )
    assert plain.reading() == placed.reading()
    assert plain.choosing() == placed.choosing()
    assert plain.choosing() != open_to_all.choosing()
