"""The flow as a model of images: trained by its density, evaluated by it (docs/algorithms/flows.md, section 8)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lookalike.backbones.flow.backbone import DenseFlowBackbone
from lookalike.backbones.flow.density import bits_per_dim
from lookalike.contracts.backbone import Backbone
from lookalike.contracts.classifier import Batch, Classifier, Prediction
from lookalike.contracts.features import Features, TrainingImages
from lookalike.core.errors import LookalikeError
from lookalike.methods.dense_flow.settings import DenseFlowSettings


class DenseFlowClassifier(Classifier):
    """The flow with its own density of latents."""

    max_nonfinite_steps = 2
    backbone: DenseFlowBackbone

    def __init__(self, settings: DenseFlowSettings, backbone: Backbone, n_classes: int) -> None:
        super().__init__(settings, backbone, n_classes)
        if not isinstance(backbone, DenseFlowBackbone):
            raise LookalikeError("dense_flow needs an invertible network; write backbone: {name: dense_flow_small}.")

    def init_from_data(self, pool: TrainingImages, generator: torch.Generator, batch_size: int) -> None:
        """ActNorm from one batch."""
        rows = torch.randperm(len(pool.labels), generator=generator, device=generator.device)[:batch_size]
        self.backbone.init_from_data(pool.load(rows), generator)

    def training_loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Bits a dimension, and no answers (B, 0)."""
        flow = self.backbone.flow
        encoded = self.backbone.encode(batch.images, flow.draw_noises(len(batch.images), batch.generators["noise"]))
        loss = bits_per_dim(encoded.ldj, flow.log_base(encoded.z), flow.dims)
        return loss, encoded.z.new_zeros(len(batch.images), 0)

    def count_correct(self, answers: Tensor, batch: Batch) -> Tensor:
        """() not a number: there is no right answer."""
        return answers.new_full((), torch.nan)

    def embed(self, images: Tensor) -> Tensor:
        """(B, 1) log-densities, nats, under one draw of the noises, which an image's pixels decide: a bound."""
        encoded = self.backbone.encode(images, self.backbone.noises_of(images, 0))
        return (encoded.ldj + self.backbone.flow.log_base(encoded.z))[:, None]

    def query_metrics(self, queries: Features, mode: str) -> dict[str, Tensor]:
        """Per query, (B,) each: `log_density` in nats and `bits_per_dim`."""
        density = queries.features[:, 0]
        return {"log_density": density, "bits_per_dim": -density / (math.log(2) * self.backbone.flow.dims)}

    def predict(self, queries: Features, mode: str) -> Prediction:
        """Raise: a density gives no classes."""
        raise LookalikeError("dense_flow classifies nothing; a protoflow model does, with backbone_from.")
