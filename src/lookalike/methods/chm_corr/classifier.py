"""CHM-Corr: the shortlist, ordered by how alike corresponding patches are.

Nguyen, Taesiri and Nguyen, NeurIPS 2022 (arXiv 2208.00780); section 2 of the specification. CHMNet says which patch of
an exemplar each patch of the query belongs to; the cosines of these pairs, where the query matters to the exemplar,
make the score.

CHMNet comes from a checkpoint of its authors, or is trained on random warps of the training images, over the same
frozen network that gives the patches.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from lookalike.backbones.base import Backbone
from lookalike.errors import LookalikeError
from lookalike.methods.base import Batch, FrozenSettings
from lookalike.methods.chm_corr.kernels import Kind
from lookalike.methods.chm_corr.network import Branches, Learner, load_checkpoint
from lookalike.methods.chm_corr.transfer import right_share, transfer_loss, transfer_points
from lookalike.methods.chm_corr.warps import warp_images
from lookalike.methods.patches import Matches, Patches, cell_centres, cells_of, match_patches
from lookalike.methods.reranking import BLOCK_BYTES, Links, Reranker, RerankInference, Role, Tensors
from lookalike.settings import Settings as BaseSettings
from lookalike.settings import TrainingSettings
from lookalike.tensors import read_weights

SCALE_AT_START = 10.0  # the authors' 1 is for 900 nodes of larger values; PCK after 300 steps .57 from 1, .61 from 10
PATCHES_SCORED = 5
CACHE_BYTES = 25_000_000  # of temporaries at a time: 1.6 times as fast on a CPU as ten times as many
RIGHT = 0.1  # PCK@0.1: of the image's side
UPSTREAM_SIZE, UPSTREAM_CROP, UPSTREAM_PATCHES = 240, 210, 224


class Correspondence(BaseSettings):
    """The matching network."""

    weights: str | None = Field(
        None, description="A CHMNet checkpoint of its authors (.pt), which then needs no `training`."
    )
    kernel: Kind = Field("psi", description="How the weights of the kernels are shared.")
    channels: Annotated[int, Field(ge=1)] = Field(32, description="Of the pyramid; the authors' has 256.")


class Inference(RerankInference):
    """Settings of the score; `compat: upstream` has the original's transposed cells and mismatched frames."""

    threshold: Annotated[float, Field(ge=0, le=1)] = Field(
        0.55,
        description="Of the query's cross-correlation, least 0 and most 1: patches from here on count.",
    )


class Settings(FrozenSettings):
    """Study entry of `chm_corr`."""

    method: Literal["chm_corr"]
    modes: Annotated[tuple[Literal["vote", "key_points"], ...], Field(min_length=1)] = ("vote",)
    explain: tuple[Literal["vote"], ...] = ("vote",)
    correspondence: Correspondence = Correspondence()
    training: TrainingSettings | None = Field(None, description="Of the matching network on random warps.")
    inference: Inference = Inference()

    @model_validator(mode="after")
    def _one_matching_network(self) -> Settings:
        if (self.training is None) == (self.correspondence.weights is None):
            raise ValueError("give either training: {...} or correspondence: {weights: FILE}")
        if self.inference.compat and self.correspondence.weights is None:
            raise ValueError("compat: upstream needs the authors' network, correspondence: {weights: FILE}")
        return self


