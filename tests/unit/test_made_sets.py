"""Corruptions, the adversarial patch, critters: made by us, reproducible from a seed."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import tiny_study
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from lookalike.data.corruptions import (
    BLUR,
    NOISE,
    SMALL_BLUR,
    SMALL_NOISE,
    gaussian_blur,
    gaussian_noise,
)
from lookalike.data.images import open_images
from lookalike.data.prepare import prepare_data
from lookalike.data.prepared import PreparedData
from lookalike.data.readers.critters import PARTS, POINTS, Pose, class_codes, class_name
from lookalike.data.settings import SEVERITIES, CrittersSettings
from lookalike.errors import LookalikeError
from lookalike.evaluation.evaluate import evaluate
from lookalike.evaluation.patch import make_patch, patch_mask, patched, train_patch
from lookalike.evaluation.sets import EvaluationSet, evaluation_set
from lookalike.plan import Plan, RunSpec
from lookalike.settings import PatchSettings
from lookalike.study import check_study
from lookalike.support.precompute import embed_queries, load_run, precompute_support
from lookalike.tensors import read_tensors, write_tensors
from lookalike.training.train import train


@pytest.mark.parametrize("size", [(224, 100), (8, 8), (32, 32), (64, 80)])
@pytest.mark.parametrize("severity", SEVERITIES)
def test_blur_is_scipys(severity: int, size: tuple[int, int]) -> None:
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0)).double()
    sigma = SMALL_BLUR[severity - 1] * max(1, min(size) / 32) if min(size) <= 64 else BLUR[severity - 1] * 100 / 224
    expected = np.stack([ndimage.gaussian_filter(i.numpy(), (0, sigma, sigma), mode="nearest") for i in images])
    found = gaussian_blur(images, torch.arange(2), severity, 0).numpy()
    assert np.abs(found - np.floor(expected * 255 + 1e-3) / 255).max() <= 1 / 255 + 1e-9
    assert (found == np.floor(expected * 255 + 1e-3) / 255).mean() > 0.999
    assert np.abs(found - images.numpy()).max() > 0.05  # even the weakest blur is one


@pytest.mark.parametrize("side", [64, 96])
@pytest.mark.parametrize("severity", SEVERITIES)
def test_noise_has_its_strength_and_its_seed(severity: int, side: int) -> None:
    grey = torch.full((4, 3, side, side), 0.5)
    strength = (SMALL_NOISE if side <= 64 else NOISE)[severity - 1]
    ids = torch.tensor([7, 8, 9, 10])
    found = gaussian_noise(grey, ids, severity, 0)
    if strength < 0.2:  # hardly cut off
        assert (found - grey).std().item() == pytest.approx(strength, rel=0.03)
    assert torch.equal(found, gaussian_noise(grey, ids, severity, 0))
    assert not torch.equal(found, gaussian_noise(grey, ids, severity, 1))
    turned = gaussian_noise(grey.flip(0), ids.flip(0), severity, 0).flip(0)
    assert torch.equal(found, turned)  # an image's noise is its own, whatever the batch
    assert torch.equal(found * 255, (found * 255).round())


def test_levels_survive() -> None:
    levels = (torch.arange(256) / 255).view(1, 1, 16, 16)
    from lookalike.data.corruptions import _as_stored

    assert torch.equal((_as_stored(levels) * 255).round(), torch.arange(256.0).view(1, 1, 16, 16))


def test_names_of_evaluation_sets() -> None:
    assert evaluation_set("test") == EvaluationSet("test")
    assert evaluation_set("train-gaussian_blur-5") == EvaluationSet("train", "gaussian_blur", 5)
    assert evaluation_set("validation-patch") == EvaluationSet("validation", patch=True)
    for wrong in ("tset", "test-gaussian_noise", "test-gaussian_noise-6", "test-patch-1", "test-", "testpatch"):
        with pytest.raises(ValueError, match="unknown; write test, train or validation"):
            evaluation_set(wrong)


def changed_plan(tiny: Plan, **changes: object) -> Plan:
    plan = check_study(tiny_study(**changes), "tiny.yaml").plan(tiny.root)
    plan.write()
    return plan


def test_corrupted_queries_go_through_the_stages(tiny: Plan) -> None:
    sets = ["test", "test-gaussian_noise-1", "test-gaussian_noise-5", "test-gaussian_blur-5"]
    plan = changed_plan(tiny, evaluation_sets=sets)
    run = plan.run("digits/fc/100/seed0")
    train(run)
    precompute_support(run)
    features = {}
    for name in sets[1:]:
        embed_queries(run, name)
    for name in sets:
        _, _, queries = load_run(run, name)
        evaluate(run, "linear", name)
        features[name] = queries.features
    distance = {name: (features[name] - features["test"]).norm().item() for name in sets}
    assert 0 < distance["test-gaussian_noise-1"] < distance["test-gaussian_noise-5"]
    assert {e.split for e in plan.explanations()} == {"test"}  # pictures show images as they are


def toy_plan(tiny: Plan, model: str, **patch: object) -> Plan:
    settings = {"model": model, "target": 3, "images": 40, "epochs": 2, "iterations": 50, "area": 0.3, **patch}
    models = tiny_study()["models"]
    for name in ("fc", "nw"):
        models[name]["training"] = {"epochs": 20, "batch_size": 20, "lr": 0.003, "optimizer": "adamw"}
    models["nw"]["temperature"] = 0.3
    return changed_plan(tiny, evaluation_sets=["test", "test-patch"], patch=settings, models=models)


@pytest.mark.parametrize("model", ["fc", "nw"])
def test_a_patch_turns_the_decision_and_comes_again(tiny: Plan, model: str) -> None:
    plan = toy_plan(tiny, model)
    run = plan.run(f"digits/{model}/100/seed0")
    train(run)
    make_patch(run)
    first = run.patch.read_bytes()
    make_patch(run)
    assert run.patch.read_bytes() == first
    trained = target_log_prob(run)
    stored = read_tensors(run.patch)
    plain = stored["mask"] * torch.rand(1, generator=torch.Generator().manual_seed(0))
    write_tensors(run.patch, {"patch": plain[None], "mask": stored["mask"]})
    assert trained > target_log_prob(run) + 0.05  # than a patch of one colour


def target_log_prob(run: RunSpec) -> float:
    """Mean log-probability of the patch's target over the test images that carry it."""
    precompute_support(run)
    embed_queries(run, "test-patch")
    _, classifier, queries = load_run(run, "test-patch")
    found = classifier.predict(queries, run.settings["modes"][0]).log_probs
    return found[:, 3].clamp_min(-20).mean().item()


