"""Memory Wrap's explanations: scores, attribution and counterfactuals, each recomputed one image at a time."""

import numpy as np
import pytest
import torch
from helpers.memories import CLASSES, SHAPE, make_model, with_support

from lookalike.methods.memory_wrap.attribution import complete_attribution
from lookalike.methods.memory_wrap.counterfactuals import (
    closest_prototypes,
    plausibility,
    search_counterfactuals,
    train_autoencoder,
)
from lookalike.methods.memory_wrap.scores import squared_distances


@pytest.mark.parametrize("name", ["memory_wrap", "baseline_memory"])
def test_metrics_one_query_at_a_time(name: str) -> None:
    model, queries = with_support(name)
    with torch.no_grad():
        columns = model.query_metrics(queries, "draws")
        for k in range(5):
            memory, other = model.memory["features"][k], model.memory["features"][k + 1]
            ids, other_ids = model.memory["ids"][k], model.memory["ids"][k + 1]
            answers = []
            for m in range(12):  # each memory image as a query of the next memory, itself left out
                rest = other[other_ids != ids[m]]
                answers.append(
                    (model.layer(memory[m : m + 1], rest)[0], model.layer.hidden(memory[m : m + 1], rest)[0])
                )
            classes = [int(logits.argmax()) for logits, _ in answers]
            for b in range(9):
                query = queries.features[b : b + 1]
                logits, weights = (part[0] for part in model.layer(query, memory, return_weights=True))
                hidden, p = model.layer.hidden(query, memory)[0], int(logits.argmax())
                used = [m for m in range(12) if weights[m] > 0]
                assert columns["used"][k, b] == len(used)
                assert columns["top_predicted"][k, b] == classes[int(weights.argmax())]
                votes = np.bincount([classes[m] for m in used], minlength=CLASSES)
                assert columns["vote_predicted"][k, b] == votes.argmax()
                true = np.bincount([int(model.memory["labels"][k][m]) for m in used], minlength=CLASSES)
                assert columns["vote_label"][k, b] == true.argmax()
                same = [m for m in range(12) if classes[m] == p]
                assert bool(columns["has_example"][k, b]) == bool(same)
                part = model.layer.classifier.fc2.weight[p]
                costs = {
                    "memory": -weights,
                    "knn": torch.stack([(hidden - h).norm() for _, h in answers]),
                    "twin": torch.stack([((hidden - h) * part).norm() for _, h in answers]),
                }
                for ranking, cost in costs.items():
                    best = min(same or range(12), key=lambda m: float(cost[m]))
                    gap = (answers[best][0] - logits).abs().mean()
                    torch.testing.assert_close(columns[f"input_{ranking}"][k, b], gap, atol=1e-5, rtol=1e-4)
                    loss = -answers[best][0].log_softmax(0)[p]
                    torch.testing.assert_close(columns[f"prediction_{ranking}"][k, b], loss, atol=1e-5, rtol=1e-4)


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
def test_attributions_add_up(name: str, baseline_value: float) -> None:
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
        attribution = complete_attribution(model.embed, model.layer, query, kept, target, start, 40)
        ends = torch.stack([start.expand(SHAPE), query]), torch.stack([start.expand(kept.shape), kept])
        before, after = (
            model.layer(model.embed(q[None]), model.embed(m))[0, target] for q, m in zip(*ends, strict=True)
        )
        change = float(after - before)
        assert abs(float(attribution.query.sum() + attribution.memory.sum()) - change) < 0.01 * abs(change)
        assert attribution.error < 0.01
        assert attribution.query.shape == SHAPE
        assert attribution.memory.shape == kept.shape


def test_search_stays_in_range_and_keeps_the_nearest() -> None:
    """Two classes apart by the mean pixel: the search needs to cross, and no kept image is farther than a later one."""
    torch.manual_seed(0)
    queries, low, high = torch.rand(3, 1, 4, 4) * 0.4, 0.0, 1.0
    tried = []

    def classify(images: torch.Tensor) -> torch.Tensor:
        tried.append(images.clone())
        return (images.mean((1, 2, 3)) > 0.5).long()

    prototypes = torch.ones(3, 1, 4, 4)
    searched = search_counterfactuals(classify, lambda x: x, queries, classify(queries), prototypes, (low, high), 40)
    assert searched.found.all()
    assert searched.images.min() >= low
    assert searched.images.max() <= high
    for row in range(3):
        crossed = [image[row] for image in tried if image[row].mean() > 0.5]
        costs = [float((c - queries[row]).square().sum() + 0.1 * (c - queries[row]).abs().sum()) for c in crossed]
        torch.testing.assert_close(searched.images[row], crossed[int(np.argmin(costs))])
    alone = search_counterfactuals(
        classify, lambda x: x, queries[1:2], torch.zeros(1).long(), prototypes[1:2], (low, high), 40
    )
    torch.testing.assert_close(alone.images[0], searched.images[1])
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
    rows = torch.arange(64)
    short, long, again = (train_autoencoder(lambda wanted: images[wanted], rows, epochs, 5) for epochs in (1, 30, 30))
    errors = [plausibility(images, network(images), images * 0, images * 0).new.mean() for network in (short, long)]
    assert errors[1] < errors[0] / 2
    assert all(torch.equal(a, b) for a, b in zip(long.parameters(), again.parameters(), strict=True))


def test_images_of_odd_sides_are_reconstructed() -> None:
    images = torch.rand(2, 3, 9, 7)
    assert train_autoencoder(lambda rows: images[rows], torch.arange(2), 1, 0)(images).shape == images.shape
