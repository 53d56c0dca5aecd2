"""ProtoFlow: class-conditional mixtures over the latents of an invertible network.

Carmichael, Redgrave, Gonzalez Cedre and Scheirer, ECCV 2024 (arXiv 2407.12200); sections 3 to 6 of the specification.
A query looks like the prototypes whose density at its latents is highest; a prototype is a distribution over images.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from lookalike.backbones.base import Backbone
from lookalike.backbones.dense_flow import DenseFlowBackbone
from lookalike.determinism import generator
from lookalike.errors import LookalikeError
from lookalike.methods.base import Batch, Classifier, Embedded, Pool, Prediction, TrainedSettings
from lookalike.methods.protoflow.losses import bits_per_dim, cross_entropy, diversity_loss, label_log_prob, ramp_up
from lookalike.methods.protoflow.prototypes import Kind, Likelihood, Prototypes, class_log_prob
from lookalike.methods.protoflow.start import lloyd
from lookalike.settings import Settings as BaseSettings


class PrototypeSettings(BaseSettings):
    """The mixtures."""

    components: Annotated[int, Field(ge=1)] = Field(10, description="Prototypes of a class.")
    kind: Kind = Field("diagonal", description="Which variances are free.")
    likelihood: Likelihood = Field("total", description="All prototypes of a class together, or the best one.")
    start: Literal["kmeans", "random"] = Field("kmeans", description="Where the means start.")
    lr_factor: Annotated[float, Field(gt=0)] = Field(10, description="Their learning rate over that of the flow.")


class LossSettings(BaseSettings):
    """Terms besides the cross-entropy of the posterior and the class-conditional bits a dimension."""

    consistency: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Epochs over which the bits a dimension of the class predicted from another view rise to 1."
    )
    diversity: bool = Field(False, description="Push the prototypes of a class apart.")


class Inference(BaseSettings):
    """Settings of the posterior."""

    samples: Annotated[int, Field(ge=1)] = Field(1, description="Draws of the flow's noises an image.")
    temperature: Annotated[float, Field(gt=0)] = Field(1, description="Log-densities are divided by it.")


class Settings(TrainedSettings):
    """Study entry of `protoflow`."""

    method: Literal["protoflow"]
    pixels: Literal["levels"] = "levels"
    modes: Annotated[tuple[Literal["posterior"], ...], Field(min_length=1)] = ("posterior",)
    explain: tuple[()] = ()
    prototypes: PrototypeSettings = PrototypeSettings()
    losses: LossSettings = LossSettings()
    inference: Inference = Inference()


class Model(Classifier):
    """Flow and mixtures."""

    backbone: DenseFlowBackbone

    def __init__(self, settings: Settings, backbone: Backbone, n_classes: int) -> None:
        super().__init__(settings, backbone, n_classes)
        if not isinstance(backbone, DenseFlowBackbone):
            raise LookalikeError("protoflow needs an invertible network; write backbone: {name: dense_flow_small}.")
        self.settings = settings
        wanted = settings.prototypes
        self.prototypes = Prototypes(n_classes, wanted.components, backbone.flow.out_shape, wanted.kind)

    def parameter_groups(self) -> list[dict[str, object]]:
        """The flow at the training's rate, the prototypes at theirs and without decay."""
        return [
            {"params": list(self.backbone.parameters())},
            {
                "params": list(self.prototypes.parameters()),
                "lr_factor": self.settings.prototypes.lr_factor,
                "weight_decay": 0.0,
            },
        ]

    @torch.no_grad()
    def start_training(self, pool: Pool, made: torch.Generator, batch_size: int) -> None:
        """ActNorm from one batch, then prototypes from the latents of all training images."""
        rows = torch.randperm(len(pool.labels), generator=made, device=made.device)
        first = pool.take(rows[:batch_size])
        self.train()
        self.backbone.encode(first, self._noises(len(first), made))
        if self.settings.prototypes.start == "random":
            return
        self.eval()
        maps = (self.backbone.feature_map(pool.take(some)) for some in rows.split(256))
        latents = torch.cat([one.flatten(1).cpu() for one in maps])
        labels = pool.labels[rows].cpu()
        on_cpu = torch.Generator().manual_seed(int(torch.randint(2**31, (), generator=made, device=made.device)))
        count = self.settings.prototypes.components
        for label in range(self.n_classes):
            own = latents[labels == label]
            if len(own) < count:
                raise LookalikeError(
                    f"class {label} has {len(own)} training images, fewer than prototypes.components ({count})."
                )
            begin = own[torch.randperm(len(own), generator=on_cpu)[:count]]
            centres, _ = lloyd(own, begin, on_cpu)
            if self.prototypes.kind == "per_channel":
                centres = centres.view(count, self.prototypes.latent[0], -1).mean(2)
            self.prototypes.mean[label] = centres.to(self.prototypes.mean)

    def _noises(self, count: int, made: torch.Generator) -> list[Tensor]:
        return self.backbone.flow.draw_noises(count, made)

    def training_loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Cross-entropy, class-conditional bits a dimension, and what the study adds; and (B, C) log-densities."""
        flow, wanted = self.backbone.flow, self.settings.losses
        encoded = self.backbone.encode(batch.images, self._noises(len(batch.images), batch.generators["noise"]))
        log_probs = self.prototypes(encoded.z, self.settings.prototypes.likelihood)
        loss = cross_entropy(log_probs, batch.labels)
        loss = loss + bits_per_dim(encoded.ldj, label_log_prob(log_probs, batch.labels), flow.dims)
        if wanted.consistency is not None:
            with torch.no_grad():
                self.eval()
                again = batch.pool.take(batch.rows, batch.generators["view"])
                other = self.backbone.encode(again, self._noises(len(again), batch.generators["noise"]))
                guess = self.prototypes(other.z, self.settings.prototypes.likelihood).argmax(1)
                self.train()
            own = bits_per_dim(encoded.ldj, label_log_prob(log_probs, guess), flow.dims)
            loss = loss + ramp_up(batch.epoch, 0, wanted.consistency) * own
        if wanted.diversity:
            loss = loss + diversity_loss(self.prototypes.means(), self.prototypes.log_vars())
        return loss, log_probs

    def embed(self, images: Tensor) -> Tensor:
        """(B, S (D + 1)) latents and log-determinants of each draw of the noises, which an image's pixels decide."""
        parts = []
        for sample in range(self.settings.inference.samples):
            encoded = self.backbone.encode(images, self._noises_of(images, sample))
            parts += [encoded.z.flatten(1), encoded.ldj[:, None].to(encoded.z)]
        return torch.cat(parts, 1)

    def _noises_of(self, images: Tensor, sample: int) -> list[Tensor]:
        """The same for the same image, whatever is beside it."""
        shapes = self.backbone.flow.noise_shapes()
        sizes = [math.prod(shape) for shape in shapes]
        seeds = content_seeds(images, sample)
        drawn = torch.stack([torch.randn(sum(sizes), generator=generator(seed)) for seed in seeds]).to(images)
        return [part.view(-1, *shape) for part, shape in zip(drawn.split(sizes, 1), shapes, strict=True)]

    def draws(self, queries: Embedded) -> tuple[Tensor, Tensor]:
        """Log-densities of the components (S, B, C, K) and log-determinants (S, B) of embedded queries."""
        features = queries.features.unflatten(1, (self.settings.inference.samples, -1)).transpose(0, 1)
        latents, ldj = features[..., :-1], features[..., -1]
        weighted = torch.stack([self.prototypes.weighted(one) for one in latents])
        return weighted, ldj

    def predict(self, queries: Embedded, mode: str) -> Prediction:
        """Posterior; over several draws the mean of densities, not of their logarithms."""
        weighted, ldj = self.draws(queries)
        log_probs = class_log_prob(weighted, self.settings.prototypes.likelihood)
        joint = (log_probs + ldj[..., None]).logsumexp(0) - math.log(len(ldj))
        return Prediction((joint / self.settings.inference.temperature).log_softmax(1).float())

    def measures(self, queries: Embedded, mode: str) -> dict[str, Tensor]:
        """Log-density of each query, nats, classes equally likely, and bits a dimension."""
        weighted, ldj = self.draws(queries)
        log_probs = class_log_prob(weighted, "total").logsumexp(2) - math.log(self.n_classes)
        density = (log_probs + ldj).logsumexp(0) - math.log(len(ldj))
        return {"log_density": density, "bits_per_dim": -density / (math.log(2) * self.backbone.flow.dims)}


def content_seeds(images: Tensor, sample: int) -> list[int]:
    """A seed an image, of its pixels alone."""
    values = images.round().long().flatten(1).cpu()
    place = torch.arange(1, values.shape[1] + 1) * 0x9E3779B97F4A7C1 + (sample + 1) * 0x2545F4914F6CDD1
    mixed = (values + 1) * place  # wraps around, on every machine alike
    mixed = (mixed ^ (mixed >> 29)) * 0x1B873593CC9E2D51 & 0x7FFFFFFFFFFFFFFF
    return (mixed.sum(1) & 0x7FFFFFFFFFFFFFFF).tolist()
