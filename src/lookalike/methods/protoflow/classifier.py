"""ProtoFlow: class-conditional mixtures over the latents of an invertible network (docs/algorithms/protoflow.md).

A query looks like the prototypes whose density at its latents is highest; a prototype is a distribution over images.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from lookalike.backbones.flow.backbone import DenseFlowBackbone, content_seeds
from lookalike.backbones.flow.density import bits_per_dim
from lookalike.contracts.backbone import Backbone
from lookalike.contracts.classifier import Batch, Classifier, Prediction
from lookalike.contracts.explanation import Explanation
from lookalike.contracts.features import Features, ImageAccess, TrainingImages
from lookalike.contracts.settings import TrainingSettings
from lookalike.core.errors import LookalikeError
from lookalike.core.tensors import read_weights
from lookalike.data.images import crop_and_flip
from lookalike.methods.protoflow.initialisation import init_prototypes
from lookalike.methods.protoflow.interpret import explain_queries
from lookalike.methods.protoflow.losses import (
    cluster_loss,
    cross_entropy,
    diversity_loss,
    label_log_prob,
    marginal_log_prob,
    prototype_loss,
    ramp_up,
)
from lookalike.methods.protoflow.prototypes import (
    GaussianPrototypes,
    class_log_prob,
    drop_components,
    responsibilities,
)
from lookalike.methods.protoflow.settings import ProtoFlowSettings

IMAGES_AT_ONCE = 256
NEAREST = 5  # training images kept of each prototype


class ProtoFlowClassifier(Classifier):
    """Flow and mixtures."""

    max_nonfinite_steps = 2  # as the original, which stops at the third
    backbone: DenseFlowBackbone
    typical: Tensor  # () mean log-density of the training images, nats
    nearest: Tensor  # (C, K, N) ids of the training images whose latents have the highest density under each prototype
    usage: Tensor  # (C, K) mean responsibility over the training images of the class

    def __init__(self, settings: ProtoFlowSettings, backbone: Backbone, n_classes: int) -> None:
        super().__init__(settings, backbone, n_classes)
        if not isinstance(backbone, DenseFlowBackbone):
            raise LookalikeError("protoflow needs an invertible network; write backbone: {name: dense_flow_small}.")
        self.settings = settings
        mixtures = settings.prototypes
        self.prototypes = GaussianPrototypes(n_classes, mixtures.components, backbone.flow.out_shape, mixtures.kind)
        self.backbone.requires_grad_(settings.trains != "prototypes")
        assert backbone.flow.base_dist is not None
        backbone.flow.base_dist.requires_grad_(settings.losses.base)
        self.prototypes.requires_grad_(settings.trains in ("all", "prototypes"))
        self.prototypes.mean.requires_grad_(settings.trains != "flow")
        if mixtures.init == "weights":
            assert settings.backbone is not None
            assert settings.backbone.weights is not None
            self.prototypes.load_checkpoint(read_weights(Path(settings.backbone.weights)))

    def train(self, mode: bool = True) -> ProtoFlowClassifier:
        """A flow that is not trained stays in evaluation: its running statistics are not to move."""
        super().train(mode)
        if self.settings.trains == "prototypes":
            self.backbone.eval()
        return self

    def parameter_groups(self) -> list[dict[str, object]]:
        """The flow at the training's rate, the prototypes at theirs and without decay."""
        flow, prototypes = (
            [parameter for parameter in part.parameters() if parameter.requires_grad]
            for part in (self.backbone, self.prototypes)
        )
        of_prototypes = {"lr_factor": self.settings.prototypes.lr_factor, "weight_decay": 0.0}
        groups: list[dict[str, object]] = [{"params": flow}, {"params": prototypes, **of_prototypes}]
        return [group for group in groups if group["params"]]

    @torch.no_grad()
    def init_from_data(self, pool: TrainingImages, generator: torch.Generator, batch_size: int) -> None:
        """ActNorm from one batch, then prototypes from the latents of all training images."""
        rows = torch.randperm(len(pool.labels), generator=generator, device=generator.device)
        first = pool.load(rows[:batch_size])
        self.train()
        self.backbone.init_from_data(first, generator)
        if self.settings.prototypes.init in ("random", "weights"):
            return
        self.eval()
        maps = (self.backbone.feature_map(pool.load(batch)) for batch in rows.split(IMAGES_AT_ONCE))
        latents = torch.cat([latent.flatten(1).cpu() for latent in maps])
        on_cpu = torch.Generator().manual_seed(
            int(torch.randint(2**31, (), generator=generator, device=generator.device))
        )
        fit = self.settings.prototypes.init == "em"
        init_prototypes(self.prototypes, latents, pool.labels[rows].cpu(), on_cpu, fit)

    def training_loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Cross-entropy, class-conditional bits a dimension, and what the study adds; and (B, C) log-densities."""
        flow, losses, noise = self.backbone.flow, self.settings.losses, batch.generators["noise"]
        encoded = self.backbone.encode(batch.images, flow.draw_noises(len(batch.images), noise))
        weighted = self.prototypes.weighted(F.dropout(encoded.z, self.settings.latent_dropout))
        if self.settings.prototypes.dropout:
            share = self.settings.prototypes.dropout
            uniform = torch.rand(weighted.shape, generator=noise, device=noise.device).to(weighted)
            none_left = (uniform < share).all(2, keepdim=True)  # a class would have no density at all
            weighted = drop_components(weighted, share, uniform.masked_fill(none_left, 1))
        log_probs = class_log_prob(weighted, self.settings.prototypes.likelihood)
        loss = cross_entropy(log_probs, batch.labels)
        loss = loss + bits_per_dim(encoded.ldj, label_log_prob(log_probs, batch.labels), flow.dims)
        if losses.consistency is not None:
            of_view = bits_per_dim(encoded.ldj, label_log_prob(log_probs, self._other_view(batch)), flow.dims)
            loss = loss + ramp_up(batch.epoch, 0, losses.consistency) * of_view
        if losses.diversity:
            loss = loss + diversity_loss(self.prototypes.means(), self.prototypes.log_vars())
        if losses.cluster:
            loss = loss + cluster_loss(encoded.z.flatten(1), batch.labels, self.prototypes.means())
        if losses.base:
            loss = loss + bits_per_dim(encoded.ldj, flow.log_base(encoded.z), flow.dims)
        if losses.base_prototypes:
            means = self.prototypes.means().unflatten(2, flow.out_shape).flatten(0, 1)
            loss = loss + prototype_loss(flow.log_base(means), flow.dims)
        return loss, log_probs

    @torch.no_grad()
    def _other_view(self, batch: Batch) -> Tensor:
        """(B,) classes predicted from another view of the images, in evaluation."""
        self.eval()
        images = batch.pool.load(batch.rows, batch.generators["view"])
        encoded = self.backbone.encode(images, self.backbone.flow.draw_noises(len(images), batch.generators["noise"]))
        guess = self.prototypes(encoded.z, self.settings.prototypes.likelihood).argmax(1)
        self.train()
        return guess

    def embed(self, images: Tensor) -> Tensor:
        """(B, S (D + 1)) latents and log-determinants of each draw of the noises, which an image's pixels decide."""
        parts = []
        for sample in range(self.settings.inference.samples):
            seen = self._moved(images, sample) if sample and self.settings.inference.views else images
            encoded = self.backbone.encode(seen, self.backbone.noises_of(images, sample))
            parts += [encoded.z.flatten(1), encoded.ldj[:, None].to(encoded.z)]
        return torch.cat(parts, 1)

    def _moved(self, images: Tensor, sample: int) -> Tensor:
        """The images as training may show them; which way depends on the image alone."""
        training = self.settings.training or TrainingSettings()
        seeds = torch.tensor(content_seeds(images, sample), device=images.device)
        across, down = (seeds >> place & 0xFFFF for place in (0, 16))
        most, side = 2 * training.crop_padding + 1, seeds >> 32 & 1
        return crop_and_flip(images, training.crop_padding, down % most, across % most, (side == 1) & training.flip)

    def draws(self, queries: Features) -> tuple[Tensor, Tensor]:
        """Log-densities of the components (S, B, C, K) and log-determinants (S, B) of embedded queries."""
        features = queries.features.unflatten(1, (self.settings.inference.samples, -1)).transpose(0, 1)
        latents, ldj = features[..., :-1], features[..., -1]
        weighted = torch.stack([self.prototypes.weighted(draw) for draw in latents])
        return weighted, ldj

    def joint(self, queries: Features) -> Tensor:
        """(B, C, K) log-density of queries and a prototype of a class, nats: the mean over draws."""
        weighted, ldj = self.draws(queries)
        return self._mean_of_draws(weighted + ldj[..., None, None])

    def _mean_of_draws(self, log_densities: Tensor) -> Tensor:
        if self.settings.compat:
            return log_densities.mean(0)
        return log_densities.logsumexp(0) - math.log(len(log_densities))

    def log_probs(self, queries: Features) -> Tensor:
        """(B, C) log p(x, z | class) of the likelihood that the study chose, nats."""
        return self.log_probs_of(*self.draws(queries))

    def log_probs_of(self, weighted: Tensor, ldj: Tensor) -> Tensor:
        """(B, C) of what `draws` gives."""
        return self._mean_of_draws(class_log_prob(weighted, self.settings.prototypes.likelihood) + ldj[..., None])

    def predict(self, queries: Features, mode: str) -> Prediction:
        """Posterior; over several draws the mean of densities, not of their logarithms."""
        return Prediction((self.log_probs(queries) / self.settings.inference.temperature).log_softmax(1).float())

    def log_density(self, queries: Features) -> Tensor:
        """(B,) log-density of queries, classes equally likely, nats."""
        weighted, ldj = self.draws(queries)
        return self._mean_of_draws(marginal_log_prob(class_log_prob(weighted, "total")) + ldj)

    def query_metrics(self, queries: Features, mode: str) -> dict[str, Tensor]:
        """Per query, (B,) each.

        `log_density` in nats and `bits_per_dim`, a bound; `typicality`: minus the distance of the log-density from
        the training images' mean, in nats (Nalisnick et al., arXiv 1906.02994); `reconstruction_error`: largest
        difference of a pixel, 0 to 1, after the way there and back; `changed_pixels`: how many differ once rounded.
        """
        density = self.log_density(queries)
        bits = -density / (math.log(2) * self.backbone.flow.dims)
        return {"log_density": density, "bits_per_dim": bits, "typicality": -(density - self.typical).abs()} | {
            name: queries.match_scores[name] for name in ("reconstruction_error", "changed_pixels")
        }

    @torch.no_grad()
    def match_queries(self, queries: Features, images: ImageAccess) -> Features:
        """Queries with how exactly the flow gives them back."""
        flow, errors, changed = self.backbone.flow, [], []
        for rows in torch.arange(len(queries)).split(IMAGES_AT_ONCE):
            batch = images.load(rows)
            encoded = self.backbone.encode(batch, self.backbone.noises_of(batch, 0))
            back = flow.decode(encoded.z, encoded.dropped)
            errors.append((back - encoded.start).abs().flatten(1).amax(1).cpu())
            changed.append((flow.to_pixels(back) != batch.round()).flatten(1).sum(1).cpu())
        return replace(
            queries, match_scores={"reconstruction_error": torch.cat(errors), "changed_pixels": torch.cat(changed)}
        )

    @torch.no_grad()
    def build_support(self, support: Features, seed: int) -> None:
        """Which training images each prototype is nearest to, how much it is used, and how likely they are."""
        count, shape = min(NEAREST, len(support)), self.prototypes.logits.shape
        best, nearest = torch.full((*shape, 0), -torch.inf), torch.zeros(*shape, 0, dtype=torch.int64)
        self.usage, densities = torch.zeros(shape), []
        for rows in torch.arange(len(support)).split(IMAGES_AT_ONCE):
            batch = support.rows(rows)
            of_class = responsibilities(self.joint(batch)[torch.arange(len(batch)), batch.labels])  # (n, K)
            self.usage.index_add_(0, batch.labels, of_class)
            # Of latents alone: the density of images is highest for the plainest ones, whatever the prototype.
            near = self.draws(batch)[0].mean(0)  # (n, C, K)
            best, places = torch.cat([best, near.permute(1, 2, 0)], 2).topk(
                min(count, best.shape[2] + len(batch)), 2, sorted=True
            )
            nearest = torch.cat([nearest, batch.ids.expand(*shape, -1)], 2).gather(2, places)
            densities.append(self.log_density(batch))
        self.nearest, self.typical = nearest, torch.cat(densities).double().mean()
        self.usage /= support.labels.bincount(minlength=self.n_classes).clamp_min(1)[:, None]

    def support_tensors(self) -> dict[str, Tensor]:
        """What `build_support` found."""
        return {"typical": self.typical, "nearest": self.nearest, "usage": self.usage}

    def load_support(self, tensors: dict[str, Tensor]) -> None:
        """Take it back."""
        self.typical, self.nearest, self.usage = (tensors[name] for name in ("typical", "nearest", "usage"))

    def explain(self, queries: Features, mode: str) -> list[Explanation]:
        """The prototypes that a query looks like, as pictures, with the training images nearest to each."""
        return explain_queries(self, queries, mode)
