"""Golden families of the visual-correspondence code: kNN and EMD-Corr."""

from pathlib import Path

import numpy as np
import torch
from compare import close

from lookalike.explanation.record import Exemplar
from lookalike.methods.emd_corr import transport
from lookalike.methods.knn import vote
from lookalike.methods.patches import Patches, match_patches
from lookalike.support.neighbours import nearest, normalise_rows

SHORTLIST = "shortlist50_ascending"


def check_knn(name: str, content: dict[str, np.ndarray]) -> None:
    train, query = (normalise_rows(torch.from_numpy(content[key])) for key in ("train", "query"))
    labels = torch.from_numpy(content["train_label"])
    close(query @ train.T, content["similarity"], 1e-6, what="similarity")

    size = content[SHORTLIST].shape[1]
    for block in (1 << 18, 7):  # whole, and streamed in blocks smaller than the shortlist
        values, rows = nearest(query, train, size, "inner_product", block)
        np.testing.assert_array_equal(rows.numpy()[:, ::-1], content[SHORTLIST])
        close(values, np.take_along_axis(content["similarity"], rows.numpy(), 1), 1e-6, what="values")

    voters = int(content["vote_k"])
    _, rows = nearest(query, train, voters, "inner_product")
    np.testing.assert_array_equal(rows.numpy(), content["top_k_best_first"])
    n_classes = int(labels.max()) + 1
    shares = vote(labels[rows], n_classes).numpy()
    np.testing.assert_array_equal(shares.argmax(1), content["pred"])
    np.testing.assert_array_equal(np.rint(shares.max(1) * voters), content["pred_count"])


