"""Golden files of the visual-correspondence code: kNN and EMD-Corr.

`unequal_w` is an option of the original that changes nothing.
"""

from pathlib import Path

import numpy as np
import torch
from compare import close, equal
from golden_file import Arrays, Family, GoldenFile, Method, blank, read_arrays

from lookalike.contracts.explanation import Exemplar
from lookalike.distances.neighbours import nearest
from lookalike.distances.pairwise import normalise_rows
from lookalike.methods.emd_corr import transport
from lookalike.methods.emd_corr.settings import EMDCorrInference
from lookalike.methods.knn.classifier import vote
from lookalike.methods.reranking.patches import Patches, match_patches

SHORTLIST = "shortlist50_ascending"  # the original's word, whatever its length


def check_vote(file: GoldenFile, labels: torch.Tensor, n_classes: int, key: str, count_key: str) -> None:
    """Majority class and its votes, of labels (B, k) or (k,)."""
    shares = vote(labels.view(-1, labels.shape[-1]), n_classes).numpy()
    shape = labels.shape[:-1]
    file.equal(key, shares.argmax(1).reshape(shape))
    file.equal(count_key, np.rint(shares.max(1) * labels.shape[-1]).astype(np.int64).reshape(shape))


# kNN ----------------------------------------------------------------------------------------------


def check_knn(file: GoldenFile) -> None:
    train, query = (normalise_rows(file.tensor(key)) for key in ("train", "query"))
    labels = file.tensor("train_label")
    file.close("similarity", query @ train.T, 1e-6)
    size, k = file[SHORTLIST].shape[1], file.number("vote_k")
    for block in (1 << 18, 7):  # whole, and streamed in blocks smaller than the shortlist
        values, rows = nearest(query, train, size, "dot", block)
        file.equal(SHORTLIST, rows.flip(1))
        close(values, np.take_along_axis(file["similarity"], rows.numpy(), 1), 1e-6, what="values")
    rows = nearest(query, train, k, "dot")[1]
    file.equal("top_k_best_first", rows)
    check_vote(file, labels[rows], int(labels.max()) + 1, "pred", "pred_count")


def example_knn() -> dict[str, Arrays]:
    files = {}
    for name, width, rows, queries, size, k in (("a", 5, 40, 3, 11, 6), ("b", 17, 90, 7, 60, 31)):
        random = np.random.RandomState(rows)
        train, query = (random.randn(n, width).astype(np.float32) for n in (rows, queries))
        unit, others = (array / np.linalg.norm(array, axis=1, keepdims=True) for array in (query, train))
        files[f"knn_{name}"] = {
            "train": train,
            "train_label": random.randint(0, 4, rows),
            "query": query,
            "vote_k": np.array(k),
            SHORTLIST: (unit @ others.T).argsort(1)[:, -size:],
        }
    return files


# EMD-Corr -----------------------------------------------------------------------------------------


