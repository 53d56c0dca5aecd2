"""CHM-Corr: candidates ordered by how alike corresponding patches are.

CHMNet says which patch of an exemplar each patch of the query belongs to; the cosines of these pairs, where the query
matters to the exemplar, make the score (docs/algorithms/chm_corr.md, section 9). CHMNet comes from a checkpoint of its
authors, or is trained on random warps of the training images, over the same frozen network that gives the patches.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lookalike.contracts.backbone import Backbone
from lookalike.contracts.classifier import Batch
from lookalike.core.errors import LookalikeError
from lookalike.core.tensors import read_weights
from lookalike.methods.chm_corr.network import CHMBackbones, CHMNet, load_checkpoint
from lookalike.methods.chm_corr.settings import CHMCorrInference, CHMCorrSettings
from lookalike.methods.chm_corr.similarity import (
    UPSTREAM_PATCHES,
    UPSTREAM_SIZE,
    attention_mask,
    patch_points,
    point_masks,
    target_cosines,
    top_mean,
)
from lookalike.methods.reranking.classifier import BLOCK_BYTES, Correspondences, Reranker, Role, Tensors
from lookalike.methods.reranking.patches import Matches, Patches, cells_of, match_patches
from lookalike.methods.reranking.transfer import right_share, transfer_loss, transfer_points
from lookalike.methods.reranking.warps import warp_images

SCALE_AT_START = 10.0  # the authors' 1 is for 900 nodes of larger values; PCK after 300 steps .57 from 1, .61 from 10
CACHE_BYTES = 25_000_000  # of temporaries at a time: 1.6 times as fast on a CPU as ten times as many
RIGHT = 0.1  # PCK@0.1: of the image's side
UPSTREAM_CROP = 210  # pixels


class CHMCorrClassifier(Reranker):
    """Majority vote of the training images whose corresponding patches are most alike."""

    inference: CHMCorrInference

    def __init__(self, settings: CHMCorrSettings, backbone: Backbone, n_classes: int) -> None:
        super().__init__(settings, backbone, n_classes)
        self.modes = settings.modes
        self.branches: CHMBackbones | None = None
        self.log_scale: nn.Parameter | None = None  # of the soft-max
        network = settings.correspondence
        if network.weights is None:
            backbone.requires_grad_(False)
            self.chmnet = CHMNet(network.kernel, backbone.dim, network.channels)
            self.log_scale = nn.Parameter(torch.tensor(math.log(SCALE_AT_START)))
        else:
            self.branches, self.chmnet = load_checkpoint(read_weights(Path(network.weights)), network.weights)

    def train(self, mode: bool = True) -> CHMCorrClassifier:
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
            source, target = self.chmnet.pyramid(maps.float()).chunk(2)
            moved = transfer_points(self.chmnet(source, target), pairs.points, self._scale())
        loss = transfer_loss(moved, pairs.moved, pairs.valid)
        tolerance = torch.full((len(moved),), 2 * RIGHT, device=moved.device)  # the side is 2 long
        return loss, right_share(moved.detach(), pairs.moved, pairs.valid, tolerance).nan_to_num()

    def count_correct(self, answers: Tensor, batch: Batch) -> Tensor:
        """() sum of the pairs' PCK."""
        return answers.sum()

    def _scale(self) -> Tensor | float:
        return 1.0 if self.log_scale is None else self.log_scale.exp()

    def embed(self, images: Tensor) -> Tensor:
        """Features (B, D); under compat of the centre that the network of the candidates saw."""
        return super().embed(images if not self.upstream else self._upstream_frame(images, "exemplar"))

    # Comparison -----------------------------------------------------------------------------------

    def prepare(self, images: Tensor, role: Role) -> Tensors:
        """Unit patches (n, R, C), their lengths (n, R), the mean patch's length (n,); pyramid (n, 3, s * s, D)."""
        if self.branches is None:
            maps = self.backbone.feature_map(images).float()
            matched = maps
        else:
            matched = self.branches(images, "source" if role == "query" else "target").float()
            maps = self.backbone.feature_map(self._upstream_frame(images, role)).float()
        height, width = maps.shape[-2:]
        if height != width:
            raise LookalikeError(
                f"feature maps are {height} x {width}, but chm_corr needs square ones; give square images "
                "(fit: squash) or use emd_corr."
            )
        return {**vars(Patches.of(maps)), "pyramid": self.chmnet.pyramid(matched)}

    def _upstream_frame(self, images: Tensor, role: Role) -> Tensor:
        """What the patch network sees; under compat a query shrunk to 224 pixels, and of an exemplar the centre."""
        if not self.upstream:
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

    def find_targets(self, queries: Tensors, candidates: Tensors) -> Tensor:
        """(B * K, R) patch of each exemplar that each query patch belongs to.

        Args:
            queries: Prepared queries (B, ...).
            candidates: Prepared candidates (B, K, ...).
        """
        side = round(queries["unit"].shape[1] ** 0.5)
        points = patch_points(side, self.upstream).to(queries["unit"])
        return cells_of(self._transfer(queries, candidates, points), side)

    def carry(self, query: Tensors, candidates: Tensors, points: Tensor) -> Tensor:
        """Key points by CHMNet."""
        return self._transfer(query, {name: value[None] for name, value in candidates.items()}, points)

    def _transfer(self, queries: Tensors, candidates: Tensors, points: Tensor) -> Tensor:
        """(B * K, P, 2) points (P, 2) of the queries in their candidates."""
        cells = round(queries["pyramid"].shape[2] ** 0.5)
        count, near = candidates["pyramid"].shape[1], candidates["pyramid"].flatten(0, 1)
        bound = CACHE_BYTES if near.device.type == "cpu" else BLOCK_BYTES
        together = max(1, bound // bytes_of_matching(cells))
        moved = [
            transfer_points(self.chmnet(queries["pyramid"][pairs // count], near[pairs]), points, self._scale())
            for pairs in torch.arange(len(near), device=near.device).split(together)
        ]
        return torch.cat(moved)

    def scores(self, queries: Tensors, candidates: Tensors, key_points: Tensor | None) -> Tensors:
        """Mean cosine of the best corresponding patches (vote) or of those at key points (key_points)."""
        count = candidates["unit"].shape[1]
        matches, targets = self._match(queries, candidates)
        alike = target_cosines(matches.similarity, targets, self.upstream)
        of_vote = top_mean(alike * attention_mask(matches.query_map, self.inference.threshold))
        scores = {"vote": of_vote.view(-1, count)}
        if key_points is None and "key_points" in self.modes:
            raise LookalikeError(
                "mode key_points needs key points, which these images have none of; take it out of modes, or the data "
                "set out of this model's datasets."
            )
        if key_points is not None:
            masks = point_masks(key_points.to(alike.device), round(alike.shape[1] ** 0.5))  # (B, R)
            at_points = (alike.unflatten(0, (-1, count)) * masks[:, None]).mean(2)
            visible = masks.any(1, keepdim=True)
            scores["key_points"] = torch.where(visible, at_points, scores["vote"])
        return scores

    def _match(self, queries: Tensors, candidates: Tensors) -> tuple[Matches, Tensor]:
        """Matches and targets of B queries with their K candidates."""
        of_queries, near = (Patches(t["unit"], t["lengths"], t["mean_length"]) for t in (queries, candidates))
        return match_patches(of_queries, near), self.find_targets(queries, candidates)

    def correspondences(self, query: Tensors, candidates: Tensors) -> Correspondences:
        """Each query patch, where CHMNet carries it, and its cosine there where the query matters to the exemplar."""
        matches, targets = self._match(query, {name: value[None] for name, value in candidates.items()})
        alike = target_cosines(matches.similarity, targets, self.upstream)
        masked = alike * attention_mask(matches.query_map, self.inference.threshold)
        side = round(alike.shape[1] ** 0.5)
        return Correspondences(targets, masked, matches.query_map, matches.exemplar_map, (side, side))


def bytes_of_matching(side: int) -> int:
    """Temporaries of matching a pair on maps of `side`: nine spectra three times, five fields of the doubled grid."""
    return 4 * (3 * 9 * (side + 2) ** 4 + 5 * (2 * side + 2) ** 4)
