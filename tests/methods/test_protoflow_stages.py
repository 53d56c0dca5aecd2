"""Flows and prototypes through the stages: training, its averages and bad steps, pictures, published classifiers."""

import math
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from helpers.flows import protoflow_entry, protoflow_plan, shaken
from helpers.studies import changed_plan, opened, run_stage
from safetensors.numpy import load_file
from torch import distributions

from lookalike.backbones.build import make_backbone
from lookalike.backbones.flow.dense_flow import DenseFlow
from lookalike.contracts.classifier import Batch
from lookalike.contracts.explanation import read_explanations
from lookalike.contracts.features import Features
from lookalike.contracts.settings import BackboneSettings
from lookalike.core.determinism import make_generator
from lookalike.core.errors import LookalikeError
from lookalike.core.tensors import read_tensors
from lookalike.data.images import open_images
from lookalike.methods.protoflow.classifier import ProtoFlowClassifier
from lookalike.pipeline.job_groups import job_groups
from lookalike.reporting.collect import measure_predictions, metrics_of, read_predictions
from lookalike.study.plan import Evaluation, Plan

CPU = torch.device("cpu")


def test_through_the_stages(tiny: Plan) -> None:
    plan = protoflow_plan(tiny)
    run = plan.run("digits/protoflow/100/seed0")
    run_stage(plan, "train", run)
    first = (run.folder / "model.safetensors").read_bytes()
    (run.folder / "run.json").unlink()
    run_stage(plan, "train", run)
    assert (run.folder / "model.safetensors").read_bytes() == first
    run_stage(plan, "embed", run)
    run_stage(plan, "evaluate", run, "posterior", "test")
    rows = pq.read_table(run.predictions("posterior", "test")).to_pandas()
    assert rows.bits_per_dim.between(3, 12).all()
    inside = opened(plan, run)
    data, model, queries = inside.data, inside.classifier_with_support(), inside.queries("test", inside.data)
    some = queries.rows(slice(0, 7))
    dims, width = 64, math.prod(model.backbone.flow.out_shape) + 1
    for number in range(7):
        joint = []
        for features in some.features[number].view(2, width).double():
            densities = model.double().prototypes.weighted(features[None, :-1])[0]  # (C, K)
            joint.append(densities.logsumexp(1) + features[-1])
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
        encoded = model.backbone.flow.encode(whole, model.backbone.noises_of(whole, 0))
        decoded = model.backbone.flow.decode(encoded.z, encoded.dropped)
    assert int((model.backbone.flow.to_pixels(decoded) != whole).sum()) == 0


def test_training_starts_from_the_data(tiny: Plan) -> None:
    plan = protoflow_plan(tiny)
    run = plan.run("digits/protoflow/100/seed0")
    inside = opened(plan, run)
    assert inside.data.mean == [0.0]
    model, pool = inside.fresh_classifier(), inside.training_images(CPU)
    model.init_from_data(pool, torch.Generator().manual_seed(0), 32)
    inside = [m for m in model.modules() if type(m).__name__ == "ActNorm"]
    assert all(float(layer.initialized) == 1 for layer in inside)
    latents = model.backbone.feature_map(pool.load(torch.arange(len(pool)))).flatten(1)
    of_class = latents[pool.labels == 3]
    apart = torch.cdist(of_class, model.prototypes.mean[3]).min(1).values.mean()
    of_other_classes = torch.cdist(of_class, model.prototypes.mean[[0, 1, 2]].flatten(0, 1)).min(1).values.mean()
    assert apart.item() < of_other_classes.item()


