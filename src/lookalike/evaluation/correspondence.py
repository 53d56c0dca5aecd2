"""How right patch pairs are, and whether they matter: of methods that explain by patches.

Where a data set knows the parts of what it shows: do drawn pairs join the same part, and are key points carried to the
same key point (PCK)? On any data set: is a key point carried to where a known warp moved it, and how much does the vote
fall when the patches or exemplars that explain it are taken away, against as many at random?
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from lookalike.data.framing import framed_points
from lookalike.data.images import Images, open_images
from lookalike.determinism import generator
from lookalike.devices import best_device
from lookalike.errors import LookalikeError
from lookalike.files import writing
from lookalike.methods.base import Embedded, Looks
from lookalike.methods.chm_corr.network import resize_4d
from lookalike.methods.chm_corr.transfer import right_share, transfer_points
from lookalike.methods.chm_corr.warps import warp_images
from lookalike.methods.patches import cell_centres, cells_of
from lookalike.methods.reranking import Reranker, Tensors
from lookalike.plan import RunSpec
from lookalike.seeds import derive_seed
from lookalike.support.embed import embed
from lookalike.support.precompute import gallery_origin, load_run

if TYPE_CHECKING:
    from lookalike.explanation.record import Explanation

ALPHA = 0.1  # PCK@0.1: of the image's side
TAKEN_PATCHES = 5
WARPED_TOGETHER = 32  # images in memory at a time, whatever the number of queries
COSINE_SCALE = 30.0  # of the soft-max over plain cosines: the best of 1, 10, 30 and 100 on critters
MODE = "vote"


@dataclass(frozen=True)
class Score:
    """A number of one query.

    Attributes:
        id: image id of the query.
        measure: `warp_pck`, `part_pck`, `same_part`, `patches_taken` or `exemplars_taken`.
        by: `method`, or what it is compared with.
        count: key points or pairs behind the number.
        value: share of them that are right; fall of the vote's share, -1 to 1.
    """

    id: int
    measure: str
    by: str
    count: int
    value: float


@torch.no_grad()
def score_correspondences(run: RunSpec, split: str) -> str:
    """Write correspondences/<set>.parquet of a run: one row a query, measure and matcher.

    Returns:
        How many queries were scored.

    Raises:
        LookalikeError: the model does not ask for it; data, weights or support are missing or damaged.
    """
    wanted = run.correspondence_settings
    if wanted is None:
        raise LookalikeError(
            f"{run.id} asks for no scores of correspondences, which emd_corr and chm_corr have; write\n"
            f"  models:\n    {run.model}:\n      inference: {{correspondences: {{}}}}"
        )
    data, classifier, queries = load_run(run, split)
    assert isinstance(classifier, Reranker)
    device = best_device(run.plan.runs_per_gpu)
    classifier.embed_on(device)
    made = generator(derive_seed(run.plan.seed, run.dataset, run.seed, split, "scored correspondences"))
    queries = queries.rows(torch.randperm(len(queries), generator=made)[: wanted["queries"]])
    shown = open_images(data, queries.ids.numpy(), device)
    training = open_images(data, data.training_rows(run), device)

    def take(ids: list[int]) -> Tensor:
        return open_images(data, np.array(ids), device).take(torch.arange(len(ids), device=device))

    records = classifier.add_links(classifier.explain(queries, MODE), queries, take)
    if any(record.grid is None or record.grid[0] != record.grid[1] for record in records):
        raise LookalikeError(
            f"{run.id}: scores of correspondences need square feature maps, these are {records[0].grid}; give square "
            "images (fit: squash), or take inference.correspondences out."
        )
    found = _after_a_warp(classifier, shown, made)
    own = framed_points(data, shown.rows)
    if own is not None:
        theirs = framed_points(data, training.rows)
        assert theirs is not None
        place = {image: row for row, image in enumerate(training.ids.tolist())}
        found += _same_part(records, own, theirs, place, made)
        found += _between_parts(classifier, shown, queries, training, own, theirs)
    found += _without_exemplars(classifier, queries, records, made)
    classifier.open_gallery(Looks(training.take), run.support_folder / "gallery.safetensors", gallery_origin(run, data))
    found += _without_patches(classifier, Looks(shown.take, own), shown, queries, records, made)
    with writing(run.correspondences(split)) as temporary:
        pq.write_table(pa.Table.from_pylist([vars(score) for score in found]), temporary)
    return f"{len(queries)} queries"


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
    found = []
    for by, moved in carried.items():
        flat = [values.flatten(0, 1)[None].cpu() for values in (moved, wanted, valid)]
        share = right_share(flat[0], flat[1], flat[2], tolerance)
        if bool(flat[2].any()):
            found.append(Score(int(ids), measure, by, int(flat[2].sum()), float(share)))
    return found


def _after_a_warp(classifier: Reranker, shown: Images, made: torch.Generator) -> list[Score]:
    """Key points of each query in a random warp of it, whose truth is known."""
    found = []
    for rows in torch.arange(len(shown)).split(WARPED_TOGETHER):
        pairs = warp_images(shown.take(rows.to(shown.device)).cpu(), made)
        source = classifier.prepare(pairs.source.to(shown.device), "query")
        target = classifier.prepare(pairs.target.to(shown.device), "exemplar")
        points = pairs.points.to(shown.device)
        for place, image in enumerate(shown.ids[rows]):
            this = slice(place, place + 1)
            carried = _carried(classifier, _rows_of(source, this), _rows_of(target, this), points)
            found += _pck(image, "warp_pck", carried, pairs.moved[this], pairs.valid[this])
    return found


def _between_parts(
    classifier: Reranker, shown: Images, queries: Embedded, training: Images, own: Tensor, theirs: Tensor
) -> list[Score]:
    """Key points of each query in its nearest exemplars of the same class."""
    found = []
    for row, image in enumerate(queries.ids):
        rows = queries.compared["rows"][row]
        rows = rows[classifier.labels[rows] == queries.labels[row]][:TAKEN_PATCHES]
        visible = own[row, :, 2] > 0
        if not len(rows) or not bool(visible.any()):
            continue
        points = own[row, visible, :2] * 2 - 1
        there = theirs[rows][:, visible]  # (K, P, 3)
        source = classifier.prepare(shown.take(torch.tensor([row], device=shown.device)), "query")
        targets = classifier.prepare(training.take(rows.to(shown.device)), "exemplar")
        carried = _carried(classifier, source, targets, points.to(shown.device))
        found += _pck(image, "part_pck", carried, there[..., :2] * 2 - 1, there[..., 2] > 0)
    return found


def _same_part(
    records: list[Explanation], own: Tensor, theirs: Tensor, place: dict[int, int], made: torch.Generator
) -> list[Score]:
    """Drawn pairs whose query patch holds a part that the exemplar shows: does the other patch hold it too?

    A part beside the patch, up to one patch away from its middle, counts: parts have a size, key points none.
    """
    found = []
    for row, record in enumerate(records):
        right: dict[str, list[bool]] = {"method": [], "random": []}
        assert record.grid is not None
        height, width = record.grid
        size = torch.tensor([width, height])
        for exemplar in record.shown:
            other = theirs[place[exemplar.id]]
            for pair in exemplar.strongest_pairs():
                column, line = pair.query % width, pair.query // width
                inside = ((own[row, :, :2] * size).floor() == torch.tensor([column, line])).all(1)
                both = inside & (own[row, :, 2] > 0) & (other[:, 2] > 0)
                if pair.strength <= 0 or not bool(both.any()):
                    continue
                chance = int(torch.randint(height * width, (), generator=made))
                for by, end in (("method", pair.exemplar), ("random", chance)):
                    middle = torch.tensor([end % width, end // width]) + 0.5
                    near = ((other[both, :2] * size - middle).abs() <= 1).all(1)
                    right[by].append(bool(near.any()))
        for by, values in right.items():
            if values:
                found.append(Score(record.query, "same_part", by, len(values), float(np.mean(values))))
    return found


def _share_of(classifier: Reranker, queries: Embedded, records: list[Explanation]) -> Tensor:
    """(B,) share of the votes that each record's class gets."""
    shares = classifier.predict(queries, MODE).log_probs.exp()
    return shares.gather(1, torch.tensor([[record.predicted] for record in records]))[:, 0]


