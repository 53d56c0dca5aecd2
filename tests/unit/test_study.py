"""A mistake in a study is one message with the file, the key and the YAML to write."""

import json
import re
from pathlib import Path

import pytest
import yaml
from conftest import tiny_study

from lookalike.errors import LookalikeError
from lookalike.plan import Plan
from lookalike.study import check_study, json_schema, read_study

ROOT = Path(__file__).parents[2]
STUDIES = [ROOT / "config.yaml", *sorted((ROOT / "workflow" / "studies").glob("*.yaml"))]


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.name)
def test_shipped_studies_are_valid(path: Path, tmp_path: Path) -> None:
    plan = read_study(path).plan(tmp_path)
    assert len({run.id for run in plan.runs()}) == len(list(plan.runs()))


def test_schema_is_the_generated_one() -> None:
    written = json.loads((ROOT / "workflow" / "schemas" / "study.schema.json").read_text())
    assert written == json_schema(), "the study model changed; run `make schema`"


def put(path: str, value: object):
    def change(study: dict) -> None:
        *parents, last = path.split(".")
        for key in parents:
            study = study[key]
        if value is None:
            del study[last]
        else:
            study[last] = value

    return change


def both(*changes):
    def change(study: dict) -> None:
        for one in changes:
            one(study)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("seedz", [1]), "config.yaml: seedz is no known key; .*\n  seed: \\[1\\]"),
        (put("models.nw.kernl", "x"), "models.nw.kernl is no known key; .*\n  models:\n    nw:\n      kernel: x"),
        (put("models.nw.kernel", "cosin"), "models.nw.kernel is 'cosin'; .*\n      kernel: cosine"),
        (
            put("models.nw.method", "nv"),
            "method 'nv' is unknown; there are fc, nw, knn, .*. Write\n  models:\n    nw:\n",
        ),
        (put("models.nw.method", None), "models.nw: has no method"),
        (put("models.nw.modes", ["ful"]), "must be one of random, full, .*\n      modes: \\[full\\]"),
        (put("models.fc.modes", ["full"]), "models.fc.modes.0 is 'full'; it must be one of linear"),
        (put("models.nw.explain", ["knn"]), None),
        (put("models.nw.modes", ["cluster"]), None),
        (put("name", "data"), "name is 'data', which is a folder of its own"),
        (put("models.nw.training.epochs", 0), "models.nw.training.epochs is 0; it should be greater"),
        (put("models.nw.training.schedule", "multistep"), "multistep needs milestones"),
        (put("models.nw.backbone", {"name": "resnet"}), "backbone.name is 'resnet'; there are small_cnn"),
        (put("models.knn.backbone_from", "fcc"), "no trained model of this study; there are fc, nw"),
        (put("models.knn.backbone_from", None), "give either backbone_from: MODEL or backbone"),
        (put("seeds", []), "seeds is empty; .*\n  seeds: \\[0, 1, 2\\]"),
        (put("seeds", [1, 1]), "seeds names an entry twice"),
        (put("seeds", None), "seeds is missing"),
        (put("datasets", ["digit"]), "no known data set; there are digits, .* Write\n  datasets: \\[digits\\]"),
        (
            put("datasets", ["imagenet_c"]),
            "datasets names 'imagenet_c', which is made from others when they are evaluated",
        ),
        (
            put("datasets", {"birds": {"source": "cub20"}}),
            "names 'cub20', .* Write\n  datasets:\n    birds:\n      source: cub200",
        ),
        (put("datasets", {"cub200": {"splt": "swapped"}}), "datasets.cub200.splt is no known key; .*split"),
        (
            put("datasets", {"cub200": {"split": "swaped"}}),
            "datasets.cub200.split is 'swaped'; it must be one of official, swapped",
        ),
        (put("datasets", {"mine": {"source": "image_folder"}}), "datasets.mine.path is missing"),
        (put("datasets", {"digits": "all"}), "datasets.digits is 'all'; write its options, or {} for none"),
        (
            put("datasets", {"digits": {"held_out": 1297}}),
            "datasets.digits.held_out is 1297, but digits has 1297 training",
        ),
        (
            put("datasets", {"critters": {"scene_rate": 2}}),
            "datasets.critters.scene_rate is 2; it should be less than or equal to 1",
        ),
        (
            put("datasets", {"critters": {"classes": 50, "test": 40}}),
            "train and test must hold at least one image of each of the 50",
        ),
        (put("datasets", {"flowers102": {"size": 300}}), "resize \\(256\\) must be at least size \\(300\\)"),
        (put("datasets", {"imagenet": {"queries": "clean"}}), "queries: clean needs duplicate_weights: FILE"),
        (put("evaluation_sets", ["tset"]), "evaluation set 'tset' is unknown; .* Write\n  evaluation_sets: \\[test\\]"),
        (
            put("evaluation_sets", ["test", "test-patch"]),
            "evaluation_sets has test-patch, but there is no patch. Write\n  patch:",
        ),
        (put("patch", {"model": "resnet"}), "patch.model is 'resnet', which is no model of this study"),
        (put("datasets", ["imagenet_r"]), "datasets.imagenet_r has test images only"),
        (put("models.chm_corr.modes", ["key_points"]), "models.chm_corr.modes has key_points, but digits has no key"),
        (
            put("models.emd_corr.inference.shortlist", 12),
            "correspondences take the 5 exemplars shown away and let 10 others vote; shortlist must be 15 or more",
        ),
        (
            put("datasets", {"digits": {}, "critters": {}, "others": {"source": "critters", "queries_for": "criters"}}),
            "datasets.others.queries_for is 'criters', which is no data set that models of this study are trained on",
        ),
        (
            put("datasets", {"digits": {}, "critters": {}, "test": {"source": "critters", "queries_for": "critters"}}),
            "datasets.test gives queries and would be an evaluation set test, which there is",
        ),
        (
            put("datasets", {"digits": {}, "critters": {"evaluation_sets": ["test", "test-patch"]}}),
            "datasets.critters.evaluation_sets has 'test-patch', which the study's evaluation_sets lack",
        ),
        (
            both(
                put("evaluation_sets", ["test", "test-gaussian_blur-1"]),
                put("datasets", {"digits": {}, "critters": {"evaluation_sets": ["test-gaussian_blur-1"]}}),
            ),
            "datasets.critters.evaluation_sets leaves out test, but only changed sets can be left out",
        ),
        (
            put("evaluation_sets", ["validation"]),
            "but digits has no such images. Write\n  datasets:\n    digits:\n      held_out",
        ),
        (put("patch", {"model": "knn", "target": 0}), "patch.model is 'knn', which has no gradient to follow"),
        (put("patch", {"model": "fc"}), "patch.target is 859, but digits has 10 classes"),
        (put("sizes", [5000]), "sizes has 5000, but digits has 1297 training images. Write\n  datasets:\n    digits:"),
        (
            put("datasets.digits.sizes", [200]),
            "datasets.digits.sizes has 200, .* Write\n  sizes: \\[100, 300, all, 200\\]",
        ),
        (put("models.nw.sizes", [50]), "models.nw.sizes has 50, which the study's sizes lack. Write"),
        (put("models.nw.datasets", ["digit"]), "models.nw.datasets has 'digit', which the study's datasets lack"),
        (put("models.fc.sizes", ["all"]), None),
        (
            put("models.fc.sizes", [100]),
            "models.knn takes its network from fc, which has no run for sizes 'all'. Write\n  models:\n    knn:",
        ),
        (
            put("models.fc.training.by_dataset", {"digits": {"epoch": 3}}),
            "models.fc.training: by_dataset.digits.epoch: Extra inputs are not permitted",
        ),
        (
            put("models.fc.training.by_dataset", {"svhn": {"epochs": 3}}),
            "by_dataset names 'svhn', which is no data set of this study",
        ),
        (put("models.memory_wrap.datasets", ["critters"]), None),
        (
            lambda study: [
                put("models.memory_wrap.datasets", ["critters"])(study),
                put("models.memory_wrap.sizes", [100])(study),
            ],
            "models.memory_wrap has no run: its data sets are not used at its sizes",
        ),
        (
            put("models.fc.training.by_dataset", {"digits": {"by_dataset": {}}}),
            "by_dataset.digits has by_dataset again; write its keys there themselves",
        ),
        (put("patch", {"model": "memory_wrap", "target": 0}), "memory_wrap, which does not run on all datasets"),
        (
            put("datasets.digits.normalization", {"mean": [0.5, 0.5], "std": [0.5]}),
            "mean has 2 numbers and std 1; give one of each a channel",
        ),
        (put("sizes", ["some"]), "each size is all or a number of training images"),
        (put("baseline", "fcc"), "baseline is 'fcc'.*\n  baseline: fc"),
        (put("version", 2), "version is 2, this lookalike reads version 1"),
    ],
)
def test_mistakes(change, message: str | None) -> None:
    study = json.loads(json.dumps(yaml.safe_load((ROOT / "config.yaml").read_text())))  # no shared anchors
    change(study)
    if message is None:
        check_study(study, "config.yaml")
        return
    with pytest.raises(LookalikeError) as caught:
        check_study(study, "config.yaml")
    assert re.search(message, str(caught.value), re.DOTALL), str(caught.value)
    assert str(caught.value).startswith("config.yaml: ")