class Model(Reranker):
    """Majority vote of the training images whose corresponding patches are most alike."""

    inference: Inference

    def __init__(self, settings: Settings, backbone: Backbone, n_classes: int) -> None:
        super().__init__(settings, settings.inference, backbone, n_classes)
        self.modes = settings.modes
        self.branches: Branches | None = None
        self.log_scale: nn.Parameter | None = None  # of the soft-max
        wanted = settings.correspondence
        if wanted.weights is None:
            backbone.requires_grad_(False)
            self.learner = Learner(wanted.kernel, backbone.dim, wanted.channels)
            self.log_scale = nn.Parameter(torch.tensor(math.log(SCALE_AT_START)))
        else:
            self.branches, self.learner = load_checkpoint(read_weights(Path(wanted.weights)), wanted.weights)

    def train(self, mode: bool = True) -> Model:
        """The backbone's statistics stay as they are: it is frozen."""
        super().train(mode)
        self.backbone.eval()
        return self

    def embed_on(self, device: torch.device) -> None:
        """The matching network goes with the backbone."""
        self.to(device)

    def training_loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Squared distance of key points carried to a random warp of each image; and (B,) PCK@0.1."""
        pairs = warp_images(batch.images, batch.generators["augment"])
        with torch.no_grad():
            maps = self.backbone.feature_map(torch.cat([pairs.source, pairs.target]))
        # The backbone's part may be in half precision; a transform, a cube and a soft-max of 900 entries may not.
        with torch.autocast(maps.device.type, enabled=False):
            source, target = self.learner.pyramid(maps.float()).chunk(2)
            moved = transfer_points(self.learner(source, target), pairs.points, self._scale())
        loss = transfer_loss(moved, pairs.moved, pairs.valid)
        tolerance = torch.full((len(moved),), 2 * RIGHT, device=moved.device)  # the side is 2 long
        return loss, right_share(moved.detach(), pairs.moved, pairs.valid, tolerance).nan_to_num()

    def count_right(self, answers: Tensor, batch: Batch) -> Tensor:
        """() sum of the pairs' PCK."""
        return answers.sum()

    def _scale(self) -> Tensor | float:
        return 1.0 if self.log_scale is None else self.log_scale.exp()

    def embed(self, images: Tensor) -> Tensor:
        """Features (B, D); under compat of the centre that the shortlist's network saw."""
        return super().embed(images if self.inference.compat is None else self._upstream_frame(images, "exemplar"))

    # Comparison -----------------------------------------------------------------------------------

    def prepare(self, images: Tensor, role: Role) -> Tensors:
        """Unit patches (n, R, C), their lengths (n, R), the mean patch's length (n,); pyramid (n, 3, s * s, D)."""
        if self.branches is None:
            maps = self.backbone.feature_map(images).float()
            own = maps
        else:
            own = self.branches(images, "source" if role == "query" else "target").float()
            maps = self.backbone.feature_map(self._upstream_frame(images, role)).float()
        height, width = maps.shape[-2:]
        if height != width:
            raise LookalikeError(
                f"feature maps are {height} x {width}, but chm_corr needs square ones; give square images "
                "(fit: squash) or use emd_corr."
            )
        return {**vars(Patches.of(maps)), "pyramid": self.learner.pyramid(own)}

    def _upstream_frame(self, images: Tensor, role: Role) -> Tensor:
        """What the patch network sees; under compat a query shrunk to 224 pixels, and of an exemplar the centre."""
        if self.inference.compat is None:
            return images
        if images.shape[-2:] != (UPSTREAM_SIZE, UPSTREAM_SIZE):
            raise LookalikeError(
                f"compat: upstream shows images of {UPSTREAM_SIZE} pixels, these have {images.shape[-1]}; write\n"
                f"  datasets:\n    ...: {{size: {UPSTREAM_SIZE}, resize: {UPSTREAM_SIZE}}}"
            )
        if role == "exemplar":
            margin = (UPSTREAM_SIZE - UPSTREAM_CROP) // 2
            images = images[..., margin:-margin, margin:-margin]
        size = (UPSTREAM_PATCHES, UPSTREAM_PATCHES)
        return F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)

    def bytes_per_pair(self, query: Tensors) -> int:
        """An exemplar's patches and pyramid twice, and its cosines; matching bounds itself."""
        return 2 * sum(value[0].nbytes for value in query.values()) + 12 * query["unit"].shape[1] ** 2

    def find_partners(self, queries: Tensors, shortlists: Tensors) -> Tensor:
        """(B * K, R) patch of each exemplar that each query patch belongs to.

        Args:
            queries: prepared, (B, ...).
            shortlists: prepared, (B, K, ...).
        """
        side = round(queries["unit"].shape[1] ** 0.5)
        points = key_points(side, self.inference.compat is not None).to(queries["unit"])
        return cells_of(self._transfer(queries, shortlists, points), side)

    def carry(self, query: Tensors, shortlist: Tensors, points: Tensor) -> Tensor:
        """Key points by CHMNet."""
        return self._transfer(query, {name: value[None] for name, value in shortlist.items()}, points)

    def _transfer(self, queries: Tensors, shortlists: Tensors, points: Tensor) -> Tensor:
        """(B * K, P, 2) points (P, 2) of the queries in their exemplars."""
        cells = round(queries["pyramid"].shape[2] ** 0.5)
        count, near = shortlists["pyramid"].shape[1], shortlists["pyramid"].flatten(0, 1)
        bound = CACHE_BYTES if near.device.type == "cpu" else BLOCK_BYTES
        together = max(1, bound // bytes_of_matching(cells))
        moved = [
            transfer_points(self.learner(queries["pyramid"][pairs // count], near[pairs]), points, self._scale())
            for pairs in torch.arange(len(near), device=near.device).split(together)
        ]
        return torch.cat(moved)

    def scores(self, queries: Tensors, shortlists: Tensors, points: Tensor | None) -> Tensors:
        """Mean cosine of the best corresponding patches (vote) or of those at key points (key_points)."""
        count = shortlists["unit"].shape[1]
        matches, partners = self._match(queries, shortlists)
        alike = partner_cosines(matches.similarity, partners, self.inference.compat is not None)
        found = top_mean(alike * attention_mask(matches.query_map, self.inference.threshold))
        scores = {"vote": found.view(-1, count)}
        if points is None and "key_points" in self.modes:
            raise LookalikeError(
                "mode key_points needs key points, which these images have none of; take it out of modes, or the data "
                "set out of this model's datasets."
            )
        if points is not None:
            masks = point_masks(points.to(alike.device), round(alike.shape[1] ** 0.5))  # (B, R)
            at_points = (alike.unflatten(0, (-1, count)) * masks[:, None]).mean(2)
            some = masks.any(1, keepdim=True)
            scores["key_points"] = torch.where(some, at_points, scores["vote"])
        return scores

    def _match(self, queries: Tensors, shortlists: Tensors) -> tuple[Matches, Tensor]:
        """Matches and partners of B queries with their K exemplars."""
        own, near = (Patches(t["unit"], t["lengths"], t["mean_length"]) for t in (queries, shortlists))
        return match_patches(own, near), self.find_partners(queries, shortlists)

    def links(self, query: Tensors, shortlist: Tensors) -> Links:
        """Each query patch, where CHMNet carries it, and its cosine there where the query matters to the exemplar."""
        matches, partners = self._match(query, {name: value[None] for name, value in shortlist.items()})
        alike = partner_cosines(matches.similarity, partners, self.inference.compat is not None)
        masked = alike * attention_mask(matches.query_map, self.inference.threshold)
        side = round(alike.shape[1] ** 0.5)
        return Links(partners, masked, matches.query_map, matches.exemplar_map, (side, side))


def key_points(side: int, upstream: bool = False) -> Tensor:
    """(side * side, 2) points of a query that are carried to the exemplars: the middles of its patches.

    The original's seven are at 18, 52, ... 222 of 240 pixels, up to a pixel further out.
    """
    if not upstream or side != UPSTREAM_PATCHES // 32:
        return cell_centres(side)
    at = (torch.arange(18.0, 223, 34) - UPSTREAM_SIZE / 2) / (UPSTREAM_SIZE / 2)
    y, x = torch.meshgrid(at, at, indexing="ij")
    return torch.stack([x, y], -1).view(-1, 2)


def partner_cosines(similarity: Tensor, partners: Tensor, upstream: bool = False) -> Tensor:
    """(K, R) cosine of each query patch with its partner.

    Args:
        similarity: (K, R, R), rows are exemplar patches, columns query patches.
        partners: (K, R).
        upstream: as the original, which takes x for the row and y for the column in both images: each cell of the map
            holds the cosine of the transposed pair.
    """
    if upstream:
        side = round(partners.shape[1] ** 0.5)
        partners = _transposed(partners.unflatten(1, (side, side)).mT.flatten(1), side)
    return similarity.gather(1, partners[:, None])[:, 0]


def _transposed(cells: Tensor, side: int) -> Tensor:
    """Numbers of the cells whose row and column are exchanged."""
    return cells % side * side + cells // side


def attention_mask(query_map: Tensor, threshold: float) -> Tensor:
    """(K, R) 1 where the query's map, from its least to its most, reaches the threshold; a flat map keeps all."""
    low, high = query_map.amin(1, keepdim=True), query_map.amax(1, keepdim=True)
    share = torch.where(high > low, (query_map - low) / (high - low), 1)
    return (share >= threshold).float()


def top_mean(masked: Tensor) -> Tensor:
    """(K,) mean of the five largest values of (K, R); of all, on grids with fewer patches."""
    return masked.topk(min(PATCHES_SCORED, masked.shape[1]), dim=1).values.mean(1)


def point_masks(points: Tensor, side: int) -> Tensor:
    """(B, R) 1 for patches that hold a visible key point of (B, P, 3)."""
    cells = cells_of(points[..., :2] * 2 - 1, side)
    masks = torch.zeros(len(points), side * side, device=points.device)
    return masks.scatter_reduce(1, cells, (points[..., 2] > 0).float(), "amax")


def bytes_of_matching(side: int) -> int:
    """Temporaries of matching a pair on maps of `side`: nine spectra three times, five fields of the doubled grid."""
    return 4 * (3 * 9 * (side + 2) ** 4 + 5 * (2 * side + 2) ** 4)
