"""Training supports and inference modes of the NW classifier."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lookalike.contracts.backbone import Backbone
from lookalike.contracts.classifier import Batch
from lookalike.contracts.features import Features
from lookalike.core.errors import LookalikeError
from lookalike.methods.nw.classifier import NWClassifier
from lookalike.methods.nw.sampling import SupportSampler, balanced_rows
from lookalike.methods.nw.settings import MODES, NWSettings


class Flat(Backbone):
    dim = 6

    def feature_map(self, images):
        raise AssertionError

    def forward(self, images):
        return images.flatten(1)


class ListPool:
    def __init__(self, images, labels, environments=None):
        self.images, self.labels = images, labels
        self.environments = torch.zeros_like(labels) if environments is None else environments

    def load(self, rows, generator=None):
        return self.images[rows]


def model(**entry) -> NWClassifier:
    entry = {"method": "nw", "inference": {"n_neighbors": 4, "n_clusters": 2, "n_random": 2}, **entry}
    return NWClassifier(NWSettings.model_validate(entry), Flat(), 3).eval()


def embedded(seed: int = 0, rows: int = 40, environments: int = 1) -> Features:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.cat([torch.arange(3).repeat(2), torch.randint(3, (rows - 6,), generator=generator)])
    features = torch.randn(rows, 6, generator=generator) + labels[:, None]
    return Features(features, labels, torch.arange(rows) % environments, torch.arange(rows) + 1000)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n_shot=st.integers(1, 3),
    n_way=st.sampled_from([None, 2, 4]),
    exclude=st.booleans(),
)
def test_training_support(seed: int, n_shot: int, n_way: int | None, exclude: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.cat([torch.arange(5).repeat(6), torch.randint(5, (20,), generator=generator)])
    queries = torch.randperm(len(labels), generator=generator)[:2]
    sampler = SupportSampler(labels, 5, n_shot, n_way, exclude)
    rows = sampler.draw(queries, torch.Generator().manual_seed(seed))
    assert len(rows.unique()) == len(rows)
    assert (labels[rows].diff() >= 0).all()
    counts = torch.bincount(labels[rows], minlength=5)
    assert set(counts.tolist()) <= {0, n_shot}
    assert int((counts > 0).sum()) == (5 if n_way is None else n_way)
    assert (counts[labels[queries]] > 0).all()
    if exclude:
        assert not torch.isin(queries, rows).any()
    torch.testing.assert_close(rows, sampler.draw(queries, torch.Generator().manual_seed(seed)))


def test_every_image_is_drawn_equally_often() -> None:
    labels = torch.arange(3).repeat_interleave(8)
    sampler = SupportSampler(labels, 3, 2, exclude_queries=False)
    generator = torch.Generator().manual_seed(0)
    counts = torch.zeros(24)
    for _ in range(2000):
        counts[sampler.draw(torch.tensor([0]), generator)] += 1
    expected = 2000 * 2 / 8
    assert ((counts - expected).abs() < 5 * np.sqrt(expected)).all()


def test_single_environment_supports() -> None:
    labels = torch.arange(3).repeat(20)
    environments = torch.arange(60) // 30
    sampler = SupportSampler(labels, 3, 2, environments=environments)
    generator = torch.Generator().manual_seed(1)
    seen = set()
    for _ in range(20):
        rows = sampler.draw(torch.tensor([0]), generator)
        assert len(environments[rows].unique()) == 1
        seen.add(int(environments[rows][0]))
    assert seen == {0, 1}


def test_too_small_class_is_named() -> None:
    with pytest.raises(
        LookalikeError, match=r"class 1 has 1 image in the training subset, but n_shot: 1 needs at least 2"
    ):
        SupportSampler(torch.tensor([0, 0, 1]), 2, 1)
    with pytest.raises(LookalikeError, match="class 2 has no image"):
        SupportSampler(torch.tensor([0, 0, 1, 1]), 3, 1)


@pytest.mark.parametrize("compat", [None, "upstream"])
@pytest.mark.parametrize("n_way", [None, 3])
def test_training_loss_is_finite_and_moves_the_network(compat: str | None, n_way: int | None) -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(3).repeat(6)
    pool = ListPool(torch.randn(18, 1, 2, 3, generator=generator), labels)
    net = model(compat=compat, proj_dim=4, episodes={"n_shot": 2, "n_way": n_way}, training={"batch_size": 2}).train()
    rows = torch.tensor([0, 4])
    generators = {name: torch.Generator().manual_seed(1) for name in ("augment", "support")}
    loss, log_probs = net.training_loss(Batch(pool.load(rows), labels[rows], rows, pool, generators))
    loss.backward()
    assert log_probs.shape == (2, 3)
    assert net.projection.weight.grad.abs().sum() > 0


def test_a_batch_as_large_as_the_subset_never_shows_a_query_itself() -> None:
    """Every image is a query: supports are still full, and each query's own row weighs nothing."""
    labels = torch.arange(3).repeat(3)
    pool = ListPool(torch.randn(9, 1, 2, 3, generator=torch.Generator().manual_seed(0)), labels)
    net = model(episodes={"n_shot": 2}).train()
    rows = torch.arange(9)
    generators = {name: torch.Generator().manual_seed(1) for name in ("augment", "support")}
    _, log_probs = net.training_loss(Batch(pool.load(rows), labels, rows, pool, generators))
    features = pool.images.flatten(1)
    support = net._sampler.draw(rows, torch.Generator().manual_seed(1))
    assert torch.bincount(labels[support]).tolist() == [2, 2, 2]
    for query in range(9):
        others = support[support != query]
        expected = net.head(features[query][None], features[others], labels[others])
        torch.testing.assert_close(log_probs[query][None], expected)


