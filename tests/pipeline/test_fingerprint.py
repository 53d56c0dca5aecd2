"""What makes a result out of date: a changed key reaches exactly the stages that read it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.studies import make_plan, whole_study

from lookalike.contracts.settings import Settings
from lookalike.methods.registry import METHODS
from lookalike.pipeline.fingerprint import fingerprint, task_of
from lookalike.pipeline.stage_table import STAGES, Item
from lookalike.stages.task import GALLERY
from lookalike.study.model import Study
from lookalike.study.plan import Plan
from lookalike.study.settings import AdversarialPatchSettings, JobResources

TRAIN = {"train", GALLERY}
EMBED = {"embed", "embed_queries"}
EVALUATE = {"evaluate", "train_adversarial_patch"}
ANALYSE = {"analyse", "analyse (another)"}
EVERY = {*TRAIN, *EMBED, *EVALUATE, "explain", *ANALYSE}
# The first stage that reads a key -> all that read it.
READERS: dict[str | None, set[str]] = {
    "train": EVERY,
    "embed": EVERY - TRAIN,
    "evaluate": EVERY - TRAIN - EMBED,
    "explain": {"explain"},
    "analyse": {"analyse"},
    None: set(),
}
RUN = "digits/it/100/seed0"
FROZEN = {"backbone_from": "giver"}
# A model of each method, with every block that may be left out.
MODELS: dict[str, dict[str, Any]] = {
    "fc": {},
    "nw": {},
    "knn": FROZEN,
    "memory_wrap": {"inference": {"counterfactuals": {}}},
    "baseline_memory": {"inference": {"counterfactuals": {}}},
    "emd_corr": {**FROZEN, "inference": {"correspondences": {}}},
    "chm_corr": {**FROZEN, "training": {}, "inference": {"correspondences": {}}},
    "linear_probe": {**FROZEN, "training": {}},
    "dense_flow": {},
    "protoflow": {"backbone": {"name": "dense_flow_small"}},
    "protonet": {},
    "matching": {},
}
TRAINED = [name for name in METHODS if "training" in METHODS[name].settings_class().model_fields]
# Keys that are not read by the training first, and their first reader; those below them alike.
OF_ALL: dict[str, str | None] = dict.fromkeys(("modes", "explain", "datasets", "train_sizes"))
MEMORY: dict[str, str | None] = {
    "inference": "embed",
    "inference.attribution": "explain",
    "inference.counterfactuals": "analyse",
}
RERANKING: dict[str, str | None] = {
    "inference": "embed",
    "inference.k": "evaluate",
    "inference.gallery_gb": None,
    "inference.correspondences": "analyse",
}
LATE: dict[str, dict[str, str | None]] = {
    "nw": {"inference": "embed"},
    "knn": {"inference": "embed", "inference.k": "evaluate"},
    "memory_wrap": MEMORY,
    "baseline_memory": MEMORY,
    "emd_corr": RERANKING,
    "chm_corr": RERANKING,
    "protoflow": {"inference": "embed", "inference.temperature": "evaluate", "compat": "embed"},
    "protonet": {"inference": "embed"},
    "matching": {"inference": "embed"},
}
OTHERS = {"backbone.name": "resnet18", "backbone_from": "other_giver"}  # values that must be names


def with_keys(plan: Plan, **changes: Any) -> Plan:
    """A plan with other values, unchecked."""
    return Plan.model_construct(**{**dict(plan), **changes})


def leaves(settings: Settings, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Paths of all keys, those of nested settings instead of the settings themselves."""
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, Settings):
            yield from leaves(value, (*path, name))
        else:
            yield (*path, name)


def changed(settings: Settings, path: tuple[str, ...], value: Any) -> Settings:
    """Settings with another value at a path, unchecked."""
    first, *rest = path
    inner = changed(getattr(settings, first), tuple(rest), value) if rest else value
    return settings.model_copy(update={first: inner})


def first_reader(path: tuple[str, ...], late: dict[str, str | None]) -> str | None:
    """The first stage that reads a key: as the nearest listed key above it."""
    for length in range(len(path), 0, -1):
        key = ".".join(path[:length])
        if key in late:
            return late[key]
    return "train"


def prints(plan: Plan, run: str = RUN, foreign: str = "test-gaussian_noise-3") -> dict[str, str]:
    """The fingerprints of all stages of a run."""
    dataset, model, size, seed = run.split("/")
    spec = plan.run_spec(dataset, model, size, int(seed.removeprefix("seed")))  # even where the change excludes it
    analyses = plan.models[spec.model].analyses
    items = {name: Item(spec) for name in (GALLERY, "train", "train_adversarial_patch", "embed")}
    items |= {"embed_queries": Item(spec, evaluation_set=foreign)}
    items |= {name: Item(spec, mode="full", evaluation_set="test") for name in ("evaluate", "explain")}
    found = {name: fingerprint(plan, name, item) for name, item in items.items()}
    for analysis in analyses[:1]:
        # A second analysis of the same method, which has no settings of its own.
        another = replace(analysis, name="another", key="")
        for name, declared in (("analyse", analysis), ("analyse (another)", another)):
            found[name] = fingerprint(plan, "analyse", Item(spec, analysis=declared, evaluation_set="test"))
    return found


