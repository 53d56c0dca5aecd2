"""Analysis `correspondences`: how right patch pairs are, and whether they matter.

Where a data set knows the parts of what it shows: do drawn pairs join the same part, and are key points carried to the
same key point (PCK)? On any data set: is a key point carried to where a known warp moved it, and how much does the vote
fall when the patches or exemplars that explain it are taken away, against as many at random?
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from lookalike.contracts.explanation import Explanation
from lookalike.contracts.features import Features, ImageAccess
from lookalike.core.determinism import make_generator
from lookalike.core.errors import LookalikeError
from lookalike.data.framing import framed_points
from lookalike.data.images import Images
from lookalike.methods.analysis_input import AnalysisInput
from lookalike.methods.embedding import embed
from lookalike.methods.reranking.classifier import Reranker, Tensors
from lookalike.methods.reranking.patches import cell_centres, cells_of
from lookalike.methods.reranking.transfer import resize_4d, right_share, transfer_points
from lookalike.methods.reranking.warps import warp_images

if TYPE_CHECKING:
    import pandas as pd

ALPHA = 0.1  # PCK@0.1: of the image's side
TAKEN_PATCHES = 5
WARPED_TOGETHER = 32  # images in memory at a time, whatever the number of queries
COSINE_SCALE = 30.0  # of the soft-max over plain cosines: the best of 1, 10, 30 and 100 on critters
MODE = "vote"
SHARES = ("warp_pck", "part_pck", "same_part")  # means over points or pairs; the others are means over queries


@dataclass(frozen=True)
class Score:
    """A number of one query.

    Attributes:
        id: Image id of the query.
        measure: `warp_pck`, `part_pck`, `same_part`, `patches_taken` or `exemplars_taken`.
        by: `method`, or what it is compared with.
        count: Key points or pairs behind the number.
        value: Share of them that are right; fall of the vote's share, -1 to 1.
    """

    id: int
    measure: str
    by: str
    count: int
    value: float


@torch.no_grad()
def score_correspondences(given: AnalysisInput) -> dict[str, Any]:
    """Columns with one row a query, measure and matcher: the fields of `Score`.

    Raises:
        LookalikeError: Feature maps are not square.
    """
    classifier, device = given.classifier, given.device
    assert isinstance(classifier, Reranker)
    generator = make_generator(given.seeds.of_queries(given.evaluation_set, "scored correspondences"))
    order = torch.randperm(len(given.queries), generator=generator)
    queries = given.queries.rows(order[: given.settings.queries])
    shown, training = given.images(queries.ids.numpy()), given.training_images()

    def load(ids: list[int]) -> Tensor:
        return given.images(np.array(ids)).load(torch.arange(len(ids), device=device))

    records = classifier.add_correspondences(classifier.explain(queries, MODE), queries, load)
    if any(record.grid is None or record.grid[0] != record.grid[1] for record in records):
        raise LookalikeError(
            f"{given.run}: scores of correspondences need square feature maps, these are {records[0].grid}; give "
            "square images (fit: squash), or take inference.correspondences out."
        )
    scores = _after_a_warp(classifier, shown, generator)
    of_queries = framed_points(given.data, shown.rows)
    if of_queries is not None:
        of_training = framed_points(given.data, training.rows)
        assert of_training is not None
        place = {image: row for row, image in enumerate(training.ids.tolist())}
        scores += _same_part(records, of_queries, of_training, place, generator)
        scores += _between_parts(classifier, shown, queries, training, of_queries, of_training)
    scores += _without_exemplars(classifier, queries, records, generator)
    given.open_gallery()
    scores += _without_patches(classifier, ImageAccess(shown.load, of_queries), shown, queries, records, generator)
    return {name: [getattr(score, name) for score in scores] for name in ("id", "measure", "by", "count", "value")}


def summarise_correspondences(scores: pd.DataFrame, metrics: dict[str, float]) -> list[dict[str, Any]]:
    """One row for the method and for each way it is compared with: the mean of each measure."""
    rows = []
    for by, part in scores.groupby("by", sort=False):
        row: dict[str, Any] = {"mode": MODE, "suffix": "" if by == "method" else f": {by}"}
        for measure, of_measure in part.groupby("measure"):
            weights = of_measure["count"] if measure in SHARES else None
            row[str(measure)] = float(np.average(of_measure.value, weights=weights))
        rows.append(row)
    return rows


def _carried(classifier: Reranker, source: Tensors, targets: Tensors, points: Tensor) -> dict[str, Tensor]:
    """Key points (P, 2) of one image in K others, (K, P, 2), by the method and by what needs none.

    `nearest`: the middle of the patch that is most alike. `cosine`: the transfer of CHMNet over plain cosines.
    """
    cosines = source["unit"] @ targets["unit"].mT  # (K, R, R), rows are patches of the source
    side = round(cosines.shape[1] ** 0.5)
    best = cosines.argmax(2)[:, cells_of(points, side)]
    fields = resize_4d(cosines.unflatten(2, (side, side)).unflatten(1, (side, side)), 2 * side)
    return {
        "method": classifier.carry(source, targets, points),
        "nearest": cell_centres(side).to(points)[best],
        "cosine": transfer_points(fields.flatten(3, 4).flatten(1, 2), points, COSINE_SCALE),
    }


def _rows_of(tensors: Tensors, rows: slice) -> Tensors:
    return {name: values[rows] for name, values in tensors.items()}


def _pck(ids: Tensor | int, measure: str, carried: dict[str, Tensor], wanted: Tensor, valid: Tensor) -> list[Score]:
    """One score a matcher: over all key points of a query's pairs (K, P)."""
    tolerance = torch.full((1,), 2 * ALPHA)  # coordinates run over a length of 2
    scores = []
    for by, moved in carried.items():
        flat = [values.flatten(0, 1)[None].cpu() for values in (moved, wanted, valid)]
        share = right_share(flat[0], flat[1], flat[2], tolerance)
        if bool(flat[2].any()):
            scores.append(Score(int(ids), measure, by, int(flat[2].sum()), float(share)))
    return scores


