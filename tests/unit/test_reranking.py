"""Re-ranking: shortlist, comparison, vote and explanation against loops over queries and exemplars."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_readers import prepare, source  # noqa: F401

from lookalike.backbones.small_cnn import SmallCNN
from lookalike.data.framing import framed_points
from lookalike.data.images import open_images
from lookalike.errors import LookalikeError
from lookalike.explanation.record import read_explanations, write_explanations
from lookalike.methods.base import Batch, Embedded, Looks
from lookalike.methods.chm_corr import classifier as chm
from lookalike.methods.emd_corr import classifier as emd
from lookalike.methods.emd_corr import transport
from lookalike.methods.patches import Patches, match_patches
from lookalike.methods.reranking import Reranker
from lookalike.support.gallery import Gallery

N, B, K, V, CLASSES = 14, 5, 6, 3, 3
ORIGIN = {"weights": "a", "data": "b", "settings": "c"}
FILE = Path("gallery.safetensors")
RANKING = {"shortlist": K, "voters": V}


def images(count: int, seed: int) -> torch.Tensor:
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def make(method: str, **inference: object) -> Reranker:
    torch.manual_seed(0)
    entry = {"method": method, "backbone_from": "fc", "inference": {**RANKING, **inference}}
    if method == "chm_corr":
        entry |= {"training": {}, "correspondence": {"channels": 4}}
    module = {"emd_corr": emd, "chm_corr": chm}[method]
    model = module.Model(module.Settings.model_validate(entry), SmallCNN((1, 8, 8)), CLASSES)
    return model.eval().requires_grad_(False)


def embedded(model: Reranker, shown: torch.Tensor, start: int = 0) -> Embedded:
    rows = torch.arange(len(shown))
    return Embedded(model.embed(shown), rows % CLASSES, rows * 0, rows + start)


def ready(model: Reranker, folder: Path, order: torch.Tensor | None = None) -> Reranker:
    """With its support and gallery, in an order."""
    order = torch.arange(N) if order is None else order
    training = images(N, 1)
    model.build_support(embedded(model, training).rows(order), 0)
    model.open_gallery(Looks(lambda rows: training[order][rows]), folder / FILE, ORIGIN)
    return model


def compared(model: Reranker, shown: torch.Tensor, points: torch.Tensor | None = None) -> Embedded:
    return model.compare(embedded(model, shown, 100), Looks(lambda rows: shown[rows], points))


@pytest.mark.parametrize("method", ["emd_corr", "chm_corr"])
def test_scores_and_votes_pair_by_pair(method: str, tmp_path: Path) -> None:
    model = ready(make(method), tmp_path)
    shown, training = images(B, 2), images(N, 1)
    queries = compared(model, shown)
    pooled = torch.nn.functional.normalize(model.embed(training), dim=1)
    for row in range(B):
        cosine = pooled @ torch.nn.functional.normalize(queries.features[row], dim=0)
        shortlist = cosine.argsort(descending=True, stable=True)[:K]
        assert queries.compared["rows"][row].tolist() == shortlist.tolist()
        own = model.backbone.feature_map(shown[row : row + 1])
        scores = []
        for exemplar in shortlist:
            other = model.backbone.feature_map(training[exemplar : exemplar + 1])
            matches = match_patches(Patches.of(own), Patches.of(other))
            if method == "emd_corr":
                plan = transport.sinkhorn(matches.similarity, *transport.proper_marginals(matches, False)).plan
                scores.append(float(transport.score(plan, matches.similarity, 5)))
            else:
                field = model.learner(model.learner.pyramid(own), model.learner.pyramid(other))
                moved = chm.transfer_points(field, chm.cell_centres(4), model.log_scale.exp())[0]
                attention = (matches.query_map[0] - matches.query_map.min()) / np.ptp(matches.query_map)
                values = []
                for patch, (x, y) in enumerate(moved.tolist()):
                    column, line = (min(int((at + 1) / 2 * 4), 3) for at in (x, y))
                    alike = torch.cosine_similarity(own[0, :, patch // 4, patch % 4], other[0, :, line, column], dim=0)
                    values.append(float(alike) if attention[patch] >= 0.55 else 0.0)
                scores.append(float(np.mean(sorted(values)[-5:])))
        assert queries.compared["scores_vote"][row].tolist() == pytest.approx(scores, abs=2e-5)
        best = [int(model.labels[shortlist[k]]) for k in np.argsort(-np.array(scores), kind="stable")[:V]]
        shares = model.predict(queries.rows(slice(row, row + 1)), "vote").log_probs.exp()[0]
        assert shares.tolist() == pytest.approx([best.count(label) / V for label in range(CLASSES)])


@pytest.mark.parametrize(("method", "compat"), [("emd_corr", None), ("emd_corr", "upstream"), ("chm_corr", None)])
def test_a_query_does_not_depend_on_the_others_nor_on_the_order_of_the_support(
    method: str, compat: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ready(make(method, compat=compat), tmp_path)
    shown = images(B, 2)
    whole = compared(model, shown)
    monkeypatch.setattr("lookalike.methods.reranking.BLOCK_BYTES", 1)  # a query a block
    for row in range(B):
        alone = compared(model, shown[row : row + 1])
        for name, values in alone.compared.items():
            torch.testing.assert_close(values[0], whole.compared[name][row], atol=1e-5, rtol=1e-4)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(0))
    other = ready(make(method, compat=compat), tmp_path / "other", order)
    found = compared(other, shown)
    assert torch.equal(order[found.compared["rows"]], whole.compared["rows"])
    torch.testing.assert_close(found.compared["scores_vote"], whole.compared["scores_vote"], atol=1e-5, rtol=1e-4)


def test_key_points_choose_the_patches(tmp_path: Path) -> None:
    model = ready(make("chm_corr"), tmp_path)
    shown = images(2, 2)
    points = torch.tensor([[[0.1, 0.1, 1.0], [0.6, 0.9, 1.0]], [[0.5, 0.5, 0.0], [0.2, 0.2, 0.0]]])
    queries = compared(model, shown, points)
    row, k = 0, 0
    exemplar = queries.compared["rows"][row, k]
    own, other = (model.backbone.feature_map(x) for x in (shown[:1], images(N, 1)[exemplar : exemplar + 1]))
    query, near = model.prepare(shown[:1], "query"), model.prepare(images(N, 1)[exemplar : exemplar + 1], "exemplar")
    partner = model.links(query, near).partner[0]
    total = 0.0
    for patch in (0, 3 * 4 + 2):  # of the two points
        end = int(partner[patch])
        total += float(torch.cosine_similarity(own[0].flatten(1)[:, patch], other[0].flatten(1)[:, end], dim=0))
    assert float(queries.compared["scores_key_points"][row, k]) == pytest.approx(total / 16, abs=1e-5)
    # A query without a visible key point is judged as in mode vote.
    assert torch.equal(queries.compared["scores_key_points"][1], queries.compared["scores_vote"][1])


@pytest.mark.parametrize("method", ["emd_corr", "chm_corr"])
def test_explanations_tell_where_patches_go(method: str, tmp_path: Path) -> None:
    model = ready(make(method), tmp_path)
    shown, training = images(B, 2), images(N, 1)
    queries = compared(model, shown)
    every = torch.cat([training, shown])
    place = {**{n: n for n in range(N)}, **{100 + n: N + n for n in range(B)}}
    records = model.add_links(
        model.explain(queries, "vote"), queries, lambda ids: every[[place[image] for image in ids]]
    )
    for row, record in enumerate(records):
        ranked = queries.compared["scores_vote"][row].argsort(descending=True, stable=True)[:V]
        assert [e.id for e in record.exemplars] == queries.compared["rows"][row, ranked].tolist()
        assert record.grid == [4, 4]
        assert sum(e.weight for e in record.exemplars) == pytest.approx(1)
        for exemplar in record.exemplars:
            assert (exemplar.partner is not None) == (exemplar.label == record.predicted)
        for exemplar in record.shown:
            links = model.links(
                model.prepare(shown[row : row + 1], "query"),
                model.prepare(training[exemplar.id : exemplar.id + 1], "exemplar"),
            )
            assert exemplar.partner == links.partner[0].tolist()
            assert exemplar.strength == pytest.approx(links.strength[0].tolist(), abs=1e-6)
            pairs = exemplar.strongest_pairs()
            assert [pair.strength for pair in pairs] == sorted(pair.strength for pair in pairs)
    write_explanations(tmp_path / "records.parquet", records)
    again = read_explanations(tmp_path / "records.parquet")
    assert [r.exemplars[0].partner for r in again] == [r.exemplars[0].partner for r in records]
    assert [r.nearest for r in again] == [r.nearest for r in records]


def test_a_shortlist_longer_than_the_gallery_is_refused() -> None:
    model = make("emd_corr", shortlist=20)
    with pytest.raises(LookalikeError, match=r"shortlist is 20 but the training subset has 14 images; write inference"):
        model.build_support(embedded(model, images(N, 1)), 0)


def test_prepared_images_of_another_network_are_made_anew(tmp_path: Path) -> None:
    model = ready(make("emd_corr"), tmp_path)
    assert (tmp_path / FILE).exists()
    asked: list[int] = []

    def take(rows: torch.Tensor) -> torch.Tensor:
        asked.extend(rows.tolist())
        return images(N, 1)[rows]

    model.open_gallery(Looks(take), tmp_path / FILE, ORIGIN)
    assert not asked, "the same hashes: read from disk"
    model.open_gallery(Looks(take), tmp_path / FILE, {**ORIGIN, "weights": "of another backbone"})
    assert sorted(set(asked)) == list(range(N))


@pytest.mark.parametrize("method", ["emd_corr", "chm_corr"])
def test_a_gallery_that_holds_little_more_than_a_shortlist_gives_the_same(method: str, tmp_path: Path) -> None:
    shown = images(B, 2)
    wanted = compared(ready(make(method), tmp_path), shown).compared
    size = sum(value[0].nbytes for value in make(method).prepare(images(1, 1), "exemplar").values())
    small = ready(make(method, gallery_gb=(K + 1.5) * size / 1e9), tmp_path / "small")
    assert small.gallery.capacity == K + 1
    found = compared(small, shown).compared
    assert torch.equal(found["rows"], wanted["rows"])
    assert torch.allclose(found["scores_vote"], wanted["scores_vote"], atol=1e-6)
    assert not (tmp_path / "small" / FILE).exists()


def test_key_points_are_asked_for_where_there_are_none(tmp_path: Path) -> None:
    model = ready(make("chm_corr"), tmp_path)
    model.modes = ("vote", "key_points")
    with pytest.raises(LookalikeError, match="mode key_points needs key points, which these images have none of"):
        compared(model, images(B, 2))


def test_the_matching_network_learns_in_half_precision_too() -> None:
    losses = []
    for half in (False, True):
        model = make("chm_corr").train()
        model.learner.requires_grad_(True)
        made = torch.Generator().manual_seed(0)
        batch = Batch(images(4, 0), torch.zeros(4, dtype=torch.int64), torch.arange(4), None, {"augment": made})
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss, _ = model.training_loss(batch)
        assert loss.dtype == torch.float32
        loss.backward()
        losses.append(loss.item())
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


def test_training_the_matching_network_leaves_the_backbone_alone() -> None:
    model = make("chm_corr").train()
    model.learner.requires_grad_(True)
    model.log_scale.requires_grad_(True)
    before = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    made = torch.Generator().manual_seed(0)
    shown = images(4, 0)
    batch = Batch(shown, torch.zeros(4, dtype=torch.int64), torch.arange(4), SimpleNamespace(), {"augment": made})
    loss, right = model.training_loss(batch)
    loss.backward()
    assert all(torch.equal(value, before[name]) for name, value in model.backbone.state_dict().items())
    assert right.shape == (4,)
    assert 0 <= float(model.count_right(right, batch)) <= 4
    trained = {name for name, p in model.named_parameters() if p.grad is not None and bool(p.grad.abs().sum() > 0)}
    assert trained == {name for name, _ in model.named_parameters() if not name.startswith("backbone.")}


@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=4), min_size=1, max_size=8), st.integers(4, 12))
@settings(deadline=None)
def test_a_gallery_gives_what_it_would_make(requests: list[list[int]], fit: int) -> None:
    made: list[int] = []

    def make_rows(rows: torch.Tensor) -> dict[str, torch.Tensor]:
        made.extend(rows.tolist())
        return {"a": rows[:, None].float() * 2, "b": rows.float() + 0.5}

    gallery = Gallery(make_rows, 10, fit * 8)  # eight bytes a row
    for rows in requests:
        found = gallery.take(torch.tensor(rows))
        assert found["a"][:, 0].tolist() == [2.0 * row for row in rows]
        assert found["b"].tolist() == [row + 0.5 for row in rows]
    assert len(gallery._row_of) == min(fit, 10)
    recent: list[int] = []
    for row in requests[-1]:
        recent.append(row)
    made.clear()
    gallery.take(torch.tensor(recent))
    assert not made, "what was just used is kept"
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
        gallery.take(torch.tensor([row]))
    asked.clear()
    gallery.take(torch.tensor([1, 3, 4]))
    assert not asked
    gallery.take(torch.tensor([2]))
    assert asked == [2]
    with pytest.raises(LookalikeError, match=r"raise inference.gallery_gb or lower inference.shortlist"):
        gallery.take(torch.arange(4))
    assert gallery.complete() is None


@pytest.mark.parametrize("reading", [{}, {"fit": "squash"}, {"box": True, "size": 28}, {"size": 16, "resize": 20}])
def test_key_points_are_where_models_see_them(prepare, source, reading: dict) -> None:  # noqa: F811
    """In photographs whose pixels know where they are."""
    import layouts
    from PIL import Image

    layouts.make_cub200(source("cub200"))
    data = prepare("cub200", {"train": 3, "test": 2}, **{"size": 24, "resize": 28, **reading})
    rows = np.arange(5)

    def photograph(row: int) -> Image.Image:
        height, width = (int(data.column(name)[row]) for name in ("height", "width"))
        y, x = np.mgrid[:height, :width]
        return Image.fromarray(np.stack([x * 8, y * 8, x * 0], -1).astype(np.uint8))

    data.photograph = photograph
    points = framed_points(data, rows)
    assert points is not None
    shown = open_images(data, rows).raw(torch.arange(5)) * 255 / 8  # (5, 3, H, W): x and y of each pixel
    stored = data.column("points").reshape(5, -1, 3)
    checked = 0
    for image in range(5):
        for (x, y, inside), (px, py, visible) in zip(points[image].tolist(), stored[image].tolist(), strict=True):
            if not inside:
                continue
            assert visible
            at = [min(int(value * shown.shape[-1]), shown.shape[-1] - 1) for value in (y, x)]
            found = shown[image, :2, at[0], at[1]].tolist()
            assert found == pytest.approx([px - 0.5, py - 0.5], abs=1.3)
            checked += 1
    assert checked


def test_records_without_patches_draw_no_pairs() -> None:
    from lookalike.explanation.record import Exemplar

    assert Exemplar(0, 0, 1.0).strongest_pairs() == []
    assert replace(Exemplar(0, 0, 1.0), partner=[0], strength=[1.0]).strongest_pairs()[0].colour == 0
