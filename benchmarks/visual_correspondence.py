"""Speed and memory of kNN, EMD-Corr and CHM-Corr against plain forms of the same arithmetic, in one run, one thread.

    python benchmarks/visual_correspondence.py --out results/benchmarks/visual_correspondence.json

The plain forms have the structure of the authors' programs (sections 1.4, 2 and 6 of the specifications): correlation
maps through explicit products of all pairs of patches, one exemplar after the other; a 4D convolution as five 3D
convolutions; a 6D one as 81 4D ones; CHM-Corr encodes the query with every exemplar anew and compares cell by cell.
Random weights and images: the time does not depend on them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
import torch.nn.functional as F
from measure import extra_memory, interleaved, machine, save
from torch import Tensor

from lookalike.backbones.build import make_backbone
from lookalike.contracts.settings import BackboneSettings, TrainingSettings
from lookalike.distances.neighbours import nearest, normalise_rows
from lookalike.methods.chm_corr.classifier import Model, Settings, attention_mask, key_points, top_mean
from lookalike.methods.chm_corr.convolution import correlate_4d, correlate_6d
from lookalike.methods.chm_corr.kernels import SCALE_GROUPS
from lookalike.methods.chm_corr.network import CHMBackbones, CHMNet, keep_mutual, level_sides, resize_4d
from lookalike.methods.emd_corr.transport import (
    EPSILON,
    attention_marginals,
    proper_marginals,
    score,
    sinkhorn,
    sinkhorn_upstream,
)
from lookalike.methods.reranking.patches import Patches, cells_of, match_patches
from lookalike.methods.reranking.transfer import transfer_points

T = TypeVar("T")
EXEMPLARS, SIDE, CHANNELS, ENTRIES = 50, 7, 2048, 5
GALLERY, SHORTLIST, QUERIES = 5_994, 50, 100  # CUB-200-2011's training images
STREAM = (
    50_000,
    1_281_167,
    32,
)  # queries, rows; few features, so that it takes minutes: memory does not depend on them


# EMD-Corr -----------------------------------------------------------------------------------------


def plain_emd(query: Tensor, exemplars: Tensor) -> Tensor:
    """Scores (K,) of maps (C, R) and (K, C, R); the query is one of the pairs, as in the original."""
    every = torch.cat([query[None], exemplars])
    patches = query.shape[1]
    maps: list[tuple[Tensor, Tensor]] = []
    for one in every:
        left = one.T.repeat_interleave(patches, 0)  # (R R, C)
        right = query.T.repeat(patches, 1)
        products = (left * right).sum(1).view(patches, patches)
        products = products / (patches**2 * one.mean(1).norm() * query.mean(1).norm())
        maps.append((products.double().sum(1), products.double().sum(0)))
    rows, columns = (torch.stack(part) for part in zip(*maps, strict=True))
    rows, columns = ((part / (part.sum(1, keepdim=True) + 1e-5)).float() for part in (rows, columns))
    unit, own = F.normalize(every, dim=1), F.normalize(query, dim=0)
    similarity = torch.einsum("ncr,cs->nrs", unit, own)
    kernel = torch.exp(-(1 - similarity) / EPSILON)
    u, v = torch.ones_like(rows), torch.ones_like(columns)
    for _ in range(100):
        before = u
        u = rows / (kernel @ v[:, :, None])[..., 0]
        v = columns / (kernel.mT @ u[:, :, None])[..., 0]
        if (u - before).abs().mean() < 0.1:
            break
    plan = u[:, :, None] * kernel * v[:, None]
    scores = []
    for number in range(1, len(every)):
        best = plan[number].flatten().sort(descending=True).indices[:ENTRIES]
        scores.append(sum(plan[number].flatten()[i] * similarity[number].flatten()[i] for i in best))
    return torch.stack(scores)  # type: ignore[arg-type]


def emd(repeats: int) -> dict[str, float]:
    """One query and 50 exemplars of 7 x 7 x 2,048."""
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(EXEMPLARS + 1, CHANNELS, SIDE, SIDE, generator=generator).relu()
    kept = Patches.of(maps)
    gallery = Patches(*(value[None].contiguous() for value in vars(kept).values()))

    def upstream(query: Patches, exemplars: Patches) -> Tensor:
        matches = match_patches(query, exemplars)
        plans = sinkhorn_upstream(matches.similarity, *attention_marginals(matches))
        return score(plans.plan, matches.similarity, ENTRIES)[1:]

    def converged() -> Tensor:
        matches = match_patches(kept.rows(slice(1)), gallery)
        plans = sinkhorn(matches.similarity, *proper_marginals(matches, False))
        return score(plans.plan, matches.similarity, ENTRIES)[1:]

    def from_maps() -> Tensor:
        every = Patches.of(maps)
        return upstream(every.rows(slice(1)), Patches(*(value[None] for value in vars(every).values())))

    query, long = kept.unit[0], gallery.unit.reshape(-1, CHANNELS)
    calls: dict[str, Callable[[], Tensor]] = {
        "plain": lambda: plain_emd(maps[0].flatten(1), maps[1:].flatten(2)),
        "from_maps": from_maps,
        "cached": lambda: upstream(kept.rows(slice(1)), gallery),
        "cached_converged": converged,
        "product": lambda: query @ long.T,
    }
    seconds = interleaved(calls, repeats)
    fast = interleaved({name: call for name, call in calls.items() if name != "plain"}, 10 * repeats)
    found = {f"{name}_ms": value["median"] * 1e3 for name, value in {**seconds, **fast}.items()}
    for name in ("from_maps", "cached", "cached_converged"):
        found[f"{name}_ratio"] = seconds["plain"]["median"] / seconds[name]["median"]
        found[f"{name}_to_product"] = fast[name]["median"] / fast["product"]["median"]
    found["difference"] = float((calls["plain"]() - calls["cached"]()).abs().max())
    return found


# CHMNet -------------------------------------------------------------------------------------------


def plain_4d(x: Tensor, kernel: Tensor) -> Tensor:
    """(B, a, b, c, d) by a 3D convolution for each tap of the first axis."""
    _, first, *others = x.shape
    found, half = torch.zeros_like(x), len(kernel) // 2
    for tap, weights in enumerate(kernel):
        part = F.conv3d(x.reshape(-1, 1, *others), weights[None, None], padding=half).view_as(x)
        low, high = max(0, half - tap), first - max(0, tap - half)
        found[:, low:high] += part[:, low + tap - half : high + tap - half]
    return found


def plain_6d(x: Tensor, kernels: Tensor) -> Tensor:
    """(B, 3, 3, s, s, s, s): all nine kernels (9, k, k, k, k) on all nine scale pairs, then what reaches each."""
    batch, side, half = len(x), x.shape[3], kernels.shape[1] // 2
    every = torch.zeros(batch, 9, 9, *x.shape[3:])  # scale pair, kernel
    for tap in range(kernels.shape[1]):
        part = F.conv3d(x.reshape(-1, 1, side, side, side), kernels[:, tap][:, None], padding=half)
        part = part.view(batch, 9, side, 9, side, side, side).transpose(2, 3)
        low, high = max(0, half - tap), side - max(0, tap - half)
        every[:, :, :, low:high] += part[:, :, :, low + tap - half : high + tap - half]
    found = torch.zeros_like(x)
    for cell in range(9):
        down, across = cell // 3 - 1, cell % 3 - 1
        for p in range(max(0, -down), 3 - max(0, down)):
            for q in range(max(0, -across), 3 - max(0, across)):
                found[:, p, q] += every[:, 3 * (p + down) + q + across, cell]
    return found


def all_kernels(learner: CHMNet) -> Tensor:
    """(9, 5, 5, 5, 5) the 4D kernel of each scale offset."""
    kernels = learner.chm6d.dense()
    order = [group for cell in range(9) for group, cells in enumerate(SCALE_GROUPS[learner.kind]) if cell in cells]
    return kernels[order]


def convolutions(repeats: int) -> dict[str, float]:
    """Both convolutions at the authors' size, one pair of images."""
    torch.manual_seed(0)
    learner = CHMNet("psi", 1024, 256)
    small, large = torch.rand(1, 3, 3, *(15,) * 4), torch.rand(1, *(30,) * 4)
    sixth, kernel4 = all_kernels(learner), learner.chm4d.dense()
    kernel6, groups = learner.chm6d.dense(), SCALE_GROUPS["psi"]
    calls: dict[str, Callable[[], Tensor]] = {
        "plain_4d": lambda: plain_4d(large, kernel4),
        "ours_4d": lambda: correlate_4d(large, kernel4),
        "plain_6d": lambda: plain_6d(small, sixth),
        "ours_6d": lambda: correlate_6d(small, kernel6, groups),
    }
    seconds = interleaved(calls, 3 * repeats)
    found = {f"{name}_ms": value["median"] * 1e3 for name, value in seconds.items()}
    for axes in ("4d", "6d"):
        found[f"ratio_{axes}"] = found[f"plain_{axes}_ms"] / found[f"ours_{axes}_ms"]
        plain = calls[f"plain_{axes}"]()
        found[f"difference_{axes}"] = float(((plain - calls[f"ours_{axes}"]()) / plain.abs().max()).abs().max())
    return found


