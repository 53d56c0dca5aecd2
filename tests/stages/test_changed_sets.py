"""Corrupted images and the adversarial patch, through the stages."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.studies import changed_plan, opened, run_stage, tiny_study

from lookalike.contracts.features import Features
from lookalike.core.errors import LookalikeError
from lookalike.core.tensor_store import save_tensors
from lookalike.core.tensors import read_tensors
from lookalike.data.adversarial_patch import Outline, patch_mask, place_patch
from lookalike.data.images import open_images
from lookalike.data.prepared import PreparedData
from lookalike.pipeline.stage_table import STAGES
from lookalike.study.plan import Plan, RunSpec
from lookalike.study.settings import AdversarialPatchSettings
from lookalike.training.adversarial_patch import train_patch

PATCHED = "test-adversarial_patch"


def test_corrupted_queries_go_through_the_stages(tiny: Plan) -> None:
    sets = ["test", "test-gaussian_noise-1", "test-gaussian_noise-5", "test-gaussian_blur-5"]
    plan = changed_plan(tiny, evaluation_sets=sets)
    run = plan.run("digits/fc/100/seed0")
    run_stage(plan, "train", run)
    run_stage(plan, "embed", run)
    features = {}
    for name in sets[1:]:
        run_stage(plan, "embed_queries", run, evaluation_set=name)
    for name in sets:
        run_stage(plan, "evaluate", run, mode="linear", evaluation_set=name)
        features[name] = queries_of(plan, run, name).features
    distance = {name: (features[name] - features["test"]).norm().item() for name in sets}
    assert 0 < distance["test-gaussian_noise-1"] < distance["test-gaussian_noise-5"]
    explained = {item.evaluation_set for item in STAGES["explain"].items(plan)}
    drawn = {evaluation.evaluation_set for evaluation in plan.shown_explanations().values()}
    assert explained == drawn == {"test"}  # pictures show images as they are


def queries_of(plan: Plan, run: RunSpec, name: str) -> Features:
    """The embedded images of an evaluation set."""
    of_run = opened(plan, run)
    return of_run.queries(name, of_run.data_of(name))


def toy_plan(tiny: Plan, model: str, **patch: object) -> Plan:
    settings = {"model": model, "target": 3, "images": 40, "epochs": 2, "iterations": 50, "area": 0.3, **patch}
    models = tiny_study()["models"]
    for name in ("fc", "nw"):
        models[name]["training"] = {"epochs": 20, "batch_size": 20, "lr": 0.003, "optimizer": "adamw"}
    models["nw"]["temperature"] = 0.3
    return changed_plan(tiny, evaluation_sets=["test", PATCHED], adversarial_patch=settings, models=models)


@pytest.mark.parametrize("model", ["fc", pytest.param("nw", marks=pytest.mark.long)])
def test_a_patch_turns_the_decision_and_comes_again(tiny: Plan, model: str) -> None:
    plan = toy_plan(tiny, model)
    run = plan.run(f"digits/{model}/100/seed0")
    run_stage(plan, "train", run)
    run_stage(plan, "train_adversarial_patch", run)
    first = run.adversarial_patch.read_bytes()
    run_stage(plan, "train_adversarial_patch", run)
    assert run.adversarial_patch.read_bytes() == first
    trained = target_log_prob(plan, run)
    stored = read_tensors(run.adversarial_patch)
    plain = stored["mask"] * torch.rand(1, generator=torch.Generator().manual_seed(0))
    save_tensors(run.adversarial_patch, {"patch": plain[None], "mask": stored["mask"]}, run.origin)
    assert trained > target_log_prob(plan, run) + 0.05  # than a patch of one colour


def target_log_prob(plan: Plan, run: RunSpec) -> float:
    """Mean log-probability of the patch's target over the test images that carry it."""
    run_stage(plan, "embed", run)
    run_stage(plan, "embed_queries", run, evaluation_set=PATCHED)
    classifier = opened(plan, run).classifier_with_support()
    log_probs = classifier.predict(queries_of(plan, run, PATCHED), plan.models[run.model].modes[0]).log_probs
    return log_probs[:, 3].clamp_min(-20).mean().item()


def test_what_no_patch_can_be_made_against_is_refused_at_once(tiny: Plan) -> None:
    with pytest.raises(
        LookalikeError, match=r"adversarial_patch.model is 'knn', which has no gradient to follow. Write"
    ):
        toy_plan(tiny, "knn")
    with pytest.raises(LookalikeError, match=r"adversarial_patch.target is 10, but digits has 10 classes"):
        toy_plan(tiny, "fc", target=10)
    plan = toy_plan(tiny, "fc")
    run_stage(plan, "train", plan.run("digits/fc/100/seed0"))
    with pytest.raises(
        LookalikeError, match=r"adversarial_patch.model knn has no gradient to follow; name a model such as fc"
    ):
        run_stage(plan, "train_adversarial_patch", plan.run("digits/knn/100/seed0"))


def test_a_patch_lies_where_its_mask_is(tmp_path: Path, digits: Path) -> None:
    data = PreparedData(digits)
    images = open_images(data, data.rows("train")[:10])
    settings = AdversarialPatchSettings(model="fc", target=0, area=0.2, epochs=1, iterations=1)
    weights = torch.randn(64, 10, generator=torch.Generator().manual_seed(0))

    def log_probs(batch: torch.Tensor) -> torch.Tensor:
        return torch.log_softmax(batch.flatten(1) @ weights, 1)

    patch, mask, _ = train_patch(log_probs, images, settings, 0)
    radius = int(np.sqrt(int(64 * 0.2) / np.pi))
    assert mask.shape == (2 * radius + 1, 2 * radius + 1)
    assert ((patch == 0) | (mask == 1)).all()
    assert patch.min() >= 0
    assert patch.max() <= 1
    place = place_patch({"patch": patch, "mask": mask}, "square", 5)
    some = torch.arange(6)
    plain = images.raw(some)
    patched = place(plain, some)
    touched = (patched != plain).any(1).flatten(1).sum(1)
    assert (touched <= mask.sum()).all()
    assert torch.equal(patched[[3]], place(plain[[3]], some[[3]]))  # its own place, whatever the batch


@pytest.mark.parametrize("shape", ["circle", "square"])
def test_the_patch_has_the_size_of_the_papers(shape: Outline) -> None:
    settings = AdversarialPatchSettings(model="fc")
    mask = patch_mask(shape, settings.area, 299, 299)
    assert mask.sum().item() == pytest.approx(299**2 * 0.05, rel=0.06)
    with pytest.raises(LookalikeError, match=r"adversarial_patch.area 0.001 is less than a pixel of a 8 x 8 image"):
        patch_mask(shape, 0.001, 8, 8)


def test_the_stored_patch_is_a_picture(tiny: Plan) -> None:
    plan = toy_plan(tiny, "fc", shape="square", images=3, epochs=1, iterations=2)
    run = plan.run("digits/fc/100/seed0")
    run_stage(plan, "train", run)
    run_stage(plan, "train_adversarial_patch", run)
    stored = read_tensors(run.adversarial_patch)
    assert stored["patch"].shape == (1, 4, 4)
    assert stored["mask"].shape == (4, 4)