def test_what_no_patch_can_be_made_against_is_refused_at_once(tiny: Plan) -> None:
    with pytest.raises(LookalikeError, match=r"patch.model is 'knn', which has no gradient to follow. Write"):
        toy_plan(tiny, "knn")
    with pytest.raises(LookalikeError, match=r"patch.target is 10, but digits has 10 classes"):
        toy_plan(tiny, "fc", target=10)
    plan = toy_plan(tiny, "fc")
    train(plan.run("digits/fc/100/seed0"))
    with pytest.raises(LookalikeError, match=r"patch.model knn has no gradient to follow; name a model such as fc"):
        make_patch(plan.run("digits/knn/100/seed0"))


def test_a_patch_lies_where_its_mask_is(tmp_path: Path, digits: Path) -> None:
    data = PreparedData(digits)
    images = open_images(data, data.rows("train")[:10])
    chosen = PatchSettings(model="fc", target=0, area=0.2, epochs=1, iterations=1)
    weights = torch.randn(64, 10, generator=torch.Generator().manual_seed(0))

    def log_probs(batch: torch.Tensor) -> torch.Tensor:
        return torch.log_softmax(batch.flatten(1) @ weights, 1)

    patch, mask, _ = train_patch(log_probs, images, chosen, 0)
    radius = int(np.sqrt(int(64 * 0.2) / np.pi))
    assert mask.shape == (2 * radius + 1, 2 * radius + 1)
    assert ((patch == 0) | (mask == 1)).all()
    assert patch.min() >= 0
    assert patch.max() <= 1
    write_tensors(tmp_path / "patch.safetensors", {"patch": patch, "mask": mask})
    put = patched(tmp_path / "patch.safetensors", "square", 5)
    some = torch.arange(6)
    plain = images.raw(some)
    found = put(plain, some)
    touched = (found != plain).any(1).flatten(1).sum(1)
    assert (touched <= mask.sum()).all()
    assert torch.equal(found[[3]], put(plain[[3]], some[[3]]))  # its own place, whatever the batch


