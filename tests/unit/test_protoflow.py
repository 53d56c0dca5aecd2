"""The flow's exact inverse and bounds, mixtures against torch's distributions, the classifier through its stages."""

import argparse
import math
import pickle
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from conftest import tiny_study
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.numpy import load_file
from torch import distributions

from lookalike.backbones.build import make_backbone
from lookalike.backbones.dense_flow import DenseFlowBackbone, content_seeds
from lookalike.data.images import open_images
from lookalike.data.prepare import prepare_data
from lookalike.data.prepared import open_data, open_queries
from lookalike.data.settings import entry_settings
from lookalike.determinism import generator
from lookalike.errors import LookalikeError
from lookalike.evaluation.collect import collect_metrics, measure_predictions, read_predictions
from lookalike.evaluation.evaluate import evaluate
from lookalike.explanation.explain import explain
from lookalike.explanation.prototypes import show_prototypes
from lookalike.explanation.record import read_explanations
from lookalike.methods.base import Batch, Embedded
from lookalike.methods.build import build_classifier, load_classifier
from lookalike.methods.protoflow import losses
from lookalike.methods.protoflow.classifier import Model, Settings
from lookalike.methods.protoflow.flow.dense_flow import DenseFlow, FlowShape
from lookalike.methods.protoflow.prototypes import Prototypes, component_log_prob
from lookalike.methods.protoflow.start import start_prototypes
from lookalike.packs import packs
from lookalike.plan import Evaluation, Plan
from lookalike.settings import BackboneSettings
from lookalike.study import check_study
from lookalike.support.precompute import embed_queries, load_run, precompute_support
from lookalike.tensors import read_tensors
from lookalike.training.train import train

SMALL = FlowShape((2, 1), (1, 1), (8, 8), 2, 1, 4, 1, 4, 4, 1, 4)


