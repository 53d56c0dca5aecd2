"""Re-ranking: candidates, comparison, vote and explanation against loops over queries and exemplars."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lookalike.backbones.small_cnn import SmallCNN
from lookalike.contracts.classifier import Batch
from lookalike.contracts.explanation import Exemplar, read_explanations, write_explanations
from lookalike.contracts.features import Features, ImageAccess
from lookalike.core.errors import LookalikeError
from lookalike.methods.emd_corr import transport
from lookalike.methods.registry import METHODS
from lookalike.methods.reranking.classifier import Reranker
from lookalike.methods.reranking.gallery import Gallery
from lookalike.methods.reranking.patches import Patches, cell_centres, match_patches
from lookalike.methods.reranking.transfer import transfer_points
from lookalike.rerank import chm_similarity, emd_similarity

N, B, K, V, CLASSES = 14, 5, 6, 3, 3
ORIGIN = {"weights": "a", "data": "b", "settings": "c"}
FILE = Path("gallery.safetensors")
RANKING = {"n_candidates": K, "k": V}


def images(count: int, seed: int) -> torch.Tensor:
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def make(method: str, compat: str | None = None, **inference: object) -> Reranker:
    torch.manual_seed(0)
    entry = {"method": method, "backbone_from": "fc", "inference": {**RANKING, **inference}, "compat": compat}
    if method == "chm_corr":
        entry |= {"training": {}, "correspondence": {"channels": 4}}
    row = METHODS[method]
    model = row.classifier_class()(row.settings_class().model_validate(entry), SmallCNN((1, 8, 8)), CLASSES)
    return model.eval().requires_grad_(False)


def embedded(model: Reranker, shown: torch.Tensor, start: int = 0) -> Features:
    rows = torch.arange(len(shown))
    return Features(model.embed(shown), rows % CLASSES, rows * 0, rows + start)


def ready(model: Reranker, folder: Path, order: torch.Tensor | None = None) -> Reranker:
    """With its support and gallery, in an order."""
    order = torch.arange(N) if order is None else order
    training = images(N, 1)
    model.build_support(embedded(model, training).rows(order), 0)
    model.open_gallery(ImageAccess(lambda rows: training[order][rows]), folder / FILE, ORIGIN)
    return model


def matched(model: Reranker, shown: torch.Tensor, points: torch.Tensor | None = None) -> Features:
    return model.match_queries(embedded(model, shown, 100), ImageAccess(lambda rows: shown[rows], points))


@pytest.mark.parametrize("method", ["emd_corr", "chm_corr"])
def test_scores_and_votes_pair_by_pair(method: str, tmp_path: Path) -> None:
    model = ready(make(method), tmp_path)
    shown, training = images(B, 2), images(N, 1)
    queries = matched(model, shown)
    pooled = torch.nn.functional.normalize(model.embed(training), dim=1)
    for row in range(B):
        cosine = pooled @ torch.nn.functional.normalize(queries.features[row], dim=0)
        candidates = cosine.argsort(descending=True, stable=True)[:K]
        assert queries.match_scores["rows"][row].tolist() == candidates.tolist()
        own_map = model.backbone.feature_map(shown[row : row + 1])
        scores = []
        for exemplar in candidates:
            other_map = model.backbone.feature_map(training[exemplar : exemplar + 1])
            matches = match_patches(Patches.of(own_map), Patches.of(other_map))
            if method == "emd_corr":
                plan = transport.sinkhorn(matches.similarity, *transport.proper_marginals(matches, False)).plan
                scores.append(float(transport.score(plan, matches.similarity, 5)))
            else:
                field = model.chmnet(model.chmnet.pyramid(own_map), model.chmnet.pyramid(other_map))
                moved = transfer_points(field, cell_centres(4), model.log_scale.exp())[0]
                low, high = matches.query_map.min(), matches.query_map.max()
                attention = (matches.query_map[0] - low) / (high - low)
                values = []
                for patch, (x, y) in enumerate(moved.tolist()):
                    column, line = (min(int((at + 1) / 2 * 4), 3) for at in (x, y))
                    alike = torch.cosine_similarity(
                        own_map[0, :, patch // 4, patch % 4], other_map[0, :, line, column], dim=0
                    )
                    values.append(float(alike) if attention[patch] >= 0.55 else 0.0)
                scores.append(float(np.mean(sorted(values)[-5:])))
        assert queries.match_scores["scores_vote"][row].tolist() == pytest.approx(scores, abs=2e-5)
        best = [int(model.labels[candidates[k]]) for k in np.argsort(-np.array(scores), kind="stable")[:V]]
        shares = model.predict(queries.rows(slice(row, row + 1)), "vote").log_probs.exp()[0]
        assert shares.tolist() == pytest.approx([best.count(label) / V for label in range(CLASSES)])


@pytest.mark.parametrize(("method", "compat"), [("emd_corr", None), ("emd_corr", "upstream"), ("chm_corr", None)])
def test_a_query_does_not_depend_on_the_others_nor_on_the_order_of_the_support(
    method: str, compat: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ready(make(method, compat=compat), tmp_path)
    shown = images(B, 2)
    whole = matched(model, shown)
    monkeypatch.setattr("lookalike.methods.reranking.classifier.BLOCK_BYTES", 1)  # a query a block
    for row in range(B):
        alone = matched(model, shown[row : row + 1])
        for name, values in alone.match_scores.items():
            torch.testing.assert_close(values[0], whole.match_scores[name][row], atol=1e-5, rtol=1e-4)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(0))
    other = ready(make(method, compat=compat), tmp_path / "other", order)
    shuffled = matched(other, shown)
    assert torch.equal(order[shuffled.match_scores["rows"]], whole.match_scores["rows"])
    torch.testing.assert_close(
        shuffled.match_scores["scores_vote"], whole.match_scores["scores_vote"], atol=1e-5, rtol=1e-4
    )


def test_key_points_choose_the_patches(tmp_path: Path) -> None:
    model = ready(make("chm_corr"), tmp_path)
    shown = images(2, 2)
    points = torch.tensor([[[0.1, 0.1, 1.0], [0.6, 0.9, 1.0]], [[0.5, 0.5, 0.0], [0.2, 0.2, 0.0]]])
    queries = matched(model, shown, points)
    row, k = 0, 0
    exemplar = queries.match_scores["rows"][row, k]
    own_map, other_map = (model.backbone.feature_map(x) for x in (shown[:1], images(N, 1)[exemplar : exemplar + 1]))
    query, near = model.prepare(shown[:1], "query"), model.prepare(images(N, 1)[exemplar : exemplar + 1], "exemplar")
    target = model.correspondences(query, near).target[0]
    total = 0.0
    for patch in (0, 3 * 4 + 2):  # of the two points
        end = int(target[patch])
        total += float(torch.cosine_similarity(own_map[0].flatten(1)[:, patch], other_map[0].flatten(1)[:, end], dim=0))
    assert float(queries.match_scores["scores_key_points"][row, k]) == pytest.approx(total / 16, abs=1e-5)
    # A query without a visible key point is judged as in mode vote.
    assert torch.equal(queries.match_scores["scores_key_points"][1], queries.match_scores["scores_vote"][1])


@pytest.mark.parametrize("method", ["emd_corr", "chm_corr"])
def test_explanations_tell_where_patches_go(method: str, tmp_path: Path) -> None:
    model = ready(make(method), tmp_path)
    shown, training = images(B, 2), images(N, 1)
    queries = matched(model, shown)
    every = torch.cat([training, shown])
    place = {**{n: n for n in range(N)}, **{100 + n: N + n for n in range(B)}}
    records = model.add_correspondences(
        model.explain(queries, "vote"), queries, lambda ids: every[[place[image] for image in ids]]
    )
    for row, record in enumerate(records):
        ranked = queries.match_scores["scores_vote"][row].argsort(descending=True, stable=True)[:V]
        assert [e.id for e in record.exemplars] == queries.match_scores["rows"][row, ranked].tolist()
        assert record.grid == [4, 4]
        assert sum(e.weight for e in record.exemplars) == pytest.approx(1)
        for exemplar in record.exemplars:
            assert (exemplar.target is not None) == (exemplar.label == record.predicted)
        for exemplar in record.shown:
            pairs_of_exemplar = model.correspondences(
                model.prepare(shown[row : row + 1], "query"),
                model.prepare(training[exemplar.id : exemplar.id + 1], "exemplar"),
            )
            assert exemplar.target == pairs_of_exemplar.target[0].tolist()
            assert exemplar.target_weight == pytest.approx(pairs_of_exemplar.weight[0].tolist(), abs=1e-6)
            pairs = exemplar.strongest_pairs()
            assert [pair.weight for pair in pairs] == sorted(pair.weight for pair in pairs)
    write_explanations(tmp_path / "records.parquet", records)
    again = read_explanations(tmp_path / "records.parquet")
    assert [r.exemplars[0].target for r in again] == [r.exemplars[0].target for r in records]
    assert [r.nearest for r in again] == [r.nearest for r in records]


def test_more_candidates_than_training_images_are_refused() -> None:
    model = make("emd_corr", n_candidates=20)
    with pytest.raises(
        LookalikeError, match=r"n_candidates is 20 but the training subset has 14 images; write inference"
    ):
        model.build_support(embedded(model, images(N, 1)), 0)


def test_prepared_images_of_another_network_are_made_anew(tmp_path: Path) -> None:
    model = ready(make("emd_corr"), tmp_path)
    assert (tmp_path / FILE).exists()
    asked: list[int] = []

    def take(rows: torch.Tensor) -> torch.Tensor:
        asked.extend(rows.tolist())
        return images(N, 1)[rows]

    model.open_gallery(ImageAccess(take), tmp_path / FILE, ORIGIN)
    assert not asked, "the same hashes: read from disk"
    model.open_gallery(ImageAccess(take), tmp_path / FILE, {**ORIGIN, "weights": "of another backbone"})
    assert sorted(set(asked)) == list(range(N))


@pytest.mark.parametrize("method", ["emd_corr", "chm_corr"])
def test_a_gallery_that_holds_little_more_than_a_query_needs_gives_the_same(method: str, tmp_path: Path) -> None:
    shown = images(B, 2)
    wanted = matched(ready(make(method), tmp_path), shown).match_scores
    size = sum(value[0].nbytes for value in make(method).prepare(images(1, 1), "exemplar").values())
    small = ready(make(method, gallery_gb=(K + 1.5) * size / 1e9), tmp_path / "small")
    assert small.gallery.capacity == K + 1
    scores = matched(small, shown).match_scores
    assert torch.equal(scores["rows"], wanted["rows"])
    assert torch.allclose(scores["scores_vote"], wanted["scores_vote"], atol=1e-6)
    assert not (tmp_path / "small" / FILE).exists()


def test_key_points_are_asked_for_where_there_are_none(tmp_path: Path) -> None:
    model = ready(make("chm_corr"), tmp_path)
    model.modes = ("vote", "key_points")
    with pytest.raises(LookalikeError, match="mode key_points needs key points, which these images have none of"):
        matched(model, images(B, 2))


def test_the_matching_network_learns_in_half_precision_too() -> None:
    losses = []
    for half in (False, True):
        model = make("chm_corr").train()
        model.chmnet.requires_grad_(True)
        generator = torch.Generator().manual_seed(0)
        batch = Batch(images(4, 0), torch.zeros(4, dtype=torch.int64), torch.arange(4), None, {"augment": generator})
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss, _ = model.training_loss(batch)
        assert loss.dtype == torch.float32
        loss.backward()
        losses.append(loss.item())
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


def test_training_the_matching_network_leaves_the_backbone_alone() -> None:
    model = make("chm_corr").train()
    model.chmnet.requires_grad_(True)
    model.log_scale.requires_grad_(True)
    before = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    shown = images(4, 0)
    batch = Batch(shown, torch.zeros(4, dtype=torch.int64), torch.arange(4), SimpleNamespace(), {"augment": generator})
    loss, right = model.training_loss(batch)
    loss.backward()
    assert all(torch.equal(value, before[name]) for name, value in model.backbone.state_dict().items())
    assert right.shape == (4,)
    assert 0 <= float(model.count_correct(right, batch)) <= 4
    trained = {name for name, p in model.named_parameters() if p.grad is not None and bool(p.grad.abs().sum() > 0)}
    assert trained == {name for name, _ in model.named_parameters() if not name.startswith("backbone.")}


@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=4), min_size=1, max_size=8), st.integers(4, 12))
@settings(deadline=None)
def test_a_gallery_gives_what_it_would_make(requests: list[list[int]], fit: int) -> None:
    prepared: list[int] = []

    def make_rows(rows: torch.Tensor) -> dict[str, torch.Tensor]:
        prepared.extend(rows.tolist())
        return {"a": rows[:, None].float() * 2, "b": rows.float() + 0.5}

    gallery = Gallery(make_rows, 10, fit * 8)  # eight bytes a row
    for rows in requests:
        loaded = gallery.load(torch.tensor(rows))
        assert loaded["a"][:, 0].tolist() == [2.0 * row for row in rows]
        assert loaded["b"].tolist() == [row + 0.5 for row in rows]
    assert len(gallery._row_of) == min(fit, 10)
    recent: list[int] = []
    for row in requests[-1]:
        recent.append(row)
    prepared.clear()
    gallery.load(torch.tensor(recent))
    assert not prepared, "what was just used is kept"
    if fit >= 10:
        complete = gallery.complete()
        assert complete is not None
        assert complete["b"].tolist() == [row + 0.5 for row in range(10)]


def test_a_gallery_forgets_what_was_not_used_for_longest() -> None:
    asked: list[int] = []

    def make_rows(rows: torch.Tensor) -> dict[str, torch.Tensor]:
        asked.extend(rows.tolist())
        return {"a": rows.float()}

    gallery = Gallery(make_rows, 100, 3 * 4)
    for row in (1, 2, 3, 1, 4):
        gallery.load(torch.tensor([row]))
    asked.clear()
    gallery.load(torch.tensor([1, 3, 4]))
    assert not asked
    gallery.load(torch.tensor([2]))
    assert asked == [2]
    with pytest.raises(LookalikeError, match=r"raise inference.gallery_gb or lower inference.n_candidates"):
        gallery.load(torch.arange(4))
    assert gallery.complete() is None


def test_records_without_patches_draw_no_pairs() -> None:
    assert Exemplar(0, 0, 1.0).strongest_pairs() == []
    assert replace(Exemplar(0, 0, 1.0), target=[0], target_weight=[1.0]).strongest_pairs()[0].colour == 0


@pytest.mark.parametrize("method", ["emd_corr", "chm_corr"])
def test_the_public_similarity_is_what_candidates_are_ordered_by(method: str, tmp_path: Path) -> None:
    model = ready(make(method), tmp_path)
    shown, training = images(B, 2), images(N, 1)
    queries = matched(model, shown)
    for row in range(B):
        query = model.backbone.feature_map(shown[row : row + 1])[0]
        candidates = model.backbone.feature_map(training[queries.match_scores["rows"][row]])
        if method == "emd_corr":
            similarity = emd_similarity(query, candidates)
        else:
            similarity = chm_similarity(query, candidates, model.chmnet, scale=model.log_scale.exp())
        torch.testing.assert_close(similarity, queries.match_scores["scores_vote"][row])
        prepared = model.prepare(shown[row : row + 1], "query")
        near = model.prepare(training[queries.match_scores["rows"][row]], "exemplar")
        near = {name: values[None] for name, values in near.items()}
        torch.testing.assert_close(similarity, model.scores(prepared, near, None)["vote"][0])


def test_the_public_similarities_have_the_classifiers_options(tmp_path: Path) -> None:
    shown, training = images(B, 2), images(N, 1)
    for inference in ({"marginals": "uniform"}, {"entries": None}, {"entries": 3}):
        model = ready(make("emd_corr", **inference), tmp_path / str(inference))
        queries = matched(model, shown)
        rows = queries.match_scores["rows"][0]
        query, candidates = (model.backbone.feature_map(x) for x in (shown[:1], training[rows]))
        options = {"uniform": "marginals" in inference, "entries": inference.get("entries", 5)}
        similarity = emd_similarity(query[0], candidates, **options)
        torch.testing.assert_close(similarity, queries.match_scores["scores_vote"][0])
    model = ready(make("chm_corr", threshold=0.2), tmp_path / "chm_corr")
    queries = matched(model, shown)
    rows = queries.match_scores["rows"][0]
    query, candidates = (model.backbone.feature_map(x) for x in (shown[:1], training[rows]))
    similarity = chm_similarity(query[0], candidates, model.chmnet, 0.2, model.log_scale.exp())
    torch.testing.assert_close(similarity, queries.match_scores["scores_vote"][0])
