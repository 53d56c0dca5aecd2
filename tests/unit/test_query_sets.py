"""Images of another data set as queries: labels, classes that compete, normalisation, and what does not fit."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from lookalike.data.images import open_images
from lookalike.data.prepare import prepare_data
from lookalike.data.prepared import open_data, open_queries
from lookalike.data.settings import entry_settings
from lookalike.errors import LookalikeError
from lookalike.evaluation.evaluate import evaluate
from lookalike.methods.base import Prediction
from lookalike.plan import Plan
from lookalike.study import check_study
from lookalike.support.embed import embed
from lookalike.support.precompute import embed_queries, load_run, precompute_support
from lookalike.training.train import train

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


def make_plan(folder: Path, **others: object) -> Plan:
    size = {"source": "image_folder", "size": 16, "resize": 16}
    training = {"epochs": 2, "batch_size": 8, "lr": 0.05}
    study = {
        "version": 1,
        "name": "asked",
        "datasets": {
            "mine": {**size, "path": str(folder / "mine")},
            "theirs": {**size, "path": str(folder / "theirs"), "queries_for": "mine", **others},
        },
        "seeds": [0],
        "models": {
            "fc": {"method": "fc", "training": training},
            "knn": {"method": "knn", "backbone_from": "fc", "inference": {"voters": 5}},
            "emd": {"method": "emd_corr", "backbone_from": "fc", "inference": {"shortlist": 8, "voters": 5}},
        },
    }
    plan = check_study(study, "asked.yaml").plan(folder / "results")
    plan.write()
    for name, values in plan.datasets.items():
        if not plan.data_folder(name).exists():
            prepare_data(entry_settings(values), plan.data_folder(name))
    return plan


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pictures(tmp_path / "mine", CLASSES, {"train": 9, "test": 4}, 0)
    pictures(tmp_path / "theirs", ("blue", "red"), {"test": 6}, 1, light=40)
    return tmp_path


def test_only_the_classes_of_the_set_compete(folder: Path) -> None:
    plan = make_plan(folder)
    assert [run.id for run in plan.runs()] == [f"mine/{model}/all/seed0" for model in ("fc", "knn", "emd")]
    assert plan.sets_of("mine") == ["test", "theirs"]
    run = plan.run("mine/fc/all/seed0")
    train(run)
    for model in ("fc", "knn", "emd"):
        run = plan.run(f"mine/{model}/all/seed0")
        precompute_support(run)
        embed_queries(run, "theirs")
        mode = run.settings["modes"][0]
        evaluate(run, mode, "theirs")
        rows = pq.read_table(run.predictions(mode, "theirs")).to_pandas()
        assert sorted(rows.label.unique()) == [0, 2]  # blue and red among blue, green, red
        assert set(rows.predicted) <= {0, 2}
        assert len(rows) == 12
    data, classifier, queries = load_run(plan.run("mine/fc/all/seed0"), "theirs")
    logits = classifier.linear(queries.features)[:, [0, 2]].double()
    expected = (logits.exp() / logits.exp().sum(1, keepdim=True)).log()
    found = classifier.predict(queries, "linear").among(queries.competing).log_probs
    assert torch.allclose(found[:, [0, 2]].double(), expected, atol=1e-5)
    assert bool(found[:, 1].isneginf().all())
    # The images are normalised as the models know them, not by their own statistics.
    asked = open_queries(plan.run("mine/fc/all/seed0"), data, "theirs")
    assert asked.mean == data.mean
    again = embed(classifier, open_images(asked, asked.rows("test")))
    assert torch.equal(again.features, queries.features)
    # Neighbours are those that a search among the other classes' images alone finds.
    _, knn, queries = load_run(plan.run("mine/knn/all/seed0"), "theirs")
    unit = queries.features / queries.features.norm(dim=1, keepdim=True)
    alike = (unit @ knn.features.T).masked_fill(knn.labels == 1, -2)
    votes = torch.stack([(knn.labels[alike.topk(5).indices] == label).sum(1) for label in range(3)], 1) / 5
    assert torch.allclose(knn.predict(queries, "vote").log_probs.exp(), votes)
    _, emd, queries = load_run(plan.run("mine/emd/all/seed0"), "theirs")
    assert bool((emd.labels[queries.compared["rows"]] != 1).all())


def test_all_classes_compete_where_the_study_says_so(folder: Path) -> None:
    plan = make_plan(folder, competing_classes="all")
    run = plan.run("mine/fc/all/seed0")
    train(run)
    precompute_support(run)
    embed_queries(run, "theirs")
    _, _, queries = load_run(run, "theirs")
    assert queries.competing is None
    narrower = make_plan(folder).run("mine/fc/all/seed0")
    with pytest.raises(LookalikeError, match="made from other queries than the run has now"):
        load_run(narrower, "theirs")


def test_among_gives_shares_of_what_the_competing_classes_had() -> None:
    found = Prediction(torch.tensor([[0.5, 0.3, 0.2], [0.0, 1.0, 0.0]]).log()).among(torch.tensor([0, 2]))
    expected = torch.tensor([[5 / 7, 0, 2 / 7], [0.5, 0, 0.5]])
    assert torch.allclose(found.log_probs.exp(), expected)


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ("class", r"class yellow of theirs is none of mine's; take theirs out of datasets"),
        ("size", r"images of theirs are 3 x 20 x 20, those of mine 3 x 16 x 16; give both entries the same size"),
        ("few", r"20 nearest are wanted, but there are only 18 training images of the classes that compete; lower"),
    ],
)
def test_what_does_not_fit_is_said(folder: Path, mistake: str, message: str) -> None:
    changes: dict[str, object] = {}
    if mistake == "class":
        (folder / "theirs" / "test" / "red").rename(folder / "theirs" / "test" / "yellow")
    if mistake == "size":
        changes = {"size": 20, "resize": 20}
    plan = make_plan(folder, **changes)
    if mistake == "few":
        knn = {**plan.models["knn"], "inference": {"voters": 20}}
        plan.models["knn"] = knn
    train(plan.run("mine/fc/all/seed0"))
    run = plan.run("mine/knn/all/seed0")
    precompute_support(run)
    if mistake == "few":
        embed_queries(run, "theirs")
    with pytest.raises(LookalikeError, match=message):
        if mistake == "few":
            evaluate(run, "vote", "theirs")
        else:
            embed_queries(run, "theirs")


def test_models_are_not_trained_without_training_images(folder: Path) -> None:
    plan = make_plan(folder, queries_for=None)
    run = plan.run("theirs/fc/all/seed0")
    with pytest.raises(LookalikeError, match="data set theirs has no training images; add them, or let it give"):
        open_data(run).training_rows(run)


def test_one_more_set_leaves_the_others_as_they_are() -> None:
    """Where a data set is used is no part of what its runs were made of."""
    plain, placed = (
        entry_settings({"source": "critters", **more})
        for more in ({}, {"evaluation_sets": ["test"], "queries_for": "digits", "sizes": ["all"]})
    )
    assert plain.reading() == placed.reading()
    assert plain.choosing() == placed.choosing()
    assert plain.choosing() != entry_settings({"source": "critters", "competing_classes": "all"}).choosing()