def _falls(before: Tensor, after: Tensor, queries: Embedded, measure: str, by: str, count: int) -> list[Score]:
    return [
        Score(int(image), measure, by, count, float(fall))
        for image, fall in zip(queries.ids, before - after, strict=True)
    ]


def _without_exemplars(
    classifier: Reranker, queries: Embedded, records: list[Explanation], made: torch.Generator
) -> list[Score]:
    """The vote without the exemplars that are shown, and without as many others of the shortlist."""
    before = _share_of(classifier, queries, records)
    listed = classifier.ids[queries.compared["rows"]]  # (B, K)
    shown = torch.stack(
        [torch.isin(ids, torch.tensor([e.id for e in r.shown])) for ids, r in zip(listed, records, strict=True)]
    )
    order = torch.rand(listed.shape, generator=made).argsort(1).argsort(1)
    chance = order < shown.sum(1, keepdim=True)
    found = []
    for by, taken in (("method", shown), ("random", chance)):
        score = queries.compared[f"scores_{MODE}"].masked_fill(taken, float("-inf"))
        left = replace(queries, compared={**queries.compared, f"scores_{MODE}": score})
        after = _share_of(classifier, left, records)
        found += _falls(before, after, queries, "exemplars_taken", by, TAKEN_PATCHES)
    return found


def _without_patches(
    classifier: Reranker,
    looks: Looks,
    shown: Images,
    queries: Embedded,
    records: list[Explanation],
    made: torch.Generator,
) -> list[Score]:
    """The vote when the patches that count most, over the shown exemplars, are painted over; and as many at random."""
    before = _share_of(classifier, queries, records)
    grid = records[0].grid
    assert grid is not None
    strength = torch.zeros(len(records), grid[0] * grid[1])
    for row, record in enumerate(records):
        for exemplar in record.shown:
            strength[row] += torch.tensor(exemplar.strength)
    count = min(TAKEN_PATCHES, strength.shape[1])
    chance = torch.rand(strength.shape, generator=made)
    found = []
    for by, weight in (("method", strength), ("random", chance)):
        taken = weight.argsort(dim=1, descending=True, stable=True)[:, :count]
        shown.change = _painted(taken, grid, shown)
        left = classifier.compare(embed(classifier, shown), looks)
        after = _share_of(classifier, left, records)
        found += _falls(before, after, queries, "patches_taken", by, count)
    shown.change = None
    return found


def _painted(taken: Tensor, grid: list[int], images: Images):  # type: ignore[no-untyped-def]
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