def shaken(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """With every parameter away from where it starts: a fresh flow's couplings are the identity."""
    made = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in module.parameters():
            value += 0.1 * torch.randn(value.shape, generator=made)
    return module.eval()


def levels(count: int, *shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (count, *shape), generator=torch.Generator().manual_seed(seed))


@given(st.integers(1, 3), st.sampled_from([8, 16]), st.integers(0, 99))
@settings(deadline=None, max_examples=10)
@torch.no_grad()
def test_decoding_what_was_encoded_gives_the_very_image(channels: int, side: int, seed: int) -> None:
    flow = shaken(DenseFlow((channels, side, side), SMALL), seed)
    x = levels(3, channels, side, side, seed=seed)
    found = flow.encode(x, flow.draw_noises(3, torch.Generator().manual_seed(seed)))
    decoded = flow.decode(found.z, found.dropped)
    assert torch.equal(flow.to_pixels(decoded), x)
    assert float((decoded - (x + 0.5) / 256).abs().max()) <= 0.5 / 256 + 1e-5
    one = flow.encode(x[1:2], [noise[1:2] for noise in found.noises])
    torch.testing.assert_close(one.z, found.z[1:2], atol=1e-5, rtol=1e-4)  # whatever is beside it
    torch.testing.assert_close(one.ldj, found.ldj[1:2])


def test_the_log_determinant_is_that_of_the_derivative() -> None:
    """Of everything behind the dequantization, with latents, dropped halves and the bound's own terms."""
    flow = shaken(DenseFlow((1, 8, 8), FlowShape((1, 1), (1, 1), (8, 8), 2, 1, 4, 1, 4, 4, 1, 4))).double()
    x = levels(1, 1, 8, 8)
    noises = flow.draw_noises(1, torch.Generator().manual_seed(0))
    found = flow.encode(x, noises)
    z, _ = flow.transforms[0](x, noises[0])

    def forward(flat: torch.Tensor) -> torch.Tensor:
        value = flow.transforms[1](flat.view(1, 1, 8, 8))[0]
        parts = []
        for layer in flow.transforms[2:]:
            if type(layer).__name__ == "Transition":
                value, half, _ = layer(value)
                parts.append(half.flatten())
            elif type(layer).__name__ == "Squeeze":
                value = torch.nn.functional.pixel_unshuffle(value, 2)
            else:
                value = layer(value, [])[0]
        return torch.cat([value.flatten(), *parts])

    derivative = torch.autograd.functional.jacobian(forward, z.detach().flatten())
    dropped = torch.cat([half.flatten() for half in found.dropped])
    normal = distributions.Normal(0.0, 1.0).log_prob(dropped).sum()
    wanted = torch.linalg.slogdet(derivative)[1] + normal
    torch.testing.assert_close((found.ldj - found.parts[0])[0], wanted, atol=1e-6, rtol=1e-6)


def test_gradients_go_through_the_inverse() -> None:
    flow = shaken(DenseFlow((1, 8, 8), SMALL))
    latent = torch.zeros(1, *flow.out_shape, requires_grad=True)
    halves = [torch.zeros(1, *shape) for shape in flow.dropped_shapes()]
    flow.decode(latent, halves).sum().backward()
    assert float(latent.grad.abs().max()) > 0


@pytest.mark.parametrize(
    ("image", "shape", "message"),
    [
        ((3, 28, 28), FlowShape(), r"images of 28 x 28 pixels do not fit a flow of 3 blocks, .* nearest .* is 32 x 32"),
        ((1, 8, 8), FlowShape(), r"images of 8 x 8 pixels do not fit a flow of 3 blocks, .* is 16 x 16"),
        (
            (1, 8, 8),
            FlowShape((2, 1), (1, 1), (8, 8), 3),
            r"growth is 3, but couplings halve the channels; take an even",
        ),
    ],
)
def test_sizes_that_do_not_fit(image: tuple[int, int, int], shape: FlowShape, message: str) -> None:
    with pytest.raises(LookalikeError, match=message):
        DenseFlow(image, shape)


def test_values_that_are_no_levels() -> None:
    flow = DenseFlow((1, 8, 8), SMALL)
    noises = flow.draw_noises(1, torch.Generator())
    for wrong in (torch.full((1, 1, 8, 8), 256), torch.full((1, 1, 8, 8), -1), torch.rand(1, 1, 8, 8)):
        with pytest.raises(LookalikeError, match=r"a flow takes integers from 0 to 255, not"):
            flow.encode(wrong, noises)


@pytest.mark.parametrize("kind", ["diagonal", "isotropic", "per_channel"])
def test_mixtures_are_torchs(kind: str) -> None:
    torch.manual_seed(0)
    model = Prototypes(3, 2, (4, 2, 2), kind).double()
    with torch.no_grad():
        model.log_var.normal_(0, 0.5)
        model.logits.normal_()
    z = torch.randn(5, 4, 2, 2).double()
    for label in range(3):
        normal = distributions.Normal(model.means()[label], (model.log_vars()[label] / 2).exp())
        mixture = distributions.MixtureSameFamily(
            distributions.Categorical(logits=model.logits[label]), distributions.Independent(normal, 1)
        )
        torch.testing.assert_close(model(z)[:, label], mixture.log_prob(z.flatten(1)))
    best = model.weighted(z).amax(2)
    torch.testing.assert_close(model(z, "max"), best)


def test_far_latents_keep_their_digits() -> None:
    """Squares of large numbers leave no digits in float32 unless both sides move to the middle first."""
    made = torch.Generator().manual_seed(0)
    z, means = (1000 + torch.randn(*shape, generator=made) for shape in ((4, 512), (2, 3, 512)))
    log_vars = torch.zeros(2, 3, 512)
    wanted = component_log_prob(z.double(), means.double(), log_vars.double())
    assert float((component_log_prob(z, means, log_vars) - wanted).abs().max()) < 0.01


def test_samples_are_of_the_prototype() -> None:
    model = Prototypes(2, 2, (1, 2, 2))
    made = torch.Generator().manual_seed(0)
    with torch.no_grad():
        model.log_var.fill_(math.log(4))
    found = model.sample(1, 0, 20_000, made).flatten(1)
    torch.testing.assert_close(found.mean(0), model.mean[1, 0].detach(), atol=0.06, rtol=0)
    torch.testing.assert_close(found.std(0), torch.full((4,), 2.0), atol=0.06, rtol=0)
    cool = model.sample(1, 0, 20_000, made, temperature=0.5).flatten(1)
    torch.testing.assert_close(cool.std(0), torch.full((4,), 1.0), atol=0.03, rtol=0)
    near = (model.sample(1, 0, 20_000, made, within=1.0).flatten(1) - model.mean[1, 0]).abs()
    assert float(near.max().detach()) <= 2 + 1e-4
    assert torch.equal(model.sample(1, 0, 1, made, temperature=0).flatten(), model.mean[1, 0].detach())


def test_diversity_far_from_unit_variance_is_a_number() -> None:
    means = torch.randn(2, 3, 4928, generator=torch.Generator().manual_seed(0))
    for variance in (0.9, 1.1, 1e-6, 1e6):
        assert bool(losses.diversity_loss(means, torch.full_like(means, math.log(variance))).isfinite())
    assert float(losses.diversity_loss(means[:, :1], means[:, :1])) == 0


def protoflow_study(**changes: object) -> dict:
    entry = {
        "method": "protoflow",
        "backbone": {"name": "dense_flow_small"},
        "training": {"epochs": 2, "batch_size": 32, "optimizer": "adamw", "lr": 0.005, "clip_gradient": 100},
        "prototypes": {"components": 2},
        "losses": {"consistency": 2, "diversity": True},
        "inference": {"samples": 2},
        **changes,
    }
    return tiny_study(models={"protoflow": entry})


def plan_of(tiny: Plan, **changes: object) -> Plan:
    plan = check_study(protoflow_study(**changes), "tiny.yaml").plan(tiny.root)
    plan.write()
    return plan


def test_through_the_stages(tiny: Plan) -> None:
    run = plan_of(tiny).run("digits/protoflow/100/seed0")
    train(run)
    first = (run.folder / "model.safetensors").read_bytes()
    (run.folder / "run.json").unlink()
    train(run)
    assert (run.folder / "model.safetensors").read_bytes() == first
    precompute_support(run)
    evaluate(run, "posterior", "test")
    rows = pq.read_table(run.predictions("posterior", "test")).to_pandas()
    assert rows.bits_per_dim.between(3, 12).all()
    data, model, queries = load_run(run, "test")
    some = queries.rows(slice(0, 7))
    dims, width = 64, math.prod(model.backbone.flow.out_shape) + 1
    for number in range(7):
        joint = []
        for features in some.features[number].view(2, width).double():
            own = model.double().prototypes.weighted(features[None, :-1])[0]  # (C, K)
            joint.append(own.logsumexp(1) + features[-1])
        density = torch.stack(joint).logsumexp(0) - math.log(2)  # the mean of densities
        posterior = (density - density.logsumexp(0)).exp()
        assert rows.confidence[number] == pytest.approx(float(posterior.max()), abs=1e-4)
        bits = -(float(density.logsumexp(0)) - math.log(10)) / (dims * math.log(2))
        assert rows.bits_per_dim[number] == pytest.approx(bits, abs=1e-4)
    model.float()
    images = torch.from_numpy(data.images[data.rows("test")[:6]]).float()
    torch.testing.assert_close(model.embed(images)[2:4], model.embed(images[2:4]), atol=1e-4, rtol=1e-4)
    whole = torch.from_numpy(data.images[data.rows("test")]).long()
    with torch.no_grad():
        found = model.backbone.flow.encode(whole, model.backbone.noises_of(whole, 0))
        decoded = model.backbone.flow.decode(found.z, found.dropped)
    assert int((model.backbone.flow.to_pixels(decoded) != whole).sum()) == 0


def test_training_starts_from_the_data(tiny: Plan) -> None:
    run = plan_of(tiny).run("digits/protoflow/100/seed0")
    data = open_data(run)
    assert data.mean == [0.0]
    model = build_classifier(run, data)
    pool = open_images(data, data.training_rows(run))
    model.start_training(pool, torch.Generator().manual_seed(0), 32)
    inside = [m for m in model.modules() if type(m).__name__ == "ActNorm"]
    assert all(float(layer.initialized) == 1 for layer in inside)
    latents = model.backbone.feature_map(pool.take(torch.arange(len(pool)))).flatten(1)
    own = latents[pool.labels == 3]
    apart = torch.cdist(own, model.prototypes.mean[3]).min(1).values.mean()
    others = torch.cdist(own, model.prototypes.mean[[0, 1, 2]].flatten(0, 1)).min(1).values.mean()
    assert apart.item() < others.item()


def test_noise_depends_on_the_pixels_alone() -> None:
    images = levels(3, 1, 8, 8)
    seeds = content_seeds(images, 0)
    assert len(set(seeds)) == 3
    assert content_seeds(images.flip(0).float(), 0) == seeds[::-1]
    assert content_seeds(images, 1) != seeds
    images[0, 0, 7, 7] ^= 1
    assert content_seeds(images, 0)[0] != seeds[0]


def test_what_protoflow_needs(tmp_path: Path) -> None:
    settings = Settings(method="protoflow", backbone={"name": "dense_flow_small"})
    small = make_backbone(BackboneSettings(name="small_cnn"), (1, 8, 8))
    with pytest.raises(LookalikeError, match=r"protoflow needs an invertible network; write backbone: \{name: dense_"):
        Model(settings, small, 10)
    flow = make_backbone(BackboneSettings(name="dense_flow_small"), (1, 8, 8))
    assert isinstance(flow, DenseFlowBackbone)
    torch.save({"model": {"x": 1}}, tmp_path / "flow.pt")
    with pytest.raises(LookalikeError, match=r"flow.pt"):
        make_backbone(BackboneSettings(name="dense_flow_small", weights=str(tmp_path / "flow.pt")), (1, 8, 8))
    published = {f"module.{name}": value for name, value in shaken(flow.flow).state_dict().items()}
    torch.save(published, tmp_path / "flow.pt")
    again = make_backbone(BackboneSettings(name="dense_flow_small", weights=str(tmp_path / "flow.pt")), (1, 8, 8))
    assert all(torch.equal(value, again.flow.state_dict()[name]) for name, value in flow.flow.state_dict().items())
    model = Model(settings, flow, 10).eval()
    features = model.embed(levels(2, 1, 8, 8).float())
    assert model.predict(Embedded.unlabelled(features), "posterior").log_probs.shape == (2, 10)


def test_bad_steps_are_left_out_and_the_third_in_a_row_stops(tiny: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    training = {"epochs": 4, "batch_size": 32, "optimizer": "adamw", "lr": 0.005, "checkpoint_seconds": 0}
    run = plan_of(tiny, training=training).run("digits/protoflow/100/seed0")
    steps, bad, loss_of = [], {1, 2, 4, 9, 10, 11}, Model.training_loss

    def sometimes(self: Model, batch: object) -> tuple[torch.Tensor, torch.Tensor]:
        loss, answers = loss_of(self, batch)
        steps.append({name: value.clone() for name, value in self.state_dict().items()})
        return loss * math.nan if len(steps) - 1 in bad else loss, answers

    monkeypatch.setattr(Model, "training_loss", sometimes)
    with pytest.raises(
        LookalikeError, match=r"not finite 3 times in a row, last at step 11 \(epoch 3\); none of these"
    ):
        train(run)
    assert len(steps) == 12
    weights = [step["prototypes.mean"] for step in steps]
    moved = [not torch.equal(weights[n], weights[n + 1]) for n in range(11)]
    assert moved == [n not in bad for n in range(11)]
    kept = torch.load(run.folder / "checkpoint.pt", weights_only=True)
    assert all(bool(torch.isfinite(value).all()) for value in kept["network"].values())
    running = next(name for name in steps[0] if name.endswith("running_mean"))
    assert torch.equal(kept["network"][running], steps[8][running])  # after step 8, the last good one
    assert not (run.folder / "model.safetensors").exists()


def test_an_average_of_weights(tiny: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """The average is recomputed from the weights after each step, the running statistics from all training images."""
    training = {"epochs": 2, "batch_size": 50, "optimizer": "adamw", "lr": 0.005, "ema": 0.7}
    run = plan_of(tiny, training=training, losses={}).run("digits/protoflow/100/seed0")
    seen, loss_of = [], Model.training_loss

    def watched(self: Model, batch: object) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append(self.prototypes.mean.detach().clone())
        return loss_of(self, batch)

    monkeypatch.setattr(Model, "training_loss", watched)
    train(run)
    data = open_data(run)
    model, averaged = load_classifier(run, data), load_classifier(run, data)
    plain = plan_of(tiny, training={**training, "ema": None}, losses={}).run(run.id)
    train(plain)
    after = [*seen[1:4], load_classifier(plain, data).prototypes.mean]
    average = after[0]
    for weights in after[1:]:
        average = 0.7 * average + 0.3 * weights
    torch.testing.assert_close(model.prototypes.mean, average)
    norm = next(layer for layer in model.modules() if isinstance(layer, torch.nn.BatchNorm2d))
    inputs = []
    norm.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    pool = open_images(data, data.training_rows(run))
    model.train()
    with torch.no_grad():
        for number, rows in enumerate(torch.arange(100).split(50)):
            made = {"noise": generator(run.seed_for("average", "noise", number))}
            model.training_loss(Batch(pool.take(rows), pool.labels[rows], rows, pool, made))
    means = torch.stack([one.mean((0, 2, 3)) for one in inputs]).mean(0)
    kept = next(layer for layer in averaged.modules() if isinstance(layer, torch.nn.BatchNorm2d))
    torch.testing.assert_close(kept.running_mean, means, atol=1e-5, rtol=1e-4)


def test_a_flow_of_another_run_starts_the_classifier(tiny: Plan) -> None:
    quick = {"epochs": 1, "batch_size": 50, "optimizer": "adamw", "lr": 0.005}
    study = protoflow_study()
    study["models"] = {
        "flow": {"method": "dense_flow", "training": quick},
        "frozen": {**study["models"]["protoflow"], "backbone_from": "flow", "trains": "prototypes", "training": quick},
        "knn": {"method": "knn", "backbone_from": "frozen", "inference": {"voters": 5}},
        "means": {**study["models"]["protoflow"], "backbone_from": "flow", "trains": "means", "training": quick},
    }
    for name in ("frozen", "means"):
        del study["models"][name]["backbone"]
    plan = check_study(study, "tiny.yaml").plan(tiny.root)
    plan.write()
    assert {e.run.model for e in plan.evaluations()} == {"flow", "frozen", "knn", "means"}
    flow, frozen, means = (plan.run(f"digits/{name}/100/seed0") for name in ("flow", "frozen", "means"))
    for run in (flow, frozen, means):
        train(run)
    history = (flow.folder / "history.csv").read_text().splitlines()
    assert 3 < float(history[1].split(",")[1]) < 12  # bits a dimension
    assert history[1].split(",")[2] == "nan"
    read = [read_tensors(run.folder / "model.safetensors") for run in (flow, frozen, means)]
    for name, value in read[0].items():
        assert torch.equal(read[1][name], value), name  # statistics of batches too
    moved = "backbone.flow.transforms.3.blocks.0.transforms.0.transforms.1.weight"
    assert not torch.equal(read[2][moved], read[0][moved])
    assert float(read[2]["prototypes.log_var"].abs().max()) == 0
    knn = plan.run("digits/knn/100/seed0")
    precompute_support(knn)
    evaluate(knn, "vote", "test")
    precompute_support(flow)
    evaluate(flow, "density", "test")
    found = read_predictions(Evaluation(flow, "density", "test"))
    assert list(found) == ["id", "label", "log_density", "bits_per_dim"]
    data = open_data(flow)
    model = load_classifier(flow, data)
    seen = open_images(data, data.rows("test")[:4]).take(torch.arange(4))
    with torch.no_grad():
        encoded = model.backbone.encode(seen, model.backbone.noises_of(seen, 0))
        density = encoded.ldj + model.backbone.flow.log_base(encoded.z)
    np.testing.assert_allclose(found.log_density[:4], density, rtol=1e-4)
    np.testing.assert_allclose(found.bits_per_dim, -found.log_density / np.log(2) / 64, rtol=1e-6)
    measured = measure_predictions(found)
    assert measured == {"n": len(found), "bits_per_dim": pytest.approx(found.bits_per_dim.mean())}
    with pytest.raises(LookalikeError, match="dense_flow classifies nothing"):
        build_classifier(flow, open_data(flow)).predict(Embedded.unlabelled(torch.zeros(1, 1)), "posterior")


def test_explanations_and_pictures(tiny: Plan) -> None:
    run = plan_of(tiny, inference={"samples": 2, "views": True}).run("digits/protoflow/100/seed0")
    train(run)
    precompute_support(run)
    explain(run, "posterior", "test")
    show_prototypes(run, "test")
    data, model, queries = load_run(run, "test")
    found = load_file(run.prototypes("test"))
    assert {name: value.shape for name, value in found.items()} == {
        "picture": (10, 2, 1, 8, 8),
        "samples": (10, 2, 3, 1, 8, 8),
        "temperatures": (3,),
        "between": (4, 8, 1, 8, 8),
        "ends": (4, 2),
        "nearest": (10, 2, 5),
        "usage": (10, 2),
        "pruned": (11, 2),
    }
    flow = model.backbone.flow
    with torch.no_grad():
        halves = [torch.zeros(1, *shape) for shape in flow.dropped_shapes()]
        own = flow.to_pixels(flow.decode(model.prototypes.mean[3, 1].view(1, *flow.out_shape), halves))[0]
    assert np.abs(found["picture"][3, 1].astype(int) - own.numpy()).max() <= 1
    # Nearest training images and use, recomputed one image at a time.
    pool = open_images(data, data.training_rows(run))
    with torch.no_grad():
        features = model.embed(pool.take(torch.arange(100)))
        parts = features.unflatten(1, (2, -1))
        near = torch.stack([model.prototypes.weighted(parts[:, s, :-1]) for s in range(2)]).mean(0)[:, 3, 1]
        joint = model.joint(Embedded.unlabelled(features))
    assert pool.ids[near.argsort(descending=True, stable=True)[:5]].tolist() == found["nearest"][3, 1].tolist()
    share = joint[pool.labels == 3, 3].softmax(1).mean(0)
    torch.testing.assert_close(torch.from_numpy(found["usage"][3]), share, atol=1e-4, rtol=1e-4)
    # Pruning, one prototype at a time.
    rest, usage = model.joint(queries), found["usage"]
    order = sorted(
        ((usage[c, k], c, k) for c in range(10) for k in range(2) if k != usage[c].argmax()), key=lambda one: one[0]
    )
    for kept, accuracy in found["pruned"]:
        left_out = {(c, k) for _, c, k in order[: 20 - int(kept)]}
        hits = 0
        for row, label in zip(rest, queries.labels, strict=True):
            best = [row[c][[k for k in range(2) if (c, k) not in left_out]].logsumexp(0) for c in range(10)]
            hits += int(torch.stack(best).argmax()) == int(label)
        assert accuracy == pytest.approx(hits / len(queries))
    record = read_explanations(run.explanations("posterior", "test"))[0]
    row = queries.ids.tolist().index(record.query)
    probabilities = model.predict(queries, "posterior").log_probs[row].exp()
    best = record.prototypes[0]
    within = rest[row, best.label].softmax(0)
    assert best.responsibility == pytest.approx(float(within[best.component]), abs=1e-4)
    assert best.weight == pytest.approx(float(probabilities[best.label] * within[best.component]), abs=1e-4)
    assert [match.weight for match in record.prototypes] == sorted((m.weight for m in record.prototypes), reverse=True)
    assert np.array_equal(np.array(best.picture)[..., 0], found["picture"][best.label, best.component, 0])


def test_more_draws_average_densities_and_the_original_averages_logarithms(tiny: Plan) -> None:
    flow = make_backbone(BackboneSettings(name="dense_flow_small"), (1, 8, 8))
    flow = shaken(flow)
    entry = {"method": "protoflow", "backbone": {"name": "dense_flow_small"}, "prototypes": {"components": 3}}
    images = levels(4, 1, 8, 8).float()
    for compat in (False, True):
        model = Model(Settings(**entry, inference={"samples": 3, "compat": compat}), flow, 5).eval()
        with torch.no_grad():
            model.prototypes.mean.normal_(generator=torch.Generator().manual_seed(1))
            features = model.embed(images)
            found = model.predict(Embedded.unlabelled(features), "posterior").log_probs.double().exp()
        for row in range(4):
            classes = []
            for part in features[row].view(3, -1).double():
                own = model.double().prototypes.weighted(part[None, :-1])[0].logsumexp(1) + part[-1]
                classes.append(own)
            model.float()
            mean = torch.stack(classes).mean(0) if compat else torch.stack(classes).logsumexp(0)
            torch.testing.assert_close(found[row], mean.softmax(0).detach(), atol=1e-4, rtol=1e-3)


def published(flow: DenseFlowBackbone, folder: Path) -> Path:
    """A folder as the authors' training leaves it."""
    (folder / "check").mkdir(parents=True)
    state = {f"module.{name}": value for name, value in flow.flow.state_dict().items()}
    torch.save({"current_epoch": 3, "model": state, "optimizer": {"state": {}}}, folder / "check" / "checkpoint.pt")
    shape = flow.flow.shape
    arguments = argparse.Namespace(
        block_conf=list(shape.units), layers_conf=list(shape.modules), layer_mid_chnls=list(shape.mid), growth_rate=4
    )
    (folder / "args.pickle").write_bytes(pickle.dumps(arguments))
    return folder / "check" / "checkpoint.pt"


def test_published_flows(tmp_path: Path) -> None:
    flow = shaken(make_backbone(BackboneSettings(name="dense_flow_small"), (1, 8, 8)))
    path = published(flow, tmp_path / "authors")
    settings = BackboneSettings(name="dense_flow_small", weights=str(path))
    again = make_backbone(settings, (1, 8, 8))
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in flow.state_dict().items())
    with pytest.raises(LookalikeError, match=r"base_dist.loc is 1 x 4 x 1 x 1, not 1 x 12 x 1 x 1; .*, and \d+ more; "):
        make_backbone(settings, (3, 8, 8))
    arguments = argparse.Namespace(block_conf=[6, 4, 1], layers_conf=[5, 6, 20], growth_rate=10)
    (path.parent.parent / "args.pickle").write_bytes(pickle.dumps(arguments))
    with pytest.raises(LookalikeError, match=r"args.pickle has block_conf \[6, 4, 1\], this flow \[2, 1\]"):
        make_backbone(settings, (1, 8, 8))
    (path.parent.parent / "args.pickle").write_bytes(pickle.dumps(print))
    with pytest.raises(LookalikeError, match=r"args.pickle is no file of settings \(it names builtins.print\)"):
        make_backbone(settings, (1, 8, 8))
    (path.parent.parent / "args.pickle").write_bytes(pickle.dumps([1]))
    with pytest.raises(LookalikeError, match="it holds a list"):
        make_backbone(settings, (1, 8, 8))


def test_a_published_classifier_needs_no_training(tiny: Plan, tmp_path: Path) -> None:
    """Mixtures as the authors store them: the density of their v is that of variance sqrt(v)."""
    flow = shaken(make_backbone(BackboneSettings(name="dense_flow_small"), (1, 8, 8)))
    made = torch.Generator().manual_seed(3)
    dims = math.prod(flow.flow.out_shape)
    state = {f"model.{n}": v for n, v in flow.flow.state_dict().items() if not n.startswith("base_dist.")}
    mixtures = [
        [torch.randn(1, 2, dims, generator=made), 0.5 + torch.rand(1, 2, dims, generator=made)] for _ in range(10)
    ]
    for label, (mean, variance) in enumerate(mixtures):
        state |= {f"gmms.{label}.mu": mean, f"gmms.{label}.var": variance, f"gmms.{label}.pi": torch.zeros(1, 2, 1)}
    torch.save({"global_step": 1, "model": state, "epoch": 1}, tmp_path / "checkpoint_final.pt")
    backbone = {"name": "dense_flow_small", "weights": str(tmp_path / "checkpoint_final.pt")}
    prototypes = {"components": 2, "start": "weights"}
    plan = plan_of(tiny, backbone=backbone, prototypes=prototypes, training=None, inference={})
    run = plan.run("digits/protoflow/100/seed0")
    assert not run.trained
    precompute_support(run)
    evaluate(run, "posterior", "test")
    _, model, queries = load_run(run, "test")
    z = queries.features[:5, :-1].double()
    for label in (0, 7):
        mean, variance = (value[0].double() for value in mixtures[label])
        parts = [
            distributions.Normal(m, v.sqrt().sqrt()).log_prob(z).sum(1) for m, v in zip(mean, variance, strict=True)
        ]
        expected = torch.stack(parts).logsumexp(0) - math.log(2)
        torch.testing.assert_close(model.prototypes(z.float())[:, label].double(), expected, atol=1e-2, rtol=1e-5)
    more = {**state, "gmms.10.mu": mixtures[0][0]}
    with pytest.raises(LookalikeError, match="has mixtures of 11 classes, the data set 10"):
        model.prototypes.load_checkpoint(more)
    with pytest.raises(LookalikeError, match="mixtures do not fit 10 classes of 3 components"):
        build_classifier(
            plan_of(tiny, backbone=backbone, prototypes={**prototypes, "components": 3}).run(run.id), open_data(run)
        )


def test_expectation_maximisation_starts_variances_and_weights(tiny: Plan) -> None:
    prototypes = Prototypes(2, 2, (3, 1, 2))
    made = torch.Generator().manual_seed(0)
    latents = torch.cat([torch.randn(60, 6, generator=made) * 0.2 + 5, torch.randn(20, 6, generator=made) - 5])
    labels = torch.zeros(80, dtype=torch.int64)
    labels[::2] = 1
    start_prototypes(prototypes, latents, labels, made, fit=True)
    for label in (0, 1):
        order = prototypes.mean[label].mean(1).argsort()
        low, high = (
            latents[(labels == label) & (latents.mean(1) < 0)],
            latents[(labels == label) & (latents.mean(1) > 0)],
        )
        torch.testing.assert_close(prototypes.mean[label, order[0]], low.mean(0), atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(
            prototypes.log_var[label, order[1]].exp(), high.var(0, correction=0), atol=1e-3, rtol=1e-2
        )
        torch.testing.assert_close(
            prototypes.logits[label].softmax(0)[order[0]], torch.tensor(0.25), atol=1e-3, rtol=1e-3
        )
    shared = Prototypes(2, 2, (3, 1, 2), "per_channel")
    start_prototypes(shared, latents, labels, made, fit=True)
    assert shared.mean.shape == (2, 2, 3)
    assert bool(torch.isfinite(shared.log_var).all())


def test_no_image_of_a_known_class(tiny: Plan) -> None:
    """Creatures as digits would be seen: grey, small, in whole levels; scores recomputed pair by pair."""
    creatures = {"source": "critters", "size": 16, "train": 4, "test": 12, "classes": 2, "outliers_for": "digits"}
    study = protoflow_study()
    study |= {"sizes": [50, 100], "datasets": {"digits": {}, "creatures": {**creatures, "sizes": [100]}}}
    study["models"]["fc"] = {"method": "fc", "training": {"epochs": 1, "batch_size": 50}}
    plan = check_study(study, "tiny.yaml").plan(tiny.root)
    plan.write()
    prepare_data(entry_settings(plan.datasets["creatures"]), plan.data_folder("creatures"))
    assert [(e.run.id, e.split) for e in plan.outliers()] == [
        (f"digits/{model}/100/seed0", "creatures") for model in ("protoflow", "fc")
    ]
    assert "creatures" not in {e.split for e in plan.evaluations()}
    for run in plan.runs():
        train(run)
        precompute_support(run)
        for mode in run.settings["modes"]:
            evaluate(run, mode, "test")
    for evaluation in plan.outliers():
        embed_queries(evaluation.run, "creatures")
        evaluate(evaluation.run, evaluation.mode, "creatures")
    data = open_data(plan.run("digits/protoflow/100/seed0"))
    asked = open_queries(plan.run("digits/protoflow/100/seed0"), data, "creatures")
    seen = open_images(asked, asked.rows("test")).take(torch.arange(2))
    assert seen.shape == (2, 1, 8, 8)
    assert torch.equal(seen, seen.round())
    picture = Image.fromarray(np.moveaxis(np.asarray(asked.images[asked.rows("test")[0]]), 0, -1)).convert("L")
    small = np.asarray(picture.resize((8, 8), Image.Resampling.BILINEAR), np.float32)
    assert np.abs(seen[0, 0].numpy() - small).max() <= 1.5
    collect_metrics(plan)
    scores = pd.read_csv(plan.folder / "tables" / "outlier_metrics.csv").set_index(["model", "score"])
    assert set(scores.loc["fc"].index) == {"confidence", "entropy"}
    run = plan.run("digits/protoflow/100/seed0")
    inside, outside = (pq.read_table(run.predictions("posterior", s)).to_pandas() for s in ("test", "creatures"))
    assert set(outside.label) == {-1}
    assert "log_prob" not in outside
    wins = [(a > b) + 0.5 * (a == b) for a in inside.log_density for b in outside.log_density]
    assert scores.loc[("protoflow", "log_density"), "auroc"] == pytest.approx(np.mean(wins))
    edge = np.sort(inside.log_density)[math.floor(0.05 * (len(inside) - 1))]
    assert scores.loc[("protoflow", "log_density"), "fpr95"] == pytest.approx((outside.log_density >= edge).mean())
    support = load_run(run, "test")[1]
    train_density = support.typical.item()
    assert outside.typicality.to_numpy() == pytest.approx(-np.abs(outside.log_density - train_density), rel=1e-3)


def test_sixteen_bits_stay_inside_the_networks() -> None:
    """Under autocast couplings compute in bfloat16; what must invert and what must add up does not."""
    flow = shaken(DenseFlow((1, 8, 8), SMALL))
    x = levels(4, 1, 8, 8)
    noises = flow.draw_noises(4, torch.Generator().manual_seed(0))
    prototypes = Prototypes(3, 2, flow.out_shape)
    with torch.no_grad():
        exact = flow.encode(x, noises)
        with torch.autocast("cpu", torch.bfloat16):
            found = flow.encode(x, noises)
            decoded = flow.decode(found.z, found.dropped)
            densities = prototypes(found.z)
        assert not torch.equal(found.z, exact.z)
        assert found.z.dtype == densities.dtype == torch.float32
        assert torch.equal(flow.to_pixels(decoded), x)
        torch.testing.assert_close(densities, prototypes(found.z))
        torch.testing.assert_close(found.ldj, exact.ldj, rtol=2e-2, atol=1)


def test_what_does_not_learn_is_not_averaged(tiny: Plan) -> None:
    """A frozen flow keeps its running statistics under a moving average of the prototypes."""
    quick = {"epochs": 1, "batch_size": 50, "optimizer": "adamw", "lr": 0.005}
    entry = {**protoflow_study()["models"]["protoflow"], "backbone_from": "flow", "trains": "prototypes", "losses": {}}
    del entry["backbone"]
    study = protoflow_study()
    study["models"] = {
        "flow": {"method": "dense_flow", "training": quick},
        "frozen": {**entry, "training": {**quick, "ema": 0.9}},
        "knn": {"method": "knn", "backbone_from": "frozen", "inference": {"voters": 5}},
    }
    plan = check_study({**study, "runs_per_job": 3}, "tiny.yaml").plan(tiny.root)
    plan.write()
    flow, frozen, knn = (plan.run(f"digits/{name}/100/seed0") for name in ("flow", "frozen", "knn"))
    train(flow)
    train(frozen)
    own, kept = (read_tensors(run.folder / "model.safetensors") for run in (flow, frozen))
    assert all(torch.equal(kept[name], value) for name, value in own.items())
    # Whoever asks the flow gives it whole numbers, and all three are one pack.
    assert knn.owner == flow
    data = open_data(knn)
    seen = open_images(data, data.rows("test")).take(torch.arange(3))
    assert torch.equal(seen, seen.round())
    assert float(seen.max()) > 200
    assert [pack.runs for pack in packs(plan)] == [(flow, frozen, knn)]


def test_parts_of_a_batch_have_noise_of_their_own(tiny: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    training = {"epochs": 1, "batch_size": 50, "optimizer": "adamw", "lr": 0.005, "micro_batch": 25}
    run = plan_of(tiny, training=training).run("digits/protoflow/100/seed0")
    drawn, draw = [], DenseFlow.draw_noises

    def watched(self: DenseFlow, count: int, made: torch.Generator) -> list[torch.Tensor]:
        drawn.append(draw(self, count, made))
        return drawn[-1]

    monkeypatch.setattr(DenseFlow, "draw_noises", watched)
    train(run)
    firsts = [noises[0][0] for noises in drawn]
    assert len(firsts) == 1 + 2 * 2 * 2  # the start; two steps of two parts, each with another view
    assert all(not torch.equal(a, b) for n, a in enumerate(firsts) for b in firsts[:n])


def test_a_gradient_that_is_not_finite_is_a_bad_step(tiny: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    training = {"epochs": 3, "batch_size": 50, "optimizer": "adamw", "lr": 0.005}
    run = plan_of(tiny, training=training, losses={}).run("digits/protoflow/100/seed0")
    loss_of = Model.training_loss

    def spoilt(self: Model, batch: object) -> tuple[torch.Tensor, torch.Tensor]:
        loss, answers = loss_of(self, batch)
        self.prototypes.logits.register_hook(lambda gradient: gradient * math.nan)
        return loss, answers

    monkeypatch.setattr(Model, "training_loss", spoilt)
    with pytest.raises(LookalikeError, match=r"3 times in a row, last at step 2 \(epoch 2\)"):
        train(run)


def test_what_is_refused_before_anything_runs() -> None:
    small = {"method": "protoflow", "backbone": {"name": "dense_flow_small"}}
    for changed, message in (
        ({"training": {"precision": "16-mixed"}}, "16-mixed scales losses, which flows do not bear; write bf16-mixed"),
        ({"training": None}, "training is left out, but nothing else makes prototypes"),
        ({"prototypes": {"start": "weights"}}, "start: weights needs backbone: {name: ..., weights: FILE}"),
        ({"losses": {"base_prototypes": True}}, "base_prototypes needs base: true"),
        ({"losses": {"base": True}, "trains": "prototypes"}, "which trains: prototypes leaves as it is"),
        ({"backbone_from": "flow"}, "give either backbone: {name: dense_flow_small} or backbone_from: MODEL"),
    ):
        with pytest.raises(LookalikeError, match=re.escape(message)):
            check_study(tiny_study(models={"protoflow": {**small, **changed}}), "tiny.yaml")
    outliers = {"source": "critters", "outliers_for": "digits"}
    for datasets, sets, message in (
        ({"digits": {}, "odd": {**outliers, "queries_for": "digits"}}, ["test"], "either queries_for or outliers_for"),
        ({"digits": {}, "odd": outliers}, ["train"], "compares with test images, which evaluation_sets lacks"),
        (
            {"digits": {}, "odd": {**outliers, "outliers_for": "digit"}},
            ["test"],
            "datasets.odd.outliers_for is 'digit'",
        ),
    ):
        with pytest.raises(LookalikeError, match=re.escape(message)):
            check_study(tiny_study(datasets=datasets, evaluation_sets=sets), "tiny.yaml")
    with pytest.raises(LookalikeError, match="no model classifies anything"):
        check_study(tiny_study(models={"flow": {"method": "dense_flow"}}), "tiny.yaml")
    with pytest.raises(LookalikeError, match="baseline is 'flow', which classifies nothing"):
        check_study(
            tiny_study(models={"flow": {"method": "dense_flow"}, "fc": {"method": "fc"}}, baseline="flow"), "tiny.yaml"
        )


def test_the_role_of_other_images_is_part_of_what_they_give() -> None:
    settings = [entry_settings({"source": "critters", role: "digits"}) for role in ("queries_for", "outliers_for")]
    assert settings[0].prepared == settings[1].prepared
    assert settings[0].choosing() != settings[1].choosing()


def test_a_temperature_embeds_nothing_anew(tiny: Plan) -> None:
    warm, cold = (
        plan_of(tiny, inference={"temperature": value}).run("digits/protoflow/100/seed0") for value in (1.0, 9.0)
    )
    assert warm.support_settings == cold.support_settings
    assert warm.inference_settings != cold.inference_settings


def test_no_class_is_left_without_a_prototype(tiny: Plan) -> None:
    entry = {"method": "protoflow", "backbone": {"name": "dense_flow_small"}}
    flow = make_backbone(BackboneSettings(name="dense_flow_small"), (1, 8, 8))
    model = Model(Settings(**entry, prototypes={"components": 1, "dropout": 0.9}), flow, 10)
    images, labels = levels(16, 1, 8, 8).float(), torch.arange(16) % 10
    made = {"noise": torch.Generator().manual_seed(0)}
    loss, _ = model.training_loss(Batch(images, labels, labels, None, made))
    assert float(loss.detach()) < 1e4


def test_latents_that_never_change_start_prototypes() -> None:
    latents = torch.randn(400, 8, generator=torch.Generator().manual_seed(0))
    latents[:, ::2] = torch.tensor([3.0, 20.0, 50.0, 60.0])
    prototypes = Prototypes(1, 2, (8, 1, 1))
    start_prototypes(prototypes, latents, torch.zeros(400).long(), torch.Generator().manual_seed(0), fit=True)
    assert bool(torch.isfinite(prototypes.log_var).all())
    torch.testing.assert_close(prototypes.mean[0, :, ::2], latents[:2, ::2])


def test_diversity_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each pair by determinants in linear space; with little memory a few classes at once."""
    made = torch.Generator().manual_seed(0)
    means, log_vars = (torch.randn(5, 3, 4, generator=made, dtype=torch.float64).requires_grad_() for _ in range(2))
    expected = []
    for label in range(5):
        for i, j in ((0, 1), (0, 2), (1, 2)):
            first, second = log_vars[label, i].exp(), log_vars[label, j].exp()
            both = (first + second) / 2
            overlap = (first.prod() * second.prod()) ** 0.25 / both.prod() ** 0.5
            apart = ((means[label, i] - means[label, j]) ** 2 / both).sum() / 8
            expected.append(1 - (overlap ** (1 / 4)) * (-apart / 4).exp())
    mean = -torch.stack(expected).mean()
    for most in (2**24, 24):
        monkeypatch.setattr(losses, "MOST_NUMBERS", most)
        found = losses.diversity_loss(means, log_vars)
        torch.testing.assert_close(found, mean)
        for one, other in zip(
            *(torch.autograd.grad(x, (means, log_vars), retain_graph=True) for x in (found, mean)), strict=True
        ):
            torch.testing.assert_close(one, other)