def _after_a_warp(classifier: Reranker, shown: Images, generator: torch.Generator) -> list[Score]:
    """Key points of each query in a random warp of it, whose truth is known."""
    scores = []
    for rows in torch.arange(len(shown)).split(WARPED_TOGETHER):
        pairs = warp_images(shown.load(rows.to(shown.device)).cpu(), generator)
        source = classifier.prepare(pairs.source.to(shown.device), "query")
        target = classifier.prepare(pairs.target.to(shown.device), "exemplar")
        points = pairs.points.to(shown.device)
        for place, image in enumerate(shown.ids[rows]):
            row = slice(place, place + 1)
            carried = _carried(classifier, _rows_of(source, row), _rows_of(target, row), points)
            scores += _pck(image, "warp_pck", carried, pairs.moved[row], pairs.valid[row])
    return scores


def _between_parts(
    classifier: Reranker, shown: Images, queries: Features, training: Images, of_queries: Tensor, of_training: Tensor
) -> list[Score]:
    """Key points of each query in its nearest exemplars of the same class."""
    scores = []
    for row, image in enumerate(queries.ids):
        rows = queries.match_scores["rows"][row]
        rows = rows[classifier.labels[rows] == queries.labels[row]][:TAKEN_PATCHES]
        visible = of_queries[row, :, 2] > 0
        if not len(rows) or not bool(visible.any()):
            continue
        points = of_queries[row, visible, :2] * 2 - 1
        there = of_training[rows][:, visible]  # (K, P, 3)
        source = classifier.prepare(shown.load(torch.tensor([row], device=shown.device)), "query")
        targets = classifier.prepare(training.load(rows.to(shown.device)), "exemplar")
        carried = _carried(classifier, source, targets, points.to(shown.device))
        scores += _pck(image, "part_pck", carried, there[..., :2] * 2 - 1, there[..., 2] > 0)
    return scores


