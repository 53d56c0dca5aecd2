"""Methods with a random memory: drawing, training and predictions, each recomputed one image at a time."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.memories import CLASSES, MEMORY_METHODS, FakePool, make_model, with_support
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from lookalike.backbones.build import make_backbone
from lookalike.contracts.classifier import Batch
from lookalike.core.errors import LookalikeError
from lookalike.distances.pairwise import cosine_distance
from lookalike.methods.memory.classifier import draw_memory
from lookalike.methods.memory_wrap.classifier import MemoryWrapClassifier
from lookalike.methods.memory_wrap.layer import MemoryWrapLayer
from lookalike.methods.protonet.head import class_means, distances_from_classes
from lookalike.study.read import read_study

ROOT = Path(__file__).parents[2]


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
    for label in range(5):
        assert held[label] == there[label] or held[label] >= held.max() - 1


def test_every_image_comes_up_as_often() -> None:
    labels = torch.tensor([0] * 8 + [1] * 2)
    generator = torch.Generator().manual_seed(0)
    counts = torch.zeros(10)
    for _ in range(4000):
        counts[draw_memory(labels, 3, False, generator)] += 1
    np.testing.assert_allclose(counts / 4000, 0.3, atol=0.03)
    counts = torch.zeros(10)
    for _ in range(4000):
        counts[draw_memory(labels, 2, True, generator)] += 1
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
        most = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor) and not function.is_view and result.dtype.is_floating_point:
                self.most = max(self.most, result.numel())
            return result

    queries, memory = torch.randn(40, 256), torch.randn(60, 256)
    for distance in ("cosine", "l2", "dot"):
        layer = MemoryWrapLayer(256, 3, distance=distance).eval().requires_grad_(False)
        with Largest() as largest:
            layer.content_weights(queries, memory)
        assert 0 < largest.most <= 40 * 60, distance


@pytest.mark.parametrize("name", MEMORY_METHODS)
def test_a_query_never_uses_its_own_image(name: str) -> None:
    """Whatever else is in the memory: the step's loss is that of memories without each query's image."""
    model = make_model(name, memory={"size": 12}).train()
    pool = FakePool(12)  # the memory is the whole pool: every query is in it
    rows = torch.tensor([3, 0, 7])
    generators = {"augment": torch.Generator(), "support": torch.Generator().manual_seed(5)}
    seen = {}
    decide = model.decide

    def spy(features, memory, labels, excluded=None):
        seen.update(features=features, memory=memory, labels=labels, excluded=excluded)
        return decide(features, memory, labels, excluded)

    model.decide = spy
    model.check_training(pool)
    loss, log_probs = model.training_loss(Batch(pool.images[rows], pool.labels[rows], rows, pool, generators))
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


@pytest.mark.parametrize("name", MEMORY_METHODS)
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


def test_a_class_missing_from_the_memory_is_named() -> None:
    features = torch.randn(3, 5)
    with pytest.raises(LookalikeError, match=r"class 1 has no image in the memory of 3 images; .*raise memory.size"):
        class_means(features, torch.tensor([0, 2, 2]), 3)
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
    distances = distances_from_classes(queries, features, labels, 3, excluded)
    means = class_means(features, labels, 3)  # of the second query all: its class has nothing else
    torch.testing.assert_close(
        distances,
        cosine_distance(queries, torch.stack([features[0], means[1], means[2]])).where(
            torch.tensor([[True], [False]]), cosine_distance(queries, means)
        ),
    )


@pytest.mark.long
def test_every_encoder_of_the_papers_study_takes_a_step() -> None:
    """Real images' shape, a memory, gradients everywhere; the study's own settings."""
    study = read_study(ROOT / "workflow" / "studies" / "memory_wrap.yaml")
    kinds = {"fc", "memory_wrap", "baseline_memory"}
    for name in (n for n in study.models if n.endswith("_wrap")):
        family = [study.models[name.replace("_wrap", end)] for end in ("_std", "_memory", "_wrap")]
        assert {model.method for model in family} == kinds
        assert all((m.backbone, m.training) == (family[0].backbone, family[0].training) for m in family), name
        torch.manual_seed(0)
        model = MemoryWrapClassifier(study.models[name], make_backbone(study.models[name].backbone, (3, 32, 32)), 10)
        pool = FakePool(4)
        pool.images = torch.randn(4, 3, 32, 32)
        generators = {"augment": torch.Generator(), "support": torch.Generator().manual_seed(5)}
        rows = torch.arange(2)
        loss, _ = model.training_loss(Batch(pool.images[rows], pool.labels[rows], rows, pool, generators))
        loss.backward()
        without = [key for key, p in model.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
        assert not without, name
