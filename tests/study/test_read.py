"""A mistake in a study is one message with the file, the key and the YAML to write."""

import json
import re
from pathlib import Path

import pytest
import yaml

from lookalike.core.errors import LookalikeError
from lookalike.study.model import json_schema
from lookalike.study.plan import Plan
from lookalike.study.read import check_study, read_study

ROOT = Path(__file__).parents[2]
STUDIES = [ROOT / "config.yaml", *sorted((ROOT / "workflow" / "studies").glob("*.yaml"))]


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.name)
def test_shipped_studies_are_valid(path: Path, tmp_path: Path) -> None:
    plan = Plan.of(read_study(path), tmp_path)
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
        for each in changes:
            each(study)

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
        (put("seeds", [1, 1]), "seeds: 1 is there twice; write it once"),
        (put("seeds", None), "seeds is missing"),
        (put("seeds", 3), "seeds is 3; it is a list. Write\n  seeds: \\[3\\]"),
        (put("train_sizes", "all"), "train_sizes is 'all'; it is a list. Write\n  train_sizes: \\[all\\]"),
        (put("models.fc.modes", ["linear", "linear"]), "models.fc.modes: 'linear' is there twice; write it once"),
        (put("train_sizes", ["all", "all"]), "train_sizes: 'all' is there twice"),
        (put("evaluation_sets", ["test", "test"]), "evaluation_sets: 'test' is there twice"),
        (put("name", "Foo!"), "name: 'Foo!' is no name; names begin with a small letter"),
        (put("name", "a" * 61), "is no name; .* 60 at most"),
        (put("models.nw.temperature", float("inf")), "models.nw.temperature is inf; it should be a finite number"),
        (put("models.nw.temperature", 1e-45), "models.nw.temperature is 1e-45; it should be greater"),
        (put("models.fc.training.lr", float("nan")), "models.fc.training.lr is nan; it should be a finite number"),
        (put("models.fc.training.crop_padding", 1000), "crop_padding is 1000; it should be less than or equal to 64"),
        (put("models.fc.training.warmup_epochs", 1e9), "warmup_epochs is 1e\\+09, but epochs is"),
        (put("models.fc.training.milestones", [-3]), "milestones.0 is -3; it should be greater"),
        (put("models.fc.training.learning_rate", 0.1), "is no known key; .*\n      training:\n        lr: 0.1"),
        (put("version", True), "version is True, this lookalike reads version 2"),
        (put("datasets", {"digits": {"source": ["a"]}}), r"datasets.digits.source is \['a'\]; it is one name"),
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
            put("datasets", {"digits": {"validation_size": 1297}}),
            "datasets.digits.validation_size is 1297, but digits has 1297 training",
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
            put("evaluation_sets", ["test", "test-adversarial_patch"]),
            "evaluation_sets has test-adversarial_patch, but there is no adversarial_patch. Write\n"
            "  adversarial_patch:\n    model: fc\n    target: 0",
        ),
        (
            put("adversarial_patch", {"model": "resnet"}),
            "adversarial_patch.model is 'resnet', which is no model of this study",
        ),
        (put("datasets", ["imagenet_r"]), "datasets.imagenet_r has test images only"),
        (put("models.chm_corr.modes", ["key_points"]), "models.chm_corr.modes has key_points, but digits has no key"),
        (
            put("models.emd_corr.inference.n_candidates", 12),
            "correspondences take the 5 exemplars shown away and let 10 others vote; n_candidates must be 15 or more",
        ),
        (
            put(
                "datasets",
                {"digits": {}, "critters": {}, "others": {"source": "critters", "evaluated_with": "criters"}},
            ),
            "datasets.others.evaluated_with is 'criters', which is no data set that models of this study are "
            "trained on",
        ),
        (
            put(
                "datasets", {"digits": {}, "critters": {}, "test": {"source": "critters", "evaluated_with": "critters"}}
            ),
            "datasets.test gives queries and would be an evaluation set test, which there is",
        ),
        (
            put("datasets", {"digits": {}, "critters": {"evaluation_sets": ["test", "test-adversarial_patch"]}}),
            "datasets.critters.evaluation_sets has 'test-adversarial_patch', which the study's evaluation_sets lack",
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
            "but digits has no such images. Write\n  datasets:\n    digits:\n      validation_size",
        ),
        (
            put("adversarial_patch", {"model": "knn", "target": 0}),
            "adversarial_patch.model is 'knn', which has no gradient to follow",
        ),
        (put("adversarial_patch", {"model": "fc"}), "adversarial_patch.target is 859, but digits has 10 classes"),
        (
            put("train_sizes", [5000]),
            "train_sizes has 5000, but digits has 1297 training images. Write\n  datasets:\n    digits:",
        ),
        (
            put("datasets.digits.train_sizes", [200]),
            "datasets.digits.train_sizes has 200, .* Write\n  train_sizes: \\[100, 300, all, 200\\]",
        ),
        (put("models.nw.train_sizes", [50]), "models.nw.train_sizes has 50, which the study's train_sizes lack. Write"),
        (put("models.nw.datasets", ["digit"]), "models.nw.datasets has 'digit', which the study's datasets lack"),
        (put("models.fc.train_sizes", ["all"]), None),
        (
            put("models.fc.train_sizes", [100]),
            "models.knn takes its network from fc, which has no run for train_sizes 'all'. Write\n  models:\n    knn:",
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
                put("models.memory_wrap.train_sizes", [100])(study),
            ],
            "models.memory_wrap has no run: its data sets are not used at its sizes",
        ),
        (
            put("models.fc.training.by_dataset", {"digits": {"by_dataset": {}}}),
            "by_dataset.digits has by_dataset again; write its keys there themselves",
        ),
        (
            put("adversarial_patch", {"model": "memory_wrap", "target": 0}),
            "memory_wrap, which does not run on all datasets",
        ),
        (
            put("datasets.digits.normalization", {"mean": [0.5, 0.5], "std": [0.5]}),
            "mean has 2 numbers and std 1; give one of each a channel",
        ),
        (
            put("train_sizes", ["some"]),
            "train_sizes has 'some'; each is all or a number of training images. Write\n  train_sizes: \\[all\\]",
        ),
        (put("baseline", "fcc"), "baseline is 'fcc'.*\n  baseline: fc"),
        (put("version", 3), "version is 3, this lookalike reads version 2"),
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
