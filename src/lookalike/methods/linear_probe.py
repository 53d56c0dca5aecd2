"""A linear layer on a frozen network: the ResNet-50 baseline of the visual-correspondence paper.

Nguyen, Taesiri and Nguyen, NeurIPS 2022; section 7 of the specification. On ImageNet the layer is the weights file's
own; on CUB it is trained on the pooled features of the frozen network.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from lookalike.backbones.base import Backbone
from lookalike.errors import LookalikeError
from lookalike.methods import fc
from lookalike.methods.base import FrozenSettings
from lookalike.settings import TrainingSettings
from lookalike.tensors import read_weights


class Settings(FrozenSettings):
    """Study entry of `linear_probe`."""

    has_gradient: ClassVar[bool] = True
    method: Literal["linear_probe"]
    modes: Annotated[tuple[Literal["linear"], ...], Field(min_length=1)] = ("linear",)
    explain: tuple[()] = ()
    training: TrainingSettings | None = Field(
        None, description="Of the linear layer; left out, the layer is the weights file's own (`fc.weight`, `fc.bias`)."
    )

    @model_validator(mode="after")
    def _one_layer(self) -> Settings:
        if self.training is None and self.backbone is None:
            raise ValueError("give training: {...}, or backbone: {name: ..., weights: FILE} with a file that has fc.*")
        return self


class Model(fc.Model):
    """Linear layer and log-softmax; the network below does not learn."""

    def __init__(self, settings: Settings, backbone: Backbone, n_classes: int) -> None:
        super().__init__(settings, backbone, n_classes)
        backbone.requires_grad_(False)
        if settings.training is None:
            assert settings.backbone is not None
            assert settings.backbone.weights is not None
            self._take_layer(Path(settings.backbone.weights))

    def _take_layer(self, path: Path) -> None:
        state = read_weights(path)
        layer = {name: state.get(f"fc.{name}") for name in ("weight", "bias")}
        own = self.linear.state_dict()
        for name, value in layer.items():
            if value is None or value.shape != own[name].shape:
                found = "none" if value is None else " x ".join(map(str, value.shape))
                wanted = " x ".join(map(str, own[name].shape))
                raise LookalikeError(
                    f"weights file {path} must hold fc.{name} of {wanted}, for this data set's classes, not {found};"
                    " train the layer: write training: {optimizer: adam, lr: 0.001}."
                )
        self.linear.load_state_dict(layer)

    def train(self, mode: bool = True) -> Model:
        """The backbone's statistics stay as they are: it is frozen."""
        super().train(mode)
        self.backbone.eval()
        return self

    def embed(self, images: Tensor) -> Tensor:
        """Features (B, D); a gradient reaches the images only where one is asked for."""
        with torch.set_grad_enabled(images.requires_grad):
            return super().embed(images)
