"""What a study costs before anything of it ran."""

from pathlib import Path

import pytest
from helpers.studies import make_plan, tiny_study

from lookalike.pipeline.cost import NetworkCost, network_cost, study_cost
from lookalike.study.plan import Plan


def test_cost_of_a_study(tiny: Plan) -> None:
    """By hand: a linear network's operations, images, epochs, seeds; memory images pass the network too."""
    network = network_cost("small_cnn", (1, 8, 8))
    forward = network.flops * 8 * 8 / (network.shape[1] * network.shape[2])
    sizes = {"epochs": 3, "batch_size": 50}
    models = {
        "fc": {"method": "fc", "training": sizes},
        "wrap": {"method": "memory_wrap", "training": sizes, "memory": {"size": 25}},
        "knn": {"method": "knn", "backbone_from": "fc", "inference": {"k": 5}},
    }
    plan = make_plan(tiny_study(models=models, seeds=[0, 1], train_sizes=[100]), tiny.root)
    cost = study_cost(plan)
    embedded = 100 + 500
    trained = 3 * 3 * 100 * (1 + 1.5)
    assert cost.flops == pytest.approx(2 * forward * (3 * embedded + trained))
    assert cost.weights == 2 * 2 * 4 * network.parameters


def test_every_part_of_the_cost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All numbers by hand: sizes, seeds, evaluation sets, another entry's images, supports, epochs of a data set."""
    monkeypatch.setattr("lookalike.pipeline.cost.network_cost", lambda *_: NetworkCost(6400.0, 1000, (1, 8, 8)))
    models = {
        "fc": {"method": "fc", "training": {"epochs": 2, "by_dataset": {"digits": {"epochs": 3}}}},
        "nw": {"method": "nw", "training": {"epochs": 1, "batch_size": 40}, "episodes": {"n_shot": 2}},
        "knn": {"method": "knn", "backbone_from": "fc"},
    }
    datasets = {
        "digits": {"size": 16, "validation_size": 97},  # four times the area
        "others": {"source": "digits", "evaluated_with": "digits"},
    }
    sets = ["test", "validation", "test-gaussian_noise-1"]
    values = tiny_study(
        datasets=datasets, models=models, train_sizes=[100, "all"], seeds=[0, 1, 2], evaluation_sets=sets
    )
    cost = study_cost(make_plan(values, tmp_path))
    queries = 500 + 97 + 500 + 500
    embedded = 3 * (100 + queries + 1200 + queries)
    trained_fc = 3 * 3 * (100 + 1200)  # forward and twice as much backward
    trained_nw = 3 * 1 * (100 + 1200) * 1.5  # 20 images of the support to 40 of a batch
    assert (embedded, trained_fc, trained_nw) == (13482, 11700, 5850)
    assert cost.flops == 3 * 25600 * (13482 + 11700 + 5850)
    assert cost.weights == 4 * 1000 * 3 * 2 * 2  # knn has none of its own
    assert cost.gpu_hours == pytest.approx(cost.flops / 72e15)