def differing(plan: Plan, other: Plan, **where: str) -> set[str]:
    """The stages whose results the change from one plan to the other makes out of date."""
    before, after = prints(plan, **where), prints(other, **where)
    return {name for name in before if before[name] != after[name]}


def plan_of_method(method: str, root: Path) -> Plan:
    """A study with a model `it` of a method, and two that may give it a network."""
    givers = {name: {"method": "fc"} for name in ("giver", "other_giver")}
    model = {"method": method, **MODELS[method]}
    if method in TRAINED:
        model["training"] = {"epochs": 2}
    datasets = {"digits": {}, "strange": {"source": "critters"}}
    return make_plan(whole_study(**OF_METHODS, datasets=datasets, models={**givers, "it": model}), root)


OF_METHODS: dict[str, Any] = {
    "train_sizes": [100],
    "evaluation_sets": ["test", "test-gaussian_noise-3"],
    "adversarial_patch": None,
    "human_studies": {},
    "published": [],
}


def test_every_method_is_looked_at() -> None:
    assert list(MODELS) == list(METHODS)
    assert set(READERS["train"]) >= {stage.name for stage in STAGES.values() if stage.is_of_runs}


@pytest.mark.parametrize("method", METHODS)
def test_a_key_of_a_model_reaches_the_stages_that_read_it(method: str, tmp_path: Path) -> None:
    plan = plan_of_method(method, tmp_path)
    settings = plan.models["it"]
    late = {**OF_ALL, **LATE.get(method, {})}
    paths = [path for path in leaves(settings) if path not in (("method",), ("training", "by_dataset"))]
    assert len(paths) >= 5
    for path in paths:
        key = ".".join(path)
        other = with_keys(plan, models={**plan.models, "it": changed(settings, path, OTHERS.get(key, "another"))})
        present = set(prints(plan))
        assert differing(plan, other) == READERS[first_reader(path, late)] & present, key
    unused = {key for key in late if not any(".".join(path).startswith(key) for path in paths)}
    assert unused == set()


@pytest.mark.parametrize("method", [name for name, late in LATE.items() if "analyse" in late.values()])
def test_a_block_that_is_left_out_is_another_value(method: str, tmp_path: Path) -> None:
    """`counterfactuals: {}` asks for the analysis; the results of the others stay as they are."""
    plan = plan_of_method(method, tmp_path)
    settings = plan.models["it"]
    for key, first in LATE[method].items():
        if first in ("explain", "analyse"):
            other = with_keys(plan, models={**plan.models, "it": changed(settings, tuple(key.split(".")), None)})
            assert differing(plan, other) == READERS[first], key


@pytest.mark.parametrize("method", TRAINED)
def test_a_training_key_of_one_data_set_reaches_its_runs_alone(method: str, tmp_path: Path) -> None:
    plan = plan_of_method(method, tmp_path)
    settings = plan.models["it"]
    for dataset, expected in (("strange", set()), ("digits", set(prints(plan)))):
        overrides = changed(settings, ("training", "by_dataset"), {dataset: {"epochs": 7}})
        other = with_keys(plan, models={**plan.models, "it": overrides})
        assert differing(plan, other) == expected, dataset


# Keys of the study ---------------------------------------------------------------------------------

CHANGES: dict[str, tuple[Any, set[str]]] = {
    "version": (3, set()),
    "name": ("other", set()),
    "title": ("Another title", set()),
    "seed": (7, EVERY),
    "train_sizes": ((100, "all", 50), set()),
    "seeds": ([0, 1, 2], set()),
    "evaluation_sets": (("test", "validation"), set()),
    "baseline": ("nw", set()),
    "explained_queries": (9, {"explain"}),
    "threads": (2, EVERY),
    "resources": ({"train": JobResources(gpu=2)}, set()),
    "runs_per_job": (3, set()),
    "runs_per_gpu": (4, set()),
    "human_studies": ({}, set()),
    "published": ((), set()),
}


@pytest.fixture
def whole(tmp_path: Path) -> Plan:
    return make_plan(whole_study(), tmp_path)


def test_every_key_of_a_study_is_looked_at() -> None:
    assert {*CHANGES, "datasets", "models", "adversarial_patch"} == set(Study.model_fields)


@pytest.mark.parametrize("key", CHANGES)
def test_a_key_of_a_study_reaches_the_stages_that_read_it(key: str, whole: Plan) -> None:
    value, expected = CHANGES[key]
    assert getattr(whole, key) != value
    assert differing(whole, with_keys(whole, **{key: value}), run="digits/wrap/100/seed0") == expected


PATCH = {"model": "nw", "target": 4, "shape": "square", "area": 0.2, "confidence": 0.5}
PATCH |= {"iterations": 7, "images": 8, "epochs": 9}


