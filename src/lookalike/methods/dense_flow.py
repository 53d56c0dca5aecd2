"""DenseFlow alone: a flow trained to model images, from which a prototype classifier starts.

Grcić, Grubišić and Šegvić, NeurIPS 2021 (arXiv 2106.04627); section 5 of the ProtoFlow specification. It classifies
nothing: its predictions are densities of images.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from pydantic import model_validator
from torch import Tensor

from lookalike.backbones.base import Backbone
from lookalike.backbones.dense_flow import DenseFlowBackbone, check_precision
from lookalike.errors import LookalikeError
from lookalike.methods.base import Batch, Classifier, Embedded, Pool, Prediction, TrainedSettings
from lookalike.methods.protoflow.losses import bits_per_dim
from lookalike.settings import BackboneSettings


class Settings(TrainedSettings):
    """Study entry of `dense_flow`."""

    has_gradient: ClassVar[bool] = False
    method: Literal["dense_flow"]
    backbone: BackboneSettings = BackboneSettings(name="dense_flow_small")
    classifies: ClassVar[bool] = False
    modes: tuple[Literal["density"]] = ("density",)
    explain: tuple[()] = ()

    @model_validator(mode="after")
    def _precision_fits(self) -> Settings:
        check_precision(self.training)
        return self


class Model(Classifier):
    """The flow with its own density of latents."""

    bad_steps = 2
    backbone: DenseFlowBackbone

    def __init__(self, settings: Settings, backbone: Backbone, n_classes: int) -> None:
        super().__init__(settings, backbone, n_classes)
        if not isinstance(backbone, DenseFlowBackbone):
            raise LookalikeError("dense_flow needs an invertible network; write backbone: {name: dense_flow_small}.")

    def start_training(self, pool: Pool, made: torch.Generator, batch_size: int) -> None:
        """ActNorm from one batch."""
        rows = torch.randperm(len(pool.labels), generator=made, device=made.device)[:batch_size]
        self.backbone.start_training(pool.take(rows), made)

    def training_loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Bits a dimension, and no answers (B, 0)."""
        flow = self.backbone.flow
        encoded = self.backbone.encode(batch.images, flow.draw_noises(len(batch.images), batch.generators["noise"]))
        loss = bits_per_dim(encoded.ldj, flow.log_base(encoded.z), flow.dims)
        return loss, encoded.z.new_zeros(len(batch.images), 0)

    def count_right(self, answers: Tensor, batch: Batch) -> Tensor:
        """() not a number: there is no right answer."""
        return answers.new_full((), torch.nan)

    def embed(self, images: Tensor) -> Tensor:
        """(B, 1) log-densities, nats, under one draw of the noises, which an image's pixels decide: a bound."""
        encoded = self.backbone.encode(images, self.backbone.noises_of(images, 0))
        return (encoded.ldj + self.backbone.flow.log_base(encoded.z))[:, None]

    def measures(self, queries: Embedded, mode: str) -> dict[str, Tensor]:
        """Per query, (B,) each: `log_density` in nats and `bits_per_dim`."""
        density = queries.features[:, 0]
        return {"log_density": density, "bits_per_dim": -density / (math.log(2) * self.backbone.flow.dims)}

    def predict(self, queries: Embedded, mode: str) -> Prediction:
        """Raise: a density gives no classes."""
        raise LookalikeError("dense_flow classifies nothing; a protoflow model does, with backbone_from.")