def check_emd(name: str, content: dict[str, np.ndarray]) -> None:
    """Maps, marginals, the batch-wide Sinkhorn, scores, order, vote and drawn pairs of one query."""
    maps = torch.from_numpy(content["fb"])
    patches = Patches.of(maps)
    grid = maps.shape[-1]
    matches = match_patches(patches.rows(slice(0, 1)), patches)
    close(matches.exemplar_map.unflatten(1, (grid, grid)), content["map_gallery"], 1e-6, what="map_gallery")
    close(matches.query_map.unflatten(1, (grid, grid)), content["map_query"], 1e-6, what="map_query")
    rows, columns = transport.attention_marginals(matches)
    if content["use_uniform"]:
        rows = columns = torch.full_like(rows, 1 / grid**2)
    close(rows, content["row_marginal"], 1e-6, what="rows")
    close(columns, content["col_marginal"], 1e-6, what="columns")
    found = transport.sinkhorn_upstream(matches.similarity, rows, columns)
    assert int(found.passes[0]) == content["sinkhorn_iters"]
    assert bool(found.solved[0]) == bool(content["sinkhorn_solution"])
    close(found.plan[: len(content["plan"])], content["plan"], 1e-6, what="plan")
    entries = int(content["num_patch"]) if content["closest_patch"] else None
    scores = transport.score(found.plan, matches.similarity, entries)
    if content["mix_distance"]:
        scores = transport.mixed_score(scores, matches)
    stored = content["score"]
    sure = np.ones(len(stored), bool)
    flat = np.ptp(content["plan"].reshape(len(content["plan"]), -1), axis=1) < 1e-7  # any entries may be the top ones
    sure[: len(flat)] &= ~(flat & bool(content["use_uniform"]))
    close(scores[torch.from_numpy(sure)], stored[sure], 5e-6, what="score")
    order = scores[1:].argsort(descending=True, stable=True)
    np.testing.assert_array_equal(order, content["rerank_full"])
    best = order[: int(content["votes"])]
    np.testing.assert_array_equal(best, content["rerank_top"])
    labels = torch.from_numpy(content["label"])
    _check_vote(labels[best][None], int(labels.max()) + 1, content["pred"], content["pred_count"])
    partner, flow = transport.links(found.plan[1:][best[: len(content["vis_flow"])]])
    for number, (ends, strength) in enumerate(zip(partner, flow, strict=True)):
        shown = Exemplar(0, 0, 0, partner=ends.tolist(), strength=strength.tolist()).strongest_pairs()
        for patches, key in (
            ([p.query for p in shown], "vis_query_xy"),
            ([p.exemplar for p in shown], "vis_gallery_xy"),
        ):
            cells = [[patch % grid, patch // grid] for patch in patches]
            np.testing.assert_array_equal(cells, content[key][number], key)
        close([p.strength for p in shown], content["vis_flow"][number], 1e-6, what="vis_flow")
        np.testing.assert_array_equal([p.colour for p in shown], content["vis_color"][number])


def complete(path: Path, content: dict[str, np.ndarray]) -> None:
    """Variants of a case have its maps in one file only."""
    if "plan" not in content or "fb" in content or "votes" not in content:
        return
    edge = path.stem.startswith("edge_")
    stem = path.stem.removesuffix("_uniform") if edge else "_".join([*path.stem.split("_")[:3], "attention"])
    with np.load(path.with_name(f"{stem}.npz"), allow_pickle=False) as archive:
        content["fb"] = archive["fb"]


def _check_vote(labels: torch.Tensor, n_classes: int, predicted, counts) -> None:
    shares = vote(labels, n_classes).numpy()
    np.testing.assert_array_equal(shares.argmax(1), np.atleast_1d(predicted))
    np.testing.assert_array_equal(np.rint(shares.max(1) * labels.shape[1]), np.atleast_1d(counts))


def check_spatial_similarity(name: str, content: dict[str, np.ndarray]) -> None:
    numbers = [key.removeprefix("q") for key in content if key.startswith("q")]
    assert numbers
    for number in numbers:
        query, other = (Patches.of(torch.from_numpy(content[key + number])[None]) for key in ("q", "g"))
        found = match_patches(query, other)
        grid = content[f"q{number}"].shape[-1]
        close(found.query_map[0].unflatten(0, (grid, grid)), content[f"map_query{number}"], 1e-6)
        close(found.exemplar_map[0].unflatten(0, (grid, grid)), content[f"map_gallery{number}"], 1e-6)


def check_sinkhorn(name: str, content: dict[str, np.ndarray]) -> None:
    numbers = [key.removeprefix("sim") for key in content if key.startswith("sim")]
    assert numbers
    for number in numbers:
        similarity, rows, columns = (torch.from_numpy(content[key + number]) for key in ("sim", "u", "v"))
        found = transport.sinkhorn_upstream(similarity, rows, columns)
        close(found.plan, content[f"plan{number}"], 1e-6, what=f"plan{number}")
        assert int(found.passes[0]) == content[f"iters{number}"]
        assert bool(found.solved[0]) == bool(content[f"solution{number}"])


def check_end_to_end(name: str, content: dict[str, np.ndarray]) -> None:
    """kNN shortlist, re-ranking and both votes of several queries."""
    train, queries = (torch.from_numpy(content[key]) for key in ("train_fb", "query_fb"))
    labels = torch.from_numpy(content["train_label"])
    n_classes = int(labels.max()) + 1
    pooled, asked = (normalise_rows(maps.mean((2, 3))) for maps in (train, queries))
    close(asked @ pooled.T, content["knn_similarity"], 1e-6)
    size, voters = content[SHORTLIST].shape[1], content["emd_top20_train_ids"].shape[1]
    _, nearest_rows = nearest(asked, pooled, size, "inner_product")
    shortlist = nearest_rows.flip(1)
    np.testing.assert_array_equal(shortlist, content[SHORTLIST])
    _check_vote(labels[nearest_rows[:, :voters]], n_classes, content["knn_pred"], content["knn_count"])
    patches = Patches.of(train)
    for number, query in enumerate(queries):
        own = Patches.of(query[None])
        # The original compares the query with itself too, and that pair takes part in the common stop.
        batch = Patches.of(torch.cat([query[None], train[shortlist[number]]]))
        matches = match_patches(own, batch)
        torch.testing.assert_close(batch.unit[1:], patches.rows(shortlist[number]).unit)
        plans = transport.sinkhorn_upstream(matches.similarity, *transport.attention_marginals(matches))
        scores = transport.score(plans.plan, matches.similarity, 5)[1:]
        close(scores, content["emd_score_shortlist"][number], 5e-6)
        best = shortlist[number][scores.argsort(descending=True, stable=True)[:voters]]
        np.testing.assert_array_equal(best, content["emd_top20_train_ids"][number])
        _check_vote(labels[best][None], n_classes, content["emd_pred"][number], content["emd_count"][number])


EMD_KEYS = ["K", "num_patch", "votes", "map_gallery", "row_marginal", "plan", "score", "rerank_full", "vis_query_xy"]
FAMILIES = [
    ("spatial_similarity", ["q0", "g0", "map_query0"], check_spatial_similarity),
    ("sinkhorn", ["sim0", "u0", "v0", "plan0"], check_sinkhorn),
    ("end_to_end", ["train_fb", "query_fb", "emd_score_shortlist"], check_end_to_end),
    (
        "knn_",
        ["train", "train_label", "query", "vote_k", "similarity", SHORTLIST, "top_k_best_first", "pred", "pred_count"],
        check_knn,
    ),
    # After kNN's: their names begin alike.
    ("k", EMD_KEYS, check_emd),
    ("edge_", EMD_KEYS, check_emd),
]