def plain_matching(learner: CHMNet, kernels: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """Correlation (B, S S, S S) of maps (B, C, s, s): nine products, each resized, and the plain convolutions."""
    side = source.shape[-1]
    levels = []
    for maps in (source, target):
        resized = [F.interpolate(maps, (n, n), mode="bilinear", align_corners=True) for n in level_sides(side)]
        made = [convolution(level) for convolution, level in zip(learner.conv2ds, resized, strict=True)]
        levels.append([F.normalize(level, dim=1) for level in made])
    pairs = []
    for one in levels[0]:
        for other in levels[1]:
            cosines = torch.einsum("bcij,bckl->bijkl", one, other)
            b, i, j, k, m = cosines.shape
            x = F.interpolate(cosines.reshape(b, i * j, k, m), (side, side), mode="bilinear", align_corners=True)
            x = x.view(b, i, j, side * side).permute(0, 3, 1, 2)
            x = F.interpolate(x, (side, side), mode="bilinear", align_corners=True)
            pairs.append(x.flatten(2).mT.reshape(b, side, side, side, side))
    correlation = torch.stack(pairs, 1).unflatten(1, (3, 3)).clamp_min(0)
    voted = (plain_6d(correlation, kernels) + learner.chm6d.bias).sigmoid().amax((1, 2))
    refined = plain_4d(resize_4d(voted, 2 * side), learner.chm4d.dense()) + learner.chm4d.bias
    return keep_mutual(F.softplus(refined).flatten(3, 4).flatten(1, 2))


def plain_chm(model: Model, query: Tensor, exemplars: Tensor) -> Tensor:
    """Scores (K,) of one query; both networks see the query once for each exemplar."""
    assert model.branches is not None
    kernels, points, scores = all_kernels(model.learner), key_points(SIDE, upstream=True), []
    for some in exemplars.split(8):
        again = query.expand(len(some), -1, -1, -1)
        maps = model.branches(again, "source"), model.branches(some, "target")
        correlation = plain_matching(model.learner, kernels, *maps)
        frames = model._upstream_frame(again, "query"), model._upstream_frame(some, "exemplar")
        patches = [model.backbone.feature_map(images).flatten(2) for images in frames]
        for number in range(len(some)):
            cells = cells_of(transfer_points(correlation[number : number + 1], points)[0], SIDE)
            own, near = patches[0][number], patches[1][number]
            alike = torch.zeros(SIDE**2)
            for place in range(SIDE**2):  # row and column exchanged in both images, as in the original
                there = int(cells[place % SIDE * SIDE + place // SIDE])
                mirrored = there % SIDE * SIDE + there // SIDE
                alike[place] = F.cosine_similarity(own[:, place], near[:, mirrored], dim=0)
            weight = torch.zeros(SIDE**2)
            for place in range(SIDE**2):
                weight[place] = sum((own[:, place : place + 1] * near).sum(0))
            scores.append(top_mean((alike * attention_mask(weight[None], 0.55)[0])[None])[0])
    return torch.stack(scores)


def chm_corr(pairs: int) -> dict[str, float]:
    """CHM-Corr for one query with cached exemplars at 240 pixels, against the plain form; each measured once."""
    torch.manual_seed(0)
    settings = Settings(method="chm_corr", backbone_from="fc", training=TrainingSettings())
    model = Model(settings, make_backbone(BackboneSettings(name="resnet50"), (3, 224, 224)), 1000)
    # The authors' networks and geometry with random weights: the numbers do not matter here, a checkpoint's size does.
    model.branches, model.learner, model.log_scale = CHMBackbones(), CHMNet("psi", 1024, 256), None
    model.inference = settings.inference.model_copy(update={"compat": "upstream"})
    model.eval().requires_grad_(False)
    images = torch.rand(pairs + 1, 3, 240, 240)
    query, exemplars = images[:1], images[1:]
    gallery = [model.prepare(some, "exemplar") for some in exemplars.split(10)]
    kept = {name: torch.cat([part[name] for part in gallery])[None] for name in gallery[0]}

    def ours() -> Tensor:
        return model.scores(model.prepare(query, "query"), kept, None)["vote"][0]

    def timed(call: Callable[[], T]) -> tuple[float, T]:
        begin = time.perf_counter()
        result = call()
        return time.perf_counter() - begin, result

    ours()
    cached, mine = timed(ours)
    plain, theirs = timed(lambda: plain_chm(model, query, exemplars))
    again, _ = timed(ours)
    encoded, prepared = timed(lambda: model.prepare(query, "query"))
    backbone, _ = timed(lambda: model.backbone(model._upstream_frame(query, "query")))
    match_scores, _ = timed(lambda: model.scores(prepared, kept, None)["vote"])
    return {
        "plain_s": plain,
        "cached_s": (cached + again) / 2,
        "ratio": plain / ((cached + again) / 2),
        "pair_ms": match_scores / pairs * 1e3,
        "encode_ms": encoded * 1e3,
        "backbone_ms": backbone * 1e3,
        "difference": float((mine - theirs).abs().max()),
    }


# kNN ----------------------------------------------------------------------------------------------


def neighbours(repeats: int) -> dict[str, float]:
    """The 50 nearest of CUB's training images, 100 queries: against sorting all of them."""
    generator = torch.Generator().manual_seed(0)
    support = normalise_rows(torch.randn(GALLERY, CHANNELS, generator=generator))
    query = normalise_rows(torch.randn(QUERIES, CHANNELS, generator=generator))
    calls: dict[str, Callable[[], Tensor]] = {
        "sorted": lambda: (query @ support.T).argsort(dim=1, descending=True)[:, :SHORTLIST],
        "nearest": lambda: nearest(query, support, SHORTLIST, "inner_product")[1],
        "product": lambda: query @ support.T,
    }
    assert torch.equal(calls["sorted"](), calls["nearest"]())
    return {f"{name}_ms": v["median"] * 1e3 for name, v in interleaved(calls, 10 * repeats).items()}


def stream(queries: int) -> dict[str, float]:
    """ImageNet's number of rows and queries: no matrix of all pairs."""
    _, rows, width = STREAM
    generator = torch.Generator().manual_seed(0)
    support = torch.randn(rows, width, generator=generator)
    asked = torch.randn(queries, width, generator=generator)
    begin = time.perf_counter()
    megabytes = extra_memory(lambda: nearest(asked, support, SHORTLIST, "inner_product")) / 1e6
    seconds = time.perf_counter() - begin
    return {
        "queries": queries,
        "rows": rows,
        "seconds": seconds,
        "extra_mb": megabytes,
        "matrix_mb": queries * rows * 4e-6,
    }


def main() -> None:
    """Print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/visual_correspondence.json"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--queries", type=int, default=STREAM[0], help="of the streamed search")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    metrics: dict[str, dict[str, float]] = {}
    with torch.no_grad():
        for name, measure in (
            ("emd_corr", lambda: emd(arguments.repeats)),
            ("convolutions", lambda: convolutions(arguments.repeats)),
            ("neighbours", lambda: neighbours(arguments.repeats)),
            ("chm_corr", lambda: chm_corr(EXEMPLARS)),
            ("stream", lambda: stream(arguments.queries)),
        ):
            metrics[name] = measure()
            print(f"{name}: {', '.join(f'{key} {value:.4g}' for key, value in metrics[name].items())}", flush=True)
    print(machine())
    save(arguments.out, "visual_correspondence", metrics)


if __name__ == "__main__":
    main()