@pytest.mark.parametrize("key", AdversarialPatchSettings.model_fields)
def test_a_key_of_the_patch_reaches_its_training(key: str, whole: Plan) -> None:
    """What it was trained to reaches the others as a file."""
    patch = whole.adversarial_patch
    assert patch is not None
    other = with_keys(whole, adversarial_patch=patch.model_copy(update={key: PATCH[key]}))
    assert differing(whole, other, run="digits/fc/100/seed0") == {"train_adversarial_patch"}


def test_another_model_reaches_nothing(whole: Plan) -> None:
    models = {**whole.models, "nw": changed(whole.models["nw"], ("training", "epochs"), 50)}
    assert differing(whole, with_keys(whole, models=models), run="digits/wrap/100/seed0") == set()


# Keys of data sets ---------------------------------------------------------------------------------

CHOOSING = {"class_subset", "queries", "duplicate_weights"}  # which images are asked, not how they are read
CHOOSING_NOTHING = {"train_sizes", "evaluation_sets"}


@pytest.mark.parametrize(("dataset", "run"), [("digits", "digits/wrap/100/seed0"), ("photos", "photos/emd/all/seed0")])
def test_a_key_of_a_data_set_reaches_the_stages_that_read_it(dataset: str, run: str, whole: Plan) -> None:
    entry = whole.datasets[dataset]
    keys = set(type(entry).model_fields) - {"source", "evaluated_with", "ood_for"}  # no run is on such an entry
    assert keys >= {"train_on", "validation_size", "draw", "normalization", "size", *CHOOSING_NOTHING}
    for key in keys:
        other = with_keys(whole, datasets={**whole.datasets, dataset: changed(entry, (key,), "another")})
        readers = set() if key in CHOOSING_NOTHING else EVERY - TRAIN if key in CHOOSING else EVERY
        present = set(prints(whole, run))
        assert differing(whole, other, run=run) == readers & present, key


def test_the_reading_of_another_entry_reaches_its_own_evaluation_set(whole: Plan) -> None:
    entry, run = whole.datasets["paintings"], whole.run("photos/emd/all/seed0")
    for key in ("size", "resize", "fit", "normalization", "class_subset"):
        other = with_keys(whole, datasets={**whole.datasets, "paintings": changed(entry, (key,), "another")})
        assert differing(whole, other, run=run.id) == set(), key
        for stage in ("embed_queries", "evaluate"):
            for name, expected in (("paintings", True), ("test", False), ("test-gaussian_noise-3", False)):
                item = Item(run, mode="vote", evaluation_set=name)
                assert (fingerprint(whole, stage, item) != fingerprint(other, stage, item)) == expected, (key, name)


def test_an_entry_without_known_classes_is_another_than_one_with_them(whole: Plan) -> None:
    entry = whole.datasets["creatures"]
    other = with_keys(whole, datasets={**whole.datasets, "creatures": changed(entry, ("ood_for",), None)})
    assert differing(whole, other, run="digits/fc/all/seed0") == set()
    where = {"run": "digits/fc/all/seed0", "foreign": "creatures"}
    assert differing(whole, other, **where) == {"embed_queries"}


# Runs and tasks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", [GALLERY, "train", "embed", "evaluate", "explain"])
def test_no_two_runs_have_one_fingerprint(stage: str, whole: Plan) -> None:
    runs = list(whole.runs())
    assert len({fingerprint(whole, stage, Item(run, evaluation_set="test")) for run in runs}) == len(runs) > 20


def test_a_task_has_the_fingerprints_of_its_jobs(whole: Plan) -> None:
    """Stores and checkpoints compare with what the workflow compares with."""
    run = whole.run("digits/wrap/100/seed0")
    task = task_of(whole, Item(run, mode="cached", evaluation_set="test"))
    for stage, name in (("train", ""), ("embed", ""), ("embed_queries", "test-gaussian_noise-3"), (GALLERY, "")):
        assert task.fingerprint(stage, name) == fingerprint(whole, stage, Item(run, evaluation_set=name))


def test_which_code_a_stage_hangs_on(whole: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[set[str]] = []
    monkeypatch.setattr("lookalike.pipeline.fingerprint.code_hash", lambda modules: asked.append(set(modules)) or "")
    own = {"lookalike.methods.memory_wrap.classifier", "lookalike.backbones.small_cnn"}
    run = whole.run("digits/wrap/100/seed0")
    (analysis,) = whole.models["wrap"].analyses
    for stage in (stage for stage in STAGES.values() if stage.is_of_runs):
        asked.clear()
        of_analysis = stage.name == "analyse"
        fingerprint(whole, stage.name, Item(run, analysis=analysis if of_analysis else None))
        expected = {*own, stage.module, *["lookalike.methods.memory_wrap.analyses"] * of_analysis}
        assert expected in asked, stage.name
    # Of a frozen network, the class of the model that gives it.
    asked.clear()
    fingerprint(whole, "embed", Item(whole.run("digits/knn/100/seed0")))
    assert {"lookalike.stages.embed", "lookalike.methods.knn.classifier", "lookalike.backbones.small_cnn"} in asked