def check_emd(file: GoldenFile) -> None:
    """Maps, marginals, the batch-wide Sinkhorn, scores, order, vote and drawn pairs of one query."""
    maps = file.tensor("fb")
    patches, (height, width) = Patches.of(maps), maps.shape[-2:]
    matches = match_patches(patches.rows(slice(0, 1)), patches)
    file.close("map_gallery", matches.exemplar_map.unflatten(1, (height, width)), 1e-6)
    file.close("map_query", matches.query_map.unflatten(1, (height, width)), 1e-6)
    rows, columns = transport.attention_marginals(matches)
    if file["use_uniform"]:
        rows = columns = torch.full_like(rows, 1 / rows.shape[1])
    file.close("row_marginal", rows, 1e-6)
    file.close("col_marginal", columns, 1e-6)
    plans = transport.sinkhorn_upstream(matches.similarity, rows, columns)
    file.equal("sinkhorn_iters", plans.passes[0])
    file.equal("sinkhorn_solution", plans.solved[0])
    stored = file.result("plan", plans.plan)  # of the first maps, in some files
    close(plans.plan[: len(stored)], stored, 1e-6, what="plan")
    entries = file.number("num_patch")
    scores = transport.score(plans.plan, matches.similarity, entries if file["closest_patch"] else None)
    if file["mix_distance"]:
        scores = transport.mixed_score(scores, matches)
    # Of a flat plan any entries may be the largest ones.
    every = np.concatenate([stored, plans.plan.numpy()[len(stored) :]])
    file.close("score", scores, 5e-6, where=np.ptp(every.reshape(len(every), -1), axis=1) >= 1e-7)
    assert len(scores) == file.number("K") + 1
    order = scores[1:].argsort(descending=True, stable=True)
    file.equal("rerank_full", order)
    best, labels = order[: file.number("votes")], file.tensor("label")
    file.equal("rerank_top", best)
    check_vote(file, labels[best], int(labels.max()) + 1, "pred", "pred_count")
    shown = best[: min(5, len(best))]
    target, weight = transport.correspondences(plans.plan[1:][shown])
    drawn = [
        Exemplar(0, 0, 0, target=ends.tolist(), target_weight=sizes.tolist()).strongest_pairs(5)
        for ends, sizes in zip(target, weight, strict=True)
    ]
    file.equal("vis_query_xy", [[[pair.query % width, pair.query // width] for pair in pairs] for pairs in drawn])
    file.equal("vis_gallery_xy", [[[p.exemplar % width, p.exemplar // width] for p in pairs] for pairs in drawn])
    file.close("vis_flow", [[pair.weight for pair in pairs] for pairs in drawn], 1e-6)
    file.equal("vis_color", [[pair.colour for pair in pairs] for pairs in drawn])


def lent_maps(path: Path, arrays: Arrays) -> Arrays:
    """Variants of a case have its maps in one file only."""
    case = path.stem.split("_")
    if "fb" in arrays or not (case[0] == "edge" or path.match("k[0-9]*")):
        return {}
    stem = path.stem.removesuffix("_uniform") if case[0] == "edge" else "_".join([*case[:3], "attention"])
    return {"fb": read_arrays(path.with_name(f"{stem}.npz"))["fb"]}


def emd_inputs(count: int, votes: int, entries: int, option: str, maps: np.ndarray | None = None) -> Arrays:
    """Inputs of a case; a variant has the maps of another."""
    arrays = {
        "K": np.array(count),
        "num_patch": np.array(entries),
        "votes": np.array(votes),
        "use_uniform": np.array(option == "uniform"),
        "unequal_w": np.array(False),
        "mix_distance": np.array(option == "mix"),
        "closest_patch": np.array(option != "full"),
        "label": np.arange(count) * 5 % 3,
    }
    return arrays if maps is None else {**arrays, "fb": maps}


def maps_of(*shape: int) -> np.ndarray:
    return np.abs(np.random.RandomState(shape[1]).randn(*shape)).astype(np.float32)


def example_emd() -> dict[str, Arrays]:
    return {
        "k7_g3_c5_attention": emd_inputs(7, 6, 4, "", maps_of(8, 5, 3, 3)),
        "k7_g3_c5_uniform": emd_inputs(7, 3, 9, "uniform"),
        "k7_g3_c5_attention_mix": emd_inputs(7, 7, 2, "mix"),
        "k7_g3_c5_attention_full_emd": emd_inputs(7, 2, 5, "full"),
        "k4_g6_c11_uniform_np3": emd_inputs(4, 4, 3, "uniform", maps_of(5, 11, 6, 6)),
    }


def example_edges() -> dict[str, Arrays]:
    maps = maps_of(8, 6, 3, 3)
    maps[1], maps[2], maps[3, :, 0, 1] = maps[0], 0.5, 0  # the query itself, equal patches, a zero patch
    return {"edge_b": emd_inputs(7, 3, 5, "", maps), "edge_b_uniform": emd_inputs(7, 4, 5, "uniform")}


# Parts, and several queries -----------------------------------------------------------------------


def check_spatial_similarity(file: GoldenFile) -> None:
    for number in [key.removeprefix("q") for key in file if key.startswith("q")]:
        query, exemplar = (Patches.of(file.tensor(key + number)[None]) for key in ("q", "g"))
        matches, shape = match_patches(query, exemplar), file[f"q{number}"].shape[-2:]
        file.close(f"map_query{number}", matches.query_map[0].unflatten(0, shape), 1e-6)
        file.close(f"map_gallery{number}", matches.exemplar_map[0].unflatten(0, shape), 1e-6)


def example_spatial_similarity() -> dict[str, Arrays]:
    arrays = {}
    for number, shape in ((0, (3, 1, 1)), (5, (9, 5, 5)), (6, (2, 6, 6))):
        random = np.random.RandomState(number)
        arrays |= {f"{key}{number}": np.abs(random.randn(*shape)).astype(np.float32) for key in ("q", "g")}
    return {"spatial_similarity": arrays}


def check_sinkhorn(file: GoldenFile) -> None:
    for number in [key.removeprefix("sim") for key in file if key.startswith("sim")]:
        similarity, rows, columns = (file.tensor(key + number) for key in ("sim", "u", "v"))
        file.close(f"kernel{number}", ((similarity - 1) / transport.EPSILON).exp(), 1e-6)
        plans = transport.sinkhorn_upstream(similarity, rows, columns)
        file.close(f"plan{number}", plans.plan, 1e-6)
        file.equal(f"iters{number}", plans.passes[0])
        file.equal(f"solution{number}", plans.solved[0])


def example_sinkhorn() -> dict[str, Arrays]:
    arrays: Arrays = {}
    for number, (pairs, patches, smallest) in enumerate(((1, 4, 0.5), (7, 12, 0.8), (2, 30, -0.9))):
        random = np.random.RandomState(number)
        rows, columns = (random.dirichlet(np.full(patches, 0.3), pairs).astype(np.float32) for _ in range(2))
        similarity = random.uniform(smallest, 1, (pairs, patches, patches)).astype(np.float32)
        arrays |= {f"sim{number}": similarity, f"u{number}": rows, f"v{number}": columns}
    return {"sinkhorn": arrays}


def check_end_to_end(file: GoldenFile) -> None:
    """kNN shortlist, re-ranking and both votes of several queries; the original's default options."""
    train, queries, labels = (file.tensor(key) for key in ("train_fb", "query_fb", "train_label"))
    n_classes = int(labels.max()) + 1
    pooled, asked = (normalise_rows(maps.mean((2, 3))) for maps in (train, queries))
    file.close("knn_similarity", asked @ pooled.T, 1e-6)
    size, voters = file[SHORTLIST].shape[1], file["emd_top20_train_ids"].shape[1]
    rows = nearest(asked, pooled, size, "dot")[1]
    shortlist = rows.flip(1)
    file.equal(SHORTLIST, shortlist)
    check_vote(file, labels[rows[:, :voters]], n_classes, "knn_pred", "knn_count")
    patches = Patches.of(train)
    scores, best = [], []
    for query, candidates in zip(queries, shortlist, strict=True):
        # The original compares the query with itself too, and that pair takes part in the common stop.
        batch = Patches.of(torch.cat([query[None], train[candidates]]))
        matches = match_patches(Patches.of(query[None]), batch)
        equal(batch.unit[1:], patches.rows(candidates).unit)
        plans = transport.sinkhorn_upstream(matches.similarity, *transport.attention_marginals(matches))
        scores.append(transport.score(plans.plan, matches.similarity, EMDCorrInference().entries)[1:])
        best.append(candidates[scores[-1].argsort(descending=True, stable=True)[:voters]])
    file.close("emd_score_shortlist", torch.stack(scores), 5e-6)
    file.equal("emd_top20_train_ids", torch.stack(best))
    check_vote(file, labels[torch.stack(best)], n_classes, "emd_pred", "emd_count")


def example_end_to_end() -> dict[str, Arrays]:
    files = {}
    for name, count, queries, channels, side, size, voters in (("", 30, 2, 7, 3, 12, 5), ("_b", 25, 3, 4, 4, 25, 9)):
        random = np.random.RandomState(count)
        train, asked = (np.abs(random.randn(n, channels, side, side)).astype(np.float32) for n in (count, queries))
        unit, others = (maps.mean((2, 3)) for maps in (asked, train))
        unit, others = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (unit, others))
        shortlist = (unit @ others.T).argsort(1)[:, -size:]
        files[f"end_to_end{name}"] = {
            "train_fb": train,
            "train_label": random.randint(0, 3, count),
            "query_fb": asked,
            SHORTLIST: shortlist,
            "emd_top20_train_ids": blank(queries, voters),
        }
    return files


METHOD = Method(
    (
        Family("spatial_similarity*", check_spatial_similarity, example_spatial_similarity),
        Family("sinkhorn*", check_sinkhorn, example_sinkhorn),
        Family("end_to_end*", check_end_to_end, example_end_to_end, ("query_label",)),
        Family("knn_*", check_knn, example_knn, ("query_label",)),
        Family("k[0-9]*", check_emd, example_emd, ("unequal_w",)),
        Family("edge_*", check_emd, example_edges, ("unequal_w",)),
    ),
    lent_maps,
)