@pytest.mark.parametrize("shape", ["circle", "square"])
def test_the_patch_has_the_size_of_the_papers(shape: str) -> None:
    mask = patch_mask(PatchSettings(model="fc", shape=shape), 299, 299)
    assert mask.sum().item() == pytest.approx(299**2 * 0.05, rel=0.06)
    with pytest.raises(LookalikeError, match=r"patch.area 0.001 is less than a pixel of a 8 x 8 image"):
        patch_mask(PatchSettings(model="fc", shape=shape, area=0.001), 8, 8)


# Critters -------------------------------------------------------------------------------------------


def draw(folder: Path, **options: object) -> PreparedData:
    chosen = CrittersSettings(source="critters", **options)  # type: ignore[arg-type]
    prepare_data(chosen, folder / chosen.prepared)
    return PreparedData(folder / chosen.prepared, chosen)


SMALL = {"size": 24, "train": 60, "test": 40}


def test_critters_come_again_and_have_their_own_randomness(tmp_path: Path) -> None:
    first, again = draw(tmp_path / "a", **SMALL), draw(tmp_path / "b", **SMALL)
    assert first.manifest["files"] == again.manifest["files"]
    other = draw(tmp_path / "a", **SMALL, seed=1)
    assert other.folder != first.folder
    assert (other.images[0] != first.images[0]).any()
    more = draw(tmp_path / "a", **{**SMALL, "train": 90})
    np.testing.assert_array_equal(more.images[:60], first.images[:60])
    assert np.bincount(first.index["label"][first.rows("test")]).tolist() == [4] * 10


@pytest.mark.parametrize("rate", [None, 0.0, 0.5, 1.0])
def test_scenes_follow_the_class_in_training_only(tmp_path: Path, rate: float | None) -> None:
    data = draw(tmp_path, size=16, train=1200, test=1200, scene_rate=rate)
    own = data.index["environment"] == data.index["label"] % 4
    expected = 0.25 if rate is None else rate
    assert own[data.rows("train")].mean() == pytest.approx(expected, abs=0.05)
    assert own[data.rows("test")].mean() == pytest.approx(0.25, abs=0.05)


def test_key_points_lie_on_what_they_name(tmp_path: Path) -> None:
    data = draw(tmp_path, size=96, train=200, test=10, classes=5)
    points = data.column("points").reshape(-1, len(POINTS), 3)
    visible = points[..., 2] == 1
    assert ((points[..., :2] >= 0) & (points[..., :2] < 96))[visible].all()
    codes = data.manifest["codes"]
    for name, part in (("left ear", "ears"), ("wing", "wings"), ("tail", "tail")):
        has = np.array([codes[label][part] > 0 for label in data.index["label"]])
        shown = visible[:, POINTS.index(name)]
        assert not shown[~has].any()
        assert shown[has].mean() > 0.7
    eye = points[:, POINTS.index("eye")]
    for row in np.flatnonzero(eye[:, 2] == 1)[:60]:
        x, y = int(eye[row, 0]), int(eye[row, 1])
        patch = data.images[row][:, max(y - 3, 0) : y + 4, max(x - 3, 0) : x + 4].astype(int)
        assert patch.max(0).min() < 60  # the pupil is black


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), u=st.floats(-1, 1), v=st.floats(-1, 1))
def test_poses_are_inverted(seed: int, u: float, v: float) -> None:
    pose = Pose(np.random.RandomState(seed))
    x, y = pose.to_image(u, v)
    back = pose.to_creature(np.array(x), np.array(y))
    np.testing.assert_allclose(back, (u, v), atol=1e-12)


@pytest.mark.parametrize("count", [2, 10, 60, 200])
def test_classes_differ_in_several_parts(count: int) -> None:
    codes = class_codes(count)
    assert len({class_name(code) for code in codes}) == count
    assert codes == class_codes(200)[:count]
    pairs = [(a, b) for row, a in enumerate(codes) for b in codes[:row]]
    assert min(sum(x != y for x, y in zip(a, b, strict=True)) for a, b in pairs) >= (4 if count <= 10 else 2)
    assert len(codes[0]) == len(PARTS)


def test_the_stored_patch_is_a_picture(tiny: Plan) -> None:
    plan = toy_plan(tiny, "fc", shape="square", images=3, epochs=1, iterations=2)
    run = plan.run("digits/fc/100/seed0")
    train(run)
    make_patch(run)
    stored = read_tensors(run.patch)
    assert stored["patch"].shape == (1, 4, 4)
    assert stored["mask"].shape == (4, 4)