def test_bad_steps_are_left_out_and_the_third_in_a_row_stops(tiny: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    training = {"epochs": 4, "batch_size": 32, "optimizer": "adamw", "lr": 0.005, "checkpoint_seconds": 0}
    plan = protoflow_plan(tiny, training=training)
    run = plan.run("digits/protoflow/100/seed0")
    steps, bad, loss_of = [], {1, 2, 4, 9, 10, 11}, ProtoFlowClassifier.training_loss

    def sometimes(self: ProtoFlowClassifier, batch: object) -> tuple[torch.Tensor, torch.Tensor]:
        loss, answers = loss_of(self, batch)
        steps.append({name: value.clone() for name, value in self.state_dict().items()})
        return loss * math.nan if len(steps) - 1 in bad else loss, answers

    monkeypatch.setattr(ProtoFlowClassifier, "training_loss", sometimes)
    with pytest.raises(
        LookalikeError, match=r"not finite 3 times in a row, last at step 11 \(epoch 3\); none of these"
    ):
        run_stage(plan, "train", run)
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
    plan = protoflow_plan(tiny, training=training, losses={})
    run = plan.run("digits/protoflow/100/seed0")
    seen, loss_of = [], ProtoFlowClassifier.training_loss

    def watched(self: ProtoFlowClassifier, batch: object) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append(self.prototypes.mean.detach().clone())
        return loss_of(self, batch)

    monkeypatch.setattr(ProtoFlowClassifier, "training_loss", watched)
    run_stage(plan, "train", run)
    inside = opened(plan, run)
    model, averaged = inside.classifier(), inside.classifier()
    plain = protoflow_plan(tiny, training={**training, "ema": None}, losses={})
    run_stage(plain, "train", run)
    after = [*seen[1:4], opened(plain, run).classifier().prototypes.mean]
    average = after[0]
    for weights in after[1:]:
        average = 0.7 * average + 0.3 * weights
    torch.testing.assert_close(model.prototypes.mean, average)
    norm = next(layer for layer in model.modules() if isinstance(layer, torch.nn.BatchNorm2d))
    inputs = []
    norm.register_forward_pre_hook(lambda _, arguments: inputs.append(arguments[0]))
    pool = inside.training_images(CPU)
    model.train()
    with torch.no_grad():
        for number, rows in enumerate(torch.arange(100).split(50)):
            generators = {"noise": make_generator(inside.seeds.of_run("average", "noise", number))}
            model.training_loss(Batch(pool.load(rows), pool.labels[rows], rows, pool, generators))
    means = torch.stack([maps.mean((0, 2, 3)) for maps in inputs]).mean(0)
    kept = next(layer for layer in averaged.modules() if isinstance(layer, torch.nn.BatchNorm2d))
    torch.testing.assert_close(kept.running_mean, means, atol=1e-5, rtol=1e-4)


def test_a_flow_of_another_run_starts_the_classifier(tiny: Plan) -> None:
    quick = {"epochs": 1, "batch_size": 50, "optimizer": "adamw", "lr": 0.005}
    on_flow = protoflow_entry(backbone=None, backbone_from="flow", training=quick)
    models = {
        "flow": {"method": "dense_flow", "training": quick},
        "frozen": {**on_flow, "trains": "prototypes"},
        "knn": {"method": "knn", "backbone_from": "frozen", "inference": {"k": 5}},
        "means": {**on_flow, "trains": "means"},
    }
    plan = changed_plan(tiny, models=models)
    assert {e.run.model for e in plan.evaluations()} == {"flow", "frozen", "knn", "means"}
    flow, frozen, means = (plan.run(f"digits/{name}/100/seed0") for name in ("flow", "frozen", "means"))
    for run in (flow, frozen, means):
        run_stage(plan, "train", run)
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
    run_stage(plan, "embed", knn)
    run_stage(plan, "evaluate", knn, "vote", "test")
    run_stage(plan, "embed", flow)
    run_stage(plan, "evaluate", flow, "density", "test")
    densities = read_predictions(Evaluation(flow, "density", "test"))
    assert list(densities) == ["id", "label", "log_density", "bits_per_dim"]
    inside = opened(plan, flow)
    data, model = inside.data, inside.classifier()
    seen = open_images(data, data.rows("test")[:4]).load(torch.arange(4))
    with torch.no_grad():
        encoded = model.backbone.encode(seen, model.backbone.noises_of(seen, 0))
        density = encoded.ldj + model.backbone.flow.log_base(encoded.z)
    np.testing.assert_allclose(densities.log_density[:4], density, rtol=1e-4)
    np.testing.assert_allclose(densities.bits_per_dim, -densities.log_density / np.log(2) / 64, rtol=1e-6)
    measured = measure_predictions(densities, metrics_of(plan))
    assert measured == {"n": len(densities), "bits_per_dim": pytest.approx(densities.bits_per_dim.mean())}
    with pytest.raises(LookalikeError, match="dense_flow classifies nothing"):
        inside.fresh_classifier().predict(Features.unlabelled(torch.zeros(1, 1)), "posterior")


def test_explanations_and_pictures(tiny: Plan) -> None:
    plan = protoflow_plan(tiny, inference={"samples": 2, "views": True})
    run = plan.run("digits/protoflow/100/seed0")
    run_stage(plan, "train", run)
    run_stage(plan, "embed", run)
    run_stage(plan, "explain", run, "posterior", "test")
    run_stage(plan, "analyse", run, evaluation_set="test", analysis="prototypes")
    inside = opened(plan, run)
    model, queries = inside.classifier_with_support(), inside.queries("test", inside.data)
    sheet = load_file(next(plan.analyses_of(run)).output)
    assert {name: value.shape for name, value in sheet.items()} == {
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
        inverse = flow.to_pixels(flow.decode(model.prototypes.mean[3, 1].view(1, *flow.out_shape), halves))[0]
    assert np.abs(sheet["picture"][3, 1].astype(int) - inverse.numpy()).max() <= 1
    # Nearest training images and use, recomputed one image at a time.
    pool = inside.training_images(CPU)
    with torch.no_grad():
        features = model.embed(pool.load(torch.arange(100)))
        parts = features.unflatten(1, (2, -1))
        near = torch.stack([model.prototypes.weighted(parts[:, s, :-1]) for s in range(2)]).mean(0)[:, 3, 1]
        joint = model.joint(Features.unlabelled(features))
    assert pool.ids[near.argsort(descending=True, stable=True)[:5]].tolist() == sheet["nearest"][3, 1].tolist()
    share = joint[pool.labels == 3, 3].softmax(1).mean(0)
    torch.testing.assert_close(torch.from_numpy(sheet["usage"][3]), share, atol=1e-4, rtol=1e-4)
    # Pruning, one prototype at a time.
    rest, usage = model.joint(queries), sheet["usage"]
    order = sorted(
        ((usage[c, k], c, k) for c in range(10) for k in range(2) if k != usage[c].argmax()),
        key=lambda removal: removal[0],
    )
    for kept, accuracy in sheet["pruned"]:
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
    assert np.array_equal(np.array(best.picture)[..., 0], sheet["picture"][best.label, best.component, 0])


def test_a_published_classifier_needs_no_training(tiny: Plan, tmp_path: Path) -> None:
    """Mixtures as the authors store them: the density of their v is that of variance sqrt(v)."""
    flow = shaken(make_backbone(BackboneSettings(name="dense_flow_small"), (1, 8, 8)))
    generator = torch.Generator().manual_seed(3)
    dims = math.prod(flow.flow.out_shape)
    state = {f"model.{n}": v for n, v in flow.flow.state_dict().items() if not n.startswith("base_dist.")}
    mixtures = [
        [torch.randn(1, 2, dims, generator=generator), 0.5 + torch.rand(1, 2, dims, generator=generator)]
        for _ in range(10)
    ]
    for label, (mean, variance) in enumerate(mixtures):
        state |= {f"gmms.{label}.mu": mean, f"gmms.{label}.var": variance, f"gmms.{label}.pi": torch.zeros(1, 2, 1)}
    torch.save({"global_step": 1, "model": state, "epoch": 1}, tmp_path / "checkpoint_final.pt")
    backbone = {"name": "dense_flow_small", "weights": str(tmp_path / "checkpoint_final.pt")}
    prototypes = {"components": 2, "init": "weights"}
    plan = protoflow_plan(tiny, backbone=backbone, prototypes=prototypes, training=None, inference={})
    run = plan.run("digits/protoflow/100/seed0")
    assert plan.settings_of(run).own_training is None
    run_stage(plan, "embed", run)
    run_stage(plan, "evaluate", run, "posterior", "test")
    inside = opened(plan, run)
    model, queries = inside.classifier_with_support(), inside.queries("test", inside.data)
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
        three = protoflow_plan(tiny, backbone=backbone, prototypes={**prototypes, "components": 3})
        opened(three, run).fresh_classifier()


def test_what_does_not_learn_is_not_averaged(tiny: Plan) -> None:
    """A frozen flow keeps its running statistics under a moving average of the prototypes."""
    quick = {"epochs": 1, "batch_size": 50, "optimizer": "adamw", "lr": 0.005}
    frozen_flow = {"backbone": None, "backbone_from": "flow", "trains": "prototypes"}
    models = {
        "flow": {"method": "dense_flow", "training": quick},
        "frozen": protoflow_entry(**frozen_flow, training={**quick, "ema": 0.9}, losses={}),
        "knn": {"method": "knn", "backbone_from": "frozen", "inference": {"k": 5}},
    }
    plan = changed_plan(tiny, models=models, runs_per_job=3)
    flow, frozen, knn = (plan.run(f"digits/{name}/100/seed0") for name in ("flow", "frozen", "knn"))
    for run in (flow, frozen):
        run_stage(plan, "train", run)
    of_flow, kept = (read_tensors(run.folder / "model.safetensors") for run in (flow, frozen))
    assert all(torch.equal(kept[name], value) for name, value in of_flow.items())
    # Whoever asks the flow gives it whole numbers, and all three are one job group.
    assert plan.owner_of("knn") == "flow"
    data = opened(plan, knn).data
    seen = open_images(data, data.rows("test")).load(torch.arange(3))
    assert torch.equal(seen, seen.round())
    assert float(seen.max()) > 200
    assert [group.runs for group in job_groups(plan)] == [(flow, frozen, knn)]


def test_parts_of_a_batch_have_noise_of_their_own(tiny: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    training = {"epochs": 1, "batch_size": 50, "optimizer": "adamw", "lr": 0.005, "micro_batch": 25}
    plan = protoflow_plan(tiny, training=training)
    run = plan.run("digits/protoflow/100/seed0")
    drawn, draw = [], DenseFlow.draw_noises

    def watched(self: DenseFlow, count: int, generator: torch.Generator) -> list[torch.Tensor]:
        drawn.append(draw(self, count, generator))
        return drawn[-1]

    monkeypatch.setattr(DenseFlow, "draw_noises", watched)
    run_stage(plan, "train", run)
    firsts = [noises[0][0] for noises in drawn]
    assert len(firsts) == 1 + 2 * 2 * 2  # the start; two steps of two parts, each with another view
    assert all(not torch.equal(a, b) for n, a in enumerate(firsts) for b in firsts[:n])


def test_a_gradient_that_is_not_finite_is_a_bad_step(tiny: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    training = {"epochs": 3, "batch_size": 50, "optimizer": "adamw", "lr": 0.005}
    plan = protoflow_plan(tiny, training=training, losses={})
    run = plan.run("digits/protoflow/100/seed0")
    loss_of = ProtoFlowClassifier.training_loss

    def spoilt(self: ProtoFlowClassifier, batch: object) -> tuple[torch.Tensor, torch.Tensor]:
        loss, answers = loss_of(self, batch)
        self.prototypes.logits.register_hook(lambda gradient: gradient * math.nan)
        return loss, answers

    monkeypatch.setattr(ProtoFlowClassifier, "training_loss", spoilt)
    with pytest.raises(LookalikeError, match=r"3 times in a row, last at step 2 \(epoch 2\)"):
        run_stage(plan, "train", run)