def test_bad_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(LookalikeError, match=r"study .*none.yaml is missing"):
        read_study(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(LookalikeError, match="is not valid YAML"):
        read_study(tmp_path / "bad.yaml")
    (tmp_path / "list.yaml").write_text("- 1")
    with pytest.raises(LookalikeError, match="holds no study"):
        read_study(tmp_path / "list.yaml")


def test_plan_round_trip(tiny: Plan) -> None:
    again = Plan.read(tiny.path)
    assert again == tiny
    stamp = tiny.path.stat().st_mtime_ns
    again.write()
    assert tiny.path.stat().st_mtime_ns == stamp
    tiny.path.write_text(json.dumps({**tiny.as_json(), "plan_version": 9}))
    with pytest.raises(LookalikeError, match="has plan version 9, this lookalike writes 6"):
        Plan.read(tiny.path)
    with pytest.raises(LookalikeError, match="has no run 'x'"):
        tiny.run("x")


def test_seeds_differ_by_purpose_and_run_and_subsets_by_seed_only(tiny: Plan) -> None:
    fc, nw, knn = tiny.runs()
    assert fc.subset_seed == nw.subset_seed == knn.subset_seed
    assert fc.seed_for("weights") != nw.seed_for("weights")
    assert fc.seed_for("weights") != fc.seed_for("order")
    assert knn.source == fc


def test_scale_of_a_study(tiny: Plan) -> None:
    """By hand: a linear network's operations, images, epochs, seeds; memory images pass the network too."""
    from lookalike.scale import network_cost, study_scale

    forward, parameters = network_cost("small_cnn", (1, 8, 8))
    sizes = {"epochs": 3, "batch_size": 50}
    models = {
        "fc": {"method": "fc", "training": sizes},
        "wrap": {"method": "memory_wrap", "training": sizes, "memory": {"size": 25}},
        "knn": {"method": "knn", "backbone_from": "fc", "inference": {"voters": 5}},
    }
    plan = check_study(tiny_study(models=models, seeds=[0, 1], sizes=[100]), "tiny.yaml").plan(tiny.root)
    found = study_scale(plan)
    embedded = 100 + 500
    trained = 3 * 3 * 100 * (1 + 1.5)
    assert found.flops == pytest.approx(2 * forward * (3 * embedded + trained))
    assert found.weights == 2 * 2 * 4 * parameters