def _same_part(
    records: list[Explanation],
    of_queries: Tensor,
    of_training: Tensor,
    place: dict[int, int],
    generator: torch.Generator,
) -> list[Score]:
    """Drawn pairs whose query patch holds a part that the exemplar shows: does the other patch hold it too?

    A part beside the patch, up to one patch away from its middle, counts: parts have a size, key points none.
    """
    scores = []
    for row, record in enumerate(records):
        right: dict[str, list[bool]] = {"method": [], "random": []}
        assert record.grid is not None
        height, width = record.grid
        size = torch.tensor([width, height])
        for exemplar in record.shown:
            other = of_training[place[exemplar.id]]
            for pair in exemplar.strongest_pairs():
                column, line = pair.query % width, pair.query // width
                inside = ((of_queries[row, :, :2] * size).floor() == torch.tensor([column, line])).all(1)
                both = inside & (of_queries[row, :, 2] > 0) & (other[:, 2] > 0)
                if pair.weight <= 0 or not bool(both.any()):
                    continue
                chance = int(torch.randint(height * width, (), generator=generator))
                for by, end in (("method", pair.exemplar), ("random", chance)):
                    middle = torch.tensor([end % width, end // width]) + 0.5
                    near = ((other[both, :2] * size - middle).abs() <= 1).all(1)
                    right[by].append(bool(near.any()))
        for by, values in right.items():
            if values:
                scores.append(Score(record.query, "same_part", by, len(values), float(np.mean(values))))
    return scores


def _share_of(classifier: Reranker, queries: Features, records: list[Explanation]) -> Tensor:
    """(B,) share of the votes that each record's class gets."""
    shares = classifier.predict(queries, MODE).log_probs.exp()
    return shares.gather(1, torch.tensor([[record.predicted] for record in records]))[:, 0]


def _falls(before: Tensor, after: Tensor, queries: Features, measure: str, by: str, count: int) -> list[Score]:
    return [
        Score(int(image), measure, by, count, float(fall))
        for image, fall in zip(queries.ids, before - after, strict=True)
    ]


def _without_exemplars(
    classifier: Reranker, queries: Features, records: list[Explanation], generator: torch.Generator
) -> list[Score]:
    """The vote without the exemplars that are shown, and without as many others of the candidates."""
    before = _share_of(classifier, queries, records)
    listed = classifier.ids[queries.match_scores["rows"]]  # (B, K)
    shown = torch.stack(
        [torch.isin(ids, torch.tensor([e.id for e in r.shown])) for ids, r in zip(listed, records, strict=True)]
    )
    order = torch.rand(listed.shape, generator=generator).argsort(1).argsort(1)
    chance = order < shown.sum(1, keepdim=True)
    scores = []
    for by, taken in (("method", shown), ("random", chance)):
        kept = queries.match_scores[f"scores_{MODE}"].masked_fill(taken, float("-inf"))
        left = replace(queries, match_scores={**queries.match_scores, f"scores_{MODE}": kept})
        after = _share_of(classifier, left, records)
        scores += _falls(before, after, queries, "exemplars_taken", by, TAKEN_PATCHES)
    return scores


def _without_patches(
    classifier: Reranker,
    access: ImageAccess,
    shown: Images,
    queries: Features,
    records: list[Explanation],
    generator: torch.Generator,
) -> list[Score]:
    """The vote when the patches that count most, over the shown exemplars, are painted over; and as many at random."""
    before = _share_of(classifier, queries, records)
    grid = records[0].grid
    assert grid is not None
    total = torch.zeros(len(records), grid[0] * grid[1])
    for row, record in enumerate(records):
        for exemplar in record.shown:
            total[row] += torch.tensor(exemplar.target_weight)
    count = min(TAKEN_PATCHES, total.shape[1])
    chance = torch.rand(total.shape, generator=generator)
    scores = []
    for by, weight in (("method", total), ("random", chance)):
        taken = weight.argsort(dim=1, descending=True, stable=True)[:, :count]
        shown.change = _painted(taken, grid, shown)
        left = classifier.match_queries(embed(classifier, shown), access)
        after = _share_of(classifier, left, records)
        scores += _falls(before, after, queries, "patches_taken", by, count)
    shown.change = None
    return scores


def _painted(taken: Tensor, grid: list[int], images: Images) -> Callable[[Tensor, Tensor], Tensor]:
    """A change of images that paints patches (B, n) in the mean colour."""
    row_of = {image: row for row, image in enumerate(images.ids.tolist())}
    mean = torch.tensor(images.data.mean).view(-1, 1, 1)

    def change(pixels: Tensor, ids: Tensor) -> Tensor:
        height, width = pixels.shape[-2:]
        line = torch.arange(height) * grid[0] // height
        column = torch.arange(width) * grid[1] // width
        patch = line[:, None] * grid[1] + column  # (H, W)
        rows = torch.tensor([row_of[image] for image in ids.tolist()])
        covered = (patch[None, None] == taken[rows][:, :, None, None]).any(1)[:, None].to(pixels.device)
        return torch.where(covered, mean.to(pixels), pixels)

    return change
