"""Methods with a random memory: drawing, training, measures, explanations, each recomputed one image at a time."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from conftest import tiny_study
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from lookalike.backbones.build import make_backbone
from lookalike.data.images import open_images
from lookalike.data.prepared import open_data
from lookalike.errors import LookalikeError
from lookalike.evaluation.collect import measure_predictions, read_predictions
from lookalike.evaluation.evaluate import evaluate
from lookalike.evaluation.statistics import compare_paired, summarise_seeds
from lookalike.explanation.counterfactuals import score_counterfactuals
from lookalike.explanation.explain import explain
from lookalike.explanation.record import read_explanations
from lookalike.methods import matching, protonet
from lookalike.methods.base import Batch, Embedded
from lookalike.methods.memory import draw_memory
from lookalike.methods.memory_wrap import baseline, classifier
from lookalike.methods.memory_wrap.attribution import complete_attribution
from lookalike.methods.memory_wrap.counterfactuals import (
    closest_prototypes,
    plausibility,
    search_counterfactuals,
    train_autoencoder,
)
from lookalike.methods.memory_wrap.layer import MemoryWrapLayer, cosine_distance
from lookalike.methods.memory_wrap.measures import squared_distances
from lookalike.plan import Evaluation, Plan
from lookalike.reporting import figures
from lookalike.reporting.tables import TABLES, as_latex
from lookalike.settings import BackboneSettings
from lookalike.study import check_study, read_study
from lookalike.support.precompute import load_run, precompute_support
from lookalike.training.train import steps_in_epoch, train

ROOT = Path(__file__).parents[2]
SHAPE, CLASSES = (1, 8, 8), 4
MODULES = {
    "memory_wrap": classifier,
    "baseline_memory": baseline,
    "protonet": protonet,
    "matching": matching,
}


class FakePool:
    """Random images, class by class."""

    def __init__(self, count: int) -> None:
        self.labels = torch.arange(count) % CLASSES
        self.environments = torch.zeros(count, dtype=torch.int64)
        self.images = torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(1))

    def take(self, rows: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        return self.images[rows]


def make_model(name: str, **options: object):
    module = MODULES[name]
    torch.manual_seed(0)
    backbone = make_backbone(BackboneSettings(name="small_cnn"), SHAPE)
    return module.Model(module.Settings(method=name, **options), backbone, CLASSES)


def with_support(name: str, count: int = 40, **options: object):
    model = make_model(name, memory={"size": 12}, **options).eval()
    pool = FakePool(count)
    with torch.no_grad():
        features = model.embed(pool.images)
        model.build_support(Embedded(features, pool.labels, pool.environments, torch.arange(count) + 100), 7)
        queries = model.embed(torch.randn(9, *SHAPE, generator=torch.Generator().manual_seed(2)))
    return model, Embedded(queries, torch.arange(9) % CLASSES, torch.zeros(9, dtype=torch.int64), torch.arange(9))


@given(st.integers(1, 40), st.integers(1, 60), st.integers(0, 1000))
@settings(deadline=None)
def test_memories_are_distinct_and_balanced_where_asked(size: int, count: int, seed: int) -> None:
    labels = torch.randint(5, (count,), generator=torch.Generator().manual_seed(seed))
    for balanced in (False, True):
        rows = draw_memory(labels, size, balanced, torch.Generator().manual_seed(seed))
        assert len(rows) == min(size, count) == len(set(rows.tolist()))
        again = draw_memory(labels, size, balanced, torch.Generator().manual_seed(seed))
        assert torch.equal(rows, again)
    held, there = torch.bincount(labels[rows], minlength=5), torch.bincount(labels, minlength=5)
    # A class has fewer than another by more than one only where it has no more images.
    for one in range(5):
        assert held[one] == there[one] or held[one] >= held.max() - 1


def test_every_image_comes_up_as_often() -> None:
    labels = torch.tensor([0] * 8 + [1] * 2)
    made = torch.Generator().manual_seed(0)
    counts = torch.zeros(10)
    for _ in range(4000):
        counts[draw_memory(labels, 3, False, made)] += 1
    np.testing.assert_allclose(counts / 4000, 0.3, atol=0.03)
    counts = torch.zeros(10)
    for _ in range(4000):
        counts[draw_memory(labels, 2, True, made)] += 1
    np.testing.assert_allclose(counts[:8] / 4000, 1 / 8, atol=0.03)
    np.testing.assert_allclose(counts[8:] / 4000, 1 / 2, atol=0.03)


def test_excluded_memory_weighs_nothing() -> None:
    torch.manual_seed(0)
    layer, queries, memory = MemoryWrapLayer(6, 3), torch.randn(5, 6), torch.randn(8, 6)
    excluded = torch.rand(5, 8) < 0.4
    excluded[:, 0] = False
    weights = layer.content_weights(queries, memory, excluded)
    for row in range(5):
        kept = ~excluded[row]
        torch.testing.assert_close(
            weights[row, kept], layer.content_weights(queries[row : row + 1], memory[kept])[0], atol=1e-6, rtol=1e-5
        )
        assert not weights[row, ~kept].any()


def test_no_temporary_is_larger_than_queries_times_memory() -> None:
    class Largest(TorchDispatchMode):
        found = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            made = function(*args, **(kwargs or {}))
            if isinstance(made, torch.Tensor) and not function.is_view and made.dtype.is_floating_point:
                self.found = max(self.found, made.numel())
            return made

    queries, memory = torch.randn(40, 256), torch.randn(60, 256)
    for distance in ("cosine", "l2", "dot"):
        layer = MemoryWrapLayer(256, 3, distance=distance).eval().requires_grad_(False)
        with Largest() as largest:
            layer.content_weights(queries, memory)
        assert 0 < largest.found <= 40 * 60, distance


@pytest.mark.parametrize("name", MODULES)
def test_a_query_never_uses_its_own_image(name: str) -> None:
    """Whatever else is in the memory: the step's loss is that of memories without each query's image."""
    model = make_model(name, memory={"size": 12}).train()
    pool = FakePool(12)  # the memory is the whole pool: every query is in it
    rows = torch.tensor([3, 0, 7])
    made = {"augment": torch.Generator(), "support": torch.Generator().manual_seed(5)}
    seen = {}
    decide = model.decide

    def spy(features, memory, labels, excluded=None):
        seen.update(features=features, memory=memory, labels=labels, excluded=excluded)
        return decide(features, memory, labels, excluded)

    model.decide = spy
    model.check_training(pool)
    loss, log_probs = model.training_loss(Batch(pool.images[rows], pool.labels[rows], rows, pool, made))
    torch.testing.assert_close(loss, F.nll_loss(log_probs, pool.labels[rows]))
    loss.backward()
    assert model.backbone.feature_map(pool.images[:1]).requires_grad
    assert (seen["excluded"].sum(1) == 1).all()
    for number in range(3):
        kept = ~seen["excluded"][number]
        if name == "matching":  # the sequence that embeds the memory keeps the image; the attention does not
            continue
        alone = decide(seen["features"][number : number + 1], seen["memory"][kept], seen["labels"][kept])
        torch.testing.assert_close(alone[0], log_probs[number], atol=1e-5, rtol=1e-4)


def test_matching_attends_to_other_images_only() -> None:
    model, queries = with_support("matching")
    memory, labels = model.memory["features"][0], model.memory["labels"][0]
    excluded = torch.zeros(9, 12, dtype=torch.bool)
    excluded[:, labels == 2] = True
    with torch.no_grad():
        probabilities = model.decide(queries.features, memory, labels, excluded).exp()
    torch.testing.assert_close(probabilities[:, 2], torch.full((9,), 1e-6))
    torch.testing.assert_close(probabilities.sum(1), torch.ones(9), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", MODULES)
def test_predictions_row_by_row_and_by_memory(name: str) -> None:
    model, queries = with_support(name)
    with torch.no_grad():
        cached, draws = model.predict(queries, "cached"), model.predict(queries, "draws")
        assert cached.draws is None
        assert draws.draws is not None
        assert draws.draws.shape == (5, 9, CLASSES)
        assert torch.equal(draws.draws[0], cached.log_probs)
        for row in range(9):
            alone = model.predict(queries.rows(slice(row, row + 1)), "draws").draws
            torch.testing.assert_close(alone[:, 0], draws.draws[:, row], atol=1e-5, rtol=1e-4)
        again = make_model(name, memory={"size": 12}).eval()
        again.load_support({key: value.clone() for key, value in model.support_tensors().items()})
        torch.testing.assert_close(again.predict(queries, "cached").log_probs, cached.log_probs)
        if name != "matching":  # there the memory is a sequence
            order = torch.randperm(12)
            again.load_support({key: value[:, order] for key, value in model.support_tensors().items()})
            shuffled = again.predict(queries, "cached").log_probs
            torch.testing.assert_close(shuffled, cached.log_probs, atol=1e-5, rtol=1e-4)
    with pytest.raises(LookalikeError, match="mode 'full' is unknown; a method with a memory has cached and draws"):
        model.predict(queries, "full")


@pytest.mark.parametrize("name", ["memory_wrap", "baseline_memory"])
def test_measures_one_query_at_a_time(name: str) -> None:
    model, queries = with_support(name)
    with torch.no_grad():
        found = model.measures(queries, "draws")
        for k in range(5):
            memory, other = model.memory["features"][k], model.memory["features"][k + 1]
            ids, other_ids = model.memory["ids"][k], model.memory["ids"][k + 1]
            said = []
            for m in range(12):  # each memory image as a query of the next memory, itself left out
                rest = other[other_ids != ids[m]]
                said.append((model.layer(memory[m : m + 1], rest)[0], model.layer.hidden(memory[m : m + 1], rest)[0]))
            given = [int(logits.argmax()) for logits, _ in said]
            for b in range(9):
                query = queries.features[b : b + 1]
                logits, weights = (part[0] for part in model.layer(query, memory, return_weights=True))
                hidden, p = model.layer.hidden(query, memory)[0], int(logits.argmax())
                used = [m for m in range(12) if weights[m] > 0]
                assert found["used"][k, b] == len(used)
                assert found["top_predicted"][k, b] == given[int(weights.argmax())]
                votes = np.bincount([given[m] for m in used], minlength=CLASSES)
                assert found["vote_predicted"][k, b] == votes.argmax()
                true = np.bincount([int(model.memory["labels"][k][m]) for m in used], minlength=CLASSES)
                assert found["vote_label"][k, b] == true.argmax()
                same = [m for m in range(12) if given[m] == p]
                assert bool(found["has_example"][k, b]) == bool(same)
                part = model.layer.classifier.fc2.weight[p]
                costs = {
                    "memory": -weights,
                    "knn": torch.stack([(hidden - h).norm() for _, h in said]),
                    "twin": torch.stack([((hidden - h) * part).norm() for _, h in said]),
                }
                for ranking, cost in costs.items():
                    best = min(same or range(12), key=lambda m: float(cost[m]))
                    gap = (said[best][0] - logits).abs().mean()
                    torch.testing.assert_close(found[f"input_{ranking}"][k, b], gap, atol=1e-5, rtol=1e-4)
                    loss = -said[best][0].log_softmax(0)[p]
                    torch.testing.assert_close(found[f"prediction_{ranking}"][k, b], loss, atol=1e-5, rtol=1e-4)


def test_distances_of_hidden_layers() -> None:
    queries, memory, parts = torch.randn(4, 6), torch.randn(5, 6), torch.randn(4, 6)
    wide = (queries[:, None] - memory).double()
    torch.testing.assert_close(squared_distances(queries, memory), wide.square().sum(2), atol=1e-5, rtol=1e-5)
    weighted = (wide * parts[:, None]).square().sum(2)
    torch.testing.assert_close(squared_distances(queries, memory, parts), weighted, atol=1e-5, rtol=1e-5)


def test_explanations_are_the_used_images() -> None:
    model, queries = with_support("memory_wrap")
    with torch.no_grad():
        records = model.explain(queries, "cached")
        weights = model.layer(queries.features, model.memory["features"][0], return_weights=True)[1]
    for row, record in enumerate(records):
        used = {int(model.memory["ids"][0][m]): float(weights[row, m]) for m in range(12) if weights[row, m] > 0}
        assert {e.id: pytest.approx(e.weight) for e in record.exemplars} == used
        assert [e.weight for e in record.exemplars] == sorted((e.weight for e in record.exemplars), reverse=True)
        same = [e for e in record.exemplars if e.predicted == record.predicted]
        assert record.example == (same[0] if same else None)
        other = [e for e in record.exemplars if e.predicted != record.predicted]
        assert record.counterfactual == (other[0] if other else None)


@pytest.mark.parametrize("name", ["memory_wrap", "baseline_memory"])
@pytest.mark.parametrize("baseline_value", [0.0, 1.0])
def test_heat_maps_add_up(name: str, baseline_value: float) -> None:
    """Completeness: the maps of query and memory sum to the change of the logit, within 1 %."""
    torch.manual_seed(3)
    model = make_model(name, memory={"size": 12}).eval().requires_grad_(False)
    with torch.no_grad():  # weights of a trained size: kinks that a few steps miss
        for parameter in model.layer.parameters():
            parameter.mul_(3)
    memory, start = torch.randn(12, *SHAPE), torch.full((1, 1, 1), baseline_value)
    for query in torch.randn(4, *SHAPE):
        out, weights = model.layer(model.embed(query[None]), model.embed(memory), return_weights=True)
        target, kept = int(out.argmax()), memory[weights[0] > 0]
        found = complete_attribution(model.embed, model.layer, query, kept, target, start, 40)
        ends = torch.stack([start.expand(SHAPE), query]), torch.stack([start.expand(kept.shape), kept])
        before, after = (
            model.layer(model.embed(q[None]), model.embed(m))[0, target] for q, m in zip(*ends, strict=True)
        )
        change = float(after - before)
        assert abs(float(found.query.sum() + found.memory.sum()) - change) < 0.01 * abs(change)
        assert found.error < 0.01
        assert found.query.shape == SHAPE
        assert found.memory.shape == kept.shape


def test_search_stays_in_range_and_keeps_the_nearest() -> None:
    """Two classes apart by the mean pixel: the search needs to cross, and no kept image is farther than a later one."""
    torch.manual_seed(0)
    queries, low, high = torch.rand(3, 1, 4, 4) * 0.4, 0.0, 1.0
    tried = []

    def classify(images: torch.Tensor) -> torch.Tensor:
        tried.append(images.clone())
        return (images.mean((1, 2, 3)) > 0.5).long()

    prototypes = torch.ones(3, 1, 4, 4)
    found = search_counterfactuals(classify, lambda x: x, queries, classify(queries), prototypes, (low, high), 40)
    assert found.found.all()
    assert found.images.min() >= low
    assert found.images.max() <= high
    for row in range(3):
        crossed = [image[row] for image in tried if image[row].mean() > 0.5]
        costs = [float((c - queries[row]).square().sum() + 0.1 * (c - queries[row]).abs().sum()) for c in crossed]
        torch.testing.assert_close(found.images[row], crossed[int(np.argmin(costs))])
    alone = search_counterfactuals(
        classify, lambda x: x, queries[1:2], torch.zeros(1).long(), prototypes[1:2], (low, high), 40
    )
    torch.testing.assert_close(alone.images[0], found.images[1])
    none = search_counterfactuals(
        lambda x: torch.zeros(len(x)).long(), lambda x: x, queries, torch.zeros(3).long(), prototypes, (low, high), 5
    )
    assert not none.found.any()
    assert torch.equal(none.images, queries)


def test_prototypes_are_chosen_row_by_row() -> None:
    codes, prototypes = torch.tensor([[0.0], [10.0]]), torch.tensor([[1.0], [8.0], [9.5]])
    allowed = torch.tensor([[True, True, True], [True, True, False]])
    assert closest_prototypes(codes, prototypes, allowed).tolist() == [0, 1]
    assert closest_prototypes(codes, prototypes, allowed, whole_batch=True).tolist() == [1, 1]


def test_autoencoders_learn_and_repeat() -> None:
    images = torch.rand(64, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.1 + torch.linspace(0, 1, 8)
    take, rows = (lambda wanted: images[wanted]), torch.arange(64)
    short, long, again = (train_autoencoder(take, rows, epochs, 5) for epochs in (1, 30, 30))
    errors = [plausibility(images, made(images), images * 0, images * 0).new.mean() for made in (short, long)]
    assert errors[1] < errors[0] / 2
    assert all(torch.equal(a, b) for a, b in zip(long.parameters(), again.parameters(), strict=True))


def test_a_class_missing_from_the_memory_is_named() -> None:
    features = torch.randn(3, 5)
    with pytest.raises(LookalikeError, match=r"class 1 has no image in the memory of 3 images; .*raise memory.size"):
        protonet.class_means(features, torch.tensor([0, 2, 2]), 3)
    model = make_model("protonet", memory={"size": 3})
    with pytest.raises(
        LookalikeError, match=r"memory.size is 3, .* one of each of the 4 classes; write memory: {size: 4}"
    ):
        model.check_training(FakePool(12))
    model, pool = make_model("protonet", memory={"size": 8}), FakePool(12)
    pool.labels = torch.zeros(12, dtype=torch.int64)
    with pytest.raises(LookalikeError, match="class 1 has no image in the training subset"):
        model.check_training(pool)
    with pytest.raises(
        LookalikeError, match=r"a memory of 1 image may hold the query alone, .*write memory: {size: 2}"
    ):
        make_model("memory_wrap", memory={"size": 1}).check_training(FakePool(12))


def test_prototypes_without_the_query() -> None:
    torch.manual_seed(0)
    features, labels = torch.randn(6, 3), torch.tensor([0, 0, 1, 1, 1, 2])
    excluded = torch.zeros(2, 6, dtype=torch.bool)
    excluded[0, 1] = excluded[1, 5] = True
    queries = torch.randn(2, 3)
    found = protonet.distances_from_classes(queries, features, labels, 3, excluded)
    means = protonet.class_means(features, labels, 3)  # of the second query all: its class has nothing else
    torch.testing.assert_close(
        found,
        cosine_distance(queries, torch.stack([features[0], means[1], means[2]])).where(
            torch.tensor([[True], [False]]), cosine_distance(queries, means)
        ),
    )


def test_every_encoder_of_the_papers_study_takes_a_step() -> None:
    """Real images' shape, a memory, gradients everywhere; the study's own settings."""
    study = read_study(ROOT / "workflow" / "studies" / "memory_wrap.yaml")
    kinds = {"fc", "memory_wrap", "baseline_memory"}
    for name in (n for n in study.models if n.endswith("_wrap")):
        family = [study.models[name.replace("_wrap", end)] for end in ("_std", "_memory", "_wrap")]
        assert {model.method for model in family} == kinds
        assert all((m.backbone, m.training) == (family[0].backbone, family[0].training) for m in family), name
        torch.manual_seed(0)
        model = classifier.Model(study.models[name], make_backbone(study.models[name].backbone, (3, 32, 32)), 10)
        pool = FakePool(12)
        pool.images = torch.randn(12, 3, 32, 32)
        made = {"augment": torch.Generator(), "support": torch.Generator().manual_seed(5)}
        rows = torch.arange(3)
        loss, _ = model.training_loss(Batch(pool.images[rows], pool.labels[rows], rows, pool, made))
        loss.backward()
        without = [key for key, p in model.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
        assert not without, name


# Through the stages -----------------------------------------------------------------------------


@pytest.fixture
def memory_plan(tiny: Plan) -> Plan:
    """The tiny study with Memory Wrap, its rivals and scored counterfactuals; digits prepared."""
    training = {"epochs": 12, "batch_size": 16, "optimizer": "adamw", "lr": 0.003}
    inference = {"heat_maps": {"baseline": "black"}, "counterfactuals": {"queries": 20, "iterations": 15, "epochs": 1}}
    common = {"training": training, "memory": {"size": 20}}
    models = {
        "fc": {"method": "fc", "training": training},
        "memory_wrap": {"method": "memory_wrap", **common, "inference": inference},
        "protonet": {"method": "protonet", **common, "sizes": [100]},
        "matching": {"method": "matching", **common, "sizes": [100]},
    }
    plan = check_study(tiny_study(models=models, sizes=[100, 200]), "tiny.yaml").plan(tiny.root)
    plan.write()
    return plan


def test_stages_of_methods_with_a_memory(memory_plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    from lookalike.evaluation.collect import collect_metrics

    assert [run.id for run in memory_plan.runs() if run.model == "protonet"] == ["digits/protonet/100/seed0"]
    for run in memory_plan.runs():
        train(run)
        precompute_support(run)
        for mode in run.settings["modes"]:
            evaluate(run, mode, "test")
    run = memory_plan.run("digits/memory_wrap/100/seed0")
    frame = read_predictions(Evaluation(run, "draws", "test"))
    assert sorted(frame.draw.unique()) == [0, 1, 2, 3, 4]
    cached = read_predictions(Evaluation(run, "cached", "test"))
    pd.testing.assert_frame_equal(frame[frame.draw == 0].drop(columns="draw").reset_index(drop=True), cached)
    _, model, queries = load_run(run, "test")
    hits = [
        float((log_probs.argmax(1) == queries.labels).float().mean())
        for log_probs in model.predict(queries, "draws").draws
    ]
    found = measure_predictions(frame)
    assert found["accuracy"] == pytest.approx(np.mean(hits))
    assert found["n"] == len(queries)
    each = [measure_predictions(part.drop(columns="draw")) for _, part in frame.groupby("draw")]
    for name in ("ece", "nll", "explanation_accuracy", "input_knn", "prediction_twin_upstream"):
        assert found[name] == pytest.approx(np.mean([one[name] for one in each]))

    explain(run, "cached", "test")
    records = read_explanations(run.explanations("cached", "test"))
    assert len(records) == 4
    for record in records:
        assert record.completeness_error < 0.01
        assert np.shape(record.heat_map) == (8, 8)
        with_map = [e for e in record.exemplars if e.heat_map is not None]
        assert with_map == [e for e in record.exemplars if e in (record.example, record.counterfactual)]

    for scored, split in memory_plan.counterfactuals():
        assert score_counterfactuals(scored, split).startswith("counterfactuals of 20 queries: memory ")
    scores = pd.read_parquet(run.counterfactuals("test"))
    assert scores.groupby("source").size().to_dict() == {"memory": 20, "search": 20}
    kept = scores[scores.found]
    assert (kept.predicted != kept.counterfactual).all()
    np.testing.assert_allclose(kept.im1, kept.new / kept.old, rtol=1e-5)
    np.testing.assert_allclose(kept.im2, kept.gap / kept["size"], rtol=1e-5)
    assert scores[~scores.found][["im1", "im2", "trust"]].isna().all(axis=None)
    before = run.counterfactuals("test").read_bytes()
    score_counterfactuals(run, "test")
    assert run.counterfactuals("test").read_bytes() == before

    collect_metrics(memory_plan)
    for name in ("size", "explanations", "non_representativeness", "counterfactuals", "comparison"):
        numbers, shown, caption = TABLES[name](memory_plan)
        assert len(shown) == (3 if name == "size" else len(numbers)) > 0, name
        assert caption.endswith("."), name
    numbers, shown, caption = TABLES["size"](memory_plan)
    assert set(numbers.model) == {"fc", "memory_wrap"}
    monkeypatch.setattr(figures, "MOST_PANELS", 2)
    drawn = figures.figure_reliability(memory_plan)  # of the largest size, in the first mode: the rivals have none
    assert [axis.get_title() for axis in drawn.axes if axis.get_title()] == ["fc  linear", "memory_wrap  cached"]
    best = numbers.groupby("size").accuracy.idxmax()
    for size, column in (("100", "100 images"), ("200", "200 images")):
        bold = [text for text in shown[column] if text.startswith("**")]
        assert f"**{numbers.accuracy[best[size]] * 100:.2f}**" in bold
    assert rf"\textbf{{{numbers.accuracy[best['100']] * 100:.2f}}}" in as_latex(shown, caption, "tab:size")


def test_a_bundle_has_what_its_tables_need(memory_plan: Plan, tmp_path: Path) -> None:
    from lookalike.bundle import bundle, rebuild, unbundle
    from lookalike.evaluation.collect import collect_metrics

    for run in memory_plan.runs():
        train(run)
        precompute_support(run)
        for mode in run.settings["modes"]:
            evaluate(run, mode, "test")
    for run, split in memory_plan.counterfactuals():
        score_counterfactuals(run, split)
    for e in memory_plan.explanations():
        explain(e.run, e.mode, e.split)
    collect_metrics(memory_plan)
    bundle(memory_plan, tmp_path / "study.zip")
    opened = unbundle(tmp_path / "study.zip", tmp_path / "elsewhere")
    remarks = rebuild(opened)
    assert not [remark for remark in remarks if remark.startswith("table")]
    assert (opened.folder / "tables" / "counterfactuals.csv").exists()
    reliability = pd.read_csv(opened.folder / "tables" / "reliability.csv")
    counts = reliability.groupby(["model", "size", "mode"]).n.sum()
    assert set(counts.round(6)) == {500}  # five memories a query are no more queries
    next(run for run, _ in opened.counterfactuals()).counterfactuals("test").unlink()
    with pytest.raises(LookalikeError, match=r"counterfactuals/test.parquet is missing; run the stage that writes it"):
        TABLES["counterfactuals"](opened)


def test_settings_of_explanations_leave_predictions_alone(memory_plan: Plan) -> None:
    run = memory_plan.run("digits/memory_wrap/100/seed0")
    before = [run.training_settings, run.inference_settings, run.explanation_settings, run.counterfactual_settings]

    def changed(**inference: object) -> list[bool]:
        entry = memory_plan.models["memory_wrap"]
        models = {**memory_plan.models, "memory_wrap": {**entry, "inference": {**entry["inference"], **inference}}}
        other = replace(run, plan=replace(memory_plan, models=models))
        after = [
            other.training_settings,
            other.inference_settings,
            other.explanation_settings,
            other.counterfactual_settings,
        ]
        return [a != b for a, b in zip(before, after, strict=True)]

    assert changed(heat_maps=None) == [False, False, True, False]
    assert changed(counterfactuals={"queries": 3, "epochs": 4, "iterations": 1}) == [False, False, False, True]
    assert changed(draws=3) == [False, True, False, False]
    with pytest.raises(LookalikeError, match=r"digits/fc/100/seed0 asks for no scores of counterfactuals"):
        score_counterfactuals(memory_plan.run("digits/fc/100/seed0"), "test")


def test_images_of_odd_sides_are_reconstructed() -> None:
    images = torch.rand(2, 3, 9, 7)
    assert train_autoencoder(lambda rows: images[rows], torch.arange(2), 1, 0)(images).shape == images.shape


def test_a_seed_without_a_value_is_left_out() -> None:
    found = summarise_seeds(np.array([0.2, np.nan, 0.4]))
    assert (found.mean, found.n) == (pytest.approx(0.3), 2)
    assert found == summarise_seeds(np.array([0.2, 0.4]))
    none = summarise_seeds(np.array([np.nan, np.nan]))
    assert np.isnan(none.mean)
    assert none.n == 0


def test_score_of_one_counterfactual_by_hand(memory_plan: Plan) -> None:
    """The memory image's scores again, from autoencoders trained here on the run's subset."""
    from lookalike.explanation import counterfactuals as stage

    run = memory_plan.run("digits/memory_wrap/100/seed0")
    train(run)
    precompute_support(run)
    score_counterfactuals(run, "test")
    scores = pd.read_parquet(run.counterfactuals("test"))
    row = scores[(scores.source == "memory") & scores.found].iloc[0]
    data, model, queries = load_run(run, "test")
    record = model.explain(queries.rows(queries.ids == int(row.id)), "cached")[0]
    assert record.counterfactual.predicted == row.counterfactual
    training = open_images(data, data.training_rows(run))
    full, of_class = stage._autoencoders(run, training, data.n_classes, 1)
    image = open_images(data, np.array([record.counterfactual.id])).take(torch.tensor([0]))
    new, old = (of_class[int(label)](image) for label in (row.counterfactual, row.predicted))
    assert row.im1 == pytest.approx(float((image - new).norm() / (image - old).norm()), rel=1e-4)
    assert row.im2 == pytest.approx(float((new - full(image)).norm() / image.norm()), rel=1e-4)


def test_several_draws_are_compared_with_one() -> None:
    rng = np.random.default_rng(0)
    draws = [rng.random((3, 50)) < 0.7 for _ in range(2)]
    base = [rng.random(50) < 0.6 for _ in range(2)]
    found = compare_paired(draws, base)
    each = [compare_paired([d[k] for d in draws], base) for k in range(3)]
    assert found.difference.mean == pytest.approx(np.mean([e.difference.mean for e in each]))
    assert found.only_first == pytest.approx(np.mean([e.only_first for e in each]))
    assert found.p_value == max(e.p_value for e in each)


def test_training_by_data_set_and_whole_batches(tmp_path) -> None:
    training = {"epochs": 3, "batch_size": 32, "by_dataset": {"digits": {"epochs": 7, "drop_last": True}}}
    models = {"fc": {"method": "fc", "training": training}}
    plan = check_study(tiny_study(models=models, datasets=["digits", "critters"]), "a.yaml").plan(tmp_path)
    digits, critters = plan.runs()
    assert (digits.settings["training"]["epochs"], critters.settings["training"]["epochs"]) == (7, 3)
    longer = {**training, "by_dataset": {"digits": {"epochs": 9, "drop_last": True}}}
    other = check_study(
        tiny_study(models={"fc": {"method": "fc", "training": longer}}, datasets=["digits", "critters"]), "a.yaml"
    ).plan(tmp_path)
    changed = [a.training_settings != b.training_settings for a, b in zip(plan.runs(), other.runs(), strict=True)]
    assert changed == [True, False]
    settings_of = classifier.Settings.model_validate
    whole = settings_of({"method": "memory_wrap", "training": {"batch_size": 32, "drop_last": True}}).training
    partial = settings_of({"method": "memory_wrap", "training": {"batch_size": 32}}).training
    assert [steps_in_epoch(n, whole) for n in (20, 64, 100)] == [1, 2, 3]
    assert [steps_in_epoch(n, partial) for n in (20, 64, 100)] == [1, 2, 4]


def test_normalization_of_the_study(tiny: Plan) -> None:
    run = next(tiny.runs())
    mean, std = 0.25, 0.5
    tiny.datasets["digits"]["normalization"] = {"mean": [mean], "std": [std]}
    data = open_data(run)
    pixels = torch.tensor(np.array(data.images[:3])).float() / 255
    torch.testing.assert_close(open_images(data, np.arange(3)).take(torch.arange(3)), (pixels - mean) / std)
    tiny.datasets["digits"]["normalization"] = {"mean": [mean] * 3, "std": [std] * 3}
    with pytest.raises(LookalikeError, match="normalization of digits has 3 channels, its images have 1"):
        open_data(run)