def test_too_many_ways_are_refused() -> None:
    pool = ListPool(torch.randn(9, 1, 2, 3), torch.arange(3).repeat(3))
    with pytest.raises(LookalikeError, match="n_way is 4, but there are 3 classes"):
        model(episodes={"n_way": 4}).check_training(pool)
    with pytest.raises(LookalikeError, match=r"of at least training.batch_size, but 3 is less than 64"):
        model(episodes={"n_way": 3}, compat="upstream").check_training(pool)


def test_queries_without_their_class_are_left_out() -> None:
    """A single environment may lack a class; the loss is that of the other queries."""
    labels = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2])
    environments = torch.zeros(9, dtype=torch.int64)
    pool = ListPool(torch.randn(9, 1, 2, 3), labels, environments)
    net = model(episodes={"n_shot": 1, "environment": "single"}).train()
    net.n_classes = 4  # a class no environment has
    net.head.n_classes = 4
    rows = torch.tensor([0, 3])
    generators = {name: torch.Generator().manual_seed(1) for name in ("augment", "support")}
    batch = Batch(pool.load(rows), torch.tensor([0, 3]), rows, pool, generators)
    loss, log_probs = net.training_loss(batch)
    assert loss.item() == pytest.approx(-log_probs[0, 0].item())


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), mode=st.sampled_from(MODES), kernel=st.sampled_from(["euclidean", "cosine", "clip"]))
def test_answers_do_not_depend_on_the_batch_or_the_order_of_the_support(seed: int, mode: str, kernel: str) -> None:
    net, support = model(kernel=kernel), embedded(seed, environments=2)
    net.build_support(support, seed)
    queries = embedded(seed + 1).features
    whole = net.predict(Features.unlabelled(queries), mode).log_probs
    single = torch.cat([net.predict(Features.unlabelled(query[None]), mode).log_probs for query in queries])
    torch.testing.assert_close(single, whole)
    if mode in ("full", "ensemble", "knn"):
        other = model(kernel=kernel)
        other.build_support(
            support.rows(torch.randperm(len(support), generator=torch.Generator().manual_seed(seed))), seed
        )
        torch.testing.assert_close(other.predict(Features.unlabelled(queries), mode).log_probs, whole)


def test_modes_reduce_to_full_where_they_must() -> None:
    """With everything as random draw, centroids or neighbours; the classes have unequal sizes."""
    support, queries = embedded(), embedded(1).features
    assert len(torch.bincount(support.labels).unique()) > 1
    everything = {"n_neighbors": len(support), "n_random": len(support), "n_clusters": len(support)}
    net = model(inference=everything)
    net.build_support(support, 0)
    full = net.predict(Features.unlabelled(queries), "full").log_probs
    for mode in ("random", "cluster", "closest_cluster", "ensemble", "knn", "hnsw"):
        torch.testing.assert_close(net.predict(Features.unlabelled(queries), mode).log_probs, full, msg=mode)


def test_upstream_batches_mix_neighbours_and_ours_do_not() -> None:
    support, queries = embedded(), embedded(1).features
    for compat, same in ((None, True), ("upstream", False)):
        net = model(compat=compat)
        net.build_support(support, 0)
        batch = net.predict(Features.unlabelled(queries), "knn").log_probs
        single = torch.cat([net.predict(Features.unlabelled(query[None]), "knn").log_probs for query in queries])
        assert torch.allclose(batch, single, atol=1e-5) is same


def test_support_without_a_class_is_refused() -> None:
    support = embedded()
    with pytest.raises(LookalikeError, match="class 2 has no image in the support"):
        model().build_support(support.rows(support.labels != 2), 0)


def test_too_many_neighbours_are_refused() -> None:
    net = model(inference={"n_neighbors": 500})
    net.build_support(embedded(), 0)
    with pytest.raises(LookalikeError, match="n_neighbors is 500 but the support has 40 rows"):
        net.predict(embedded(1), "knn")


def test_balanced_rows_are_the_first_of_each_class() -> None:
    labels = torch.tensor([1, 0, 1, 1, 0, 0, 1])
    environments = torch.tensor([0, 0, 0, 0, 0, 1, 1])
    assert balanced_rows(labels, environments, 100).tolist() == [1, 4, 0, 2, 5, 6]
    assert balanced_rows(labels, environments, 1).tolist() == [1, 0, 5, 6]


def test_hnsw_on_collapsed_classes_names_real_rows() -> None:
    """The graph finds fewer than k of many equal rows; the rest is searched exactly."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(3, 6, generator=generator)
    labels = torch.arange(3).repeat(400)
    none = torch.zeros(1200, dtype=torch.int64)
    net = model(inference={"n_neighbors": 300})
    net.build_support(Features(centres[labels], labels, none, torch.arange(1200)), 0)
    rows = net.neighbours(centres[labels[:60]] + 0.01, "hnsw")
    assert (rows >= 0).all()


@pytest.mark.parametrize("mode", ["full", "random", "closest_cluster", "knn", "hnsw"])
def test_explanations_name_images_and_weights(mode: str) -> None:
    net, support, queries = model(), embedded(), embedded(1).rows(slice(5))
    net.build_support(support, 0)
    records = net.explain(queries, mode)
    assert [record.query for record in records] == queries.ids.tolist()
    for record, log_probs in zip(records, net.predict(queries, mode).log_probs, strict=True):
        weights = [exemplar.weight for exemplar in record.exemplars]
        assert weights == sorted(weights, reverse=True)
        assert len({exemplar.id for exemplar in record.exemplars}) == len(weights)
        assert record.confidence == pytest.approx(log_probs.exp().max().item(), rel=1e-5)
        for exemplar in record.exemplars:
            assert exemplar.label == support.labels[exemplar.id - 1000]
