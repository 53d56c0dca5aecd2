"""DenseFlow as a network of a study: integers in, latents out; invertible, so that methods may show what they mean."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from lookalike.backbones.flow.arguments import read_arguments
from lookalike.backbones.flow.dense_flow import DenseFlow, Encoded, FlowShape
from lookalike.backbones.flow.layers import ActNorm
from lookalike.contracts.backbone import Backbone
from lookalike.core.determinism import make_generator
from lookalike.core.errors import LookalikeError


class DenseFlowBackbone(Backbone):
    """A flow; takes images as their levels, 0 to 255, as `open_data` gives them.

    Args:
        image_shape: (C, H, W) of the images.
        shape: Sizes of the flow, fields of `FlowShape`.
    """

    def __init__(self, image_shape: tuple[int, ...], **shape: object) -> None:
        super().__init__()
        channels, height, width = image_shape
        self.flow = DenseFlow((channels, height, width), FlowShape(**shape), base=True)  # type: ignore[arg-type]
        self.dim = self.flow.out_shape[0]
        self.norms = [layer for layer in self.flow.modules() if isinstance(layer, ActNorm)]

    @torch.no_grad()
    def init_from_data(self, images: Tensor, generator: torch.Generator) -> None:
        """Set the shifts and scales of a new flow by a batch (B, C, H, W); one that is trained stays as it is."""
        if all(bool(norm.initialized) for norm in self.norms):
            return
        before = self.training
        self.train()
        self.encode(images, self.flow.draw_noises(len(images), generator))
        self.train(before)

    def may_lack(self, name: str) -> bool:
        """The density of latents: the authors' classifiers have prototypes instead."""
        return name.startswith("flow.base_dist.")

    def check_weights(self, path: Path) -> None:
        """Compare the flow with the settings of the authors' training, FOLDER/args.pickle of FOLDER/check/*.pt.

        Raises:
            LookalikeError: A setting differs, or the file is no file of settings.
        """
        beside = path.parent.parent / "args.pickle"
        if path.parent.name != "check" or not beside.exists():
            return
        shape, arguments = self.flow.shape, read_arguments(beside)
        expected = {
            "block_conf": list(shape.units),
            "layers_conf": list(shape.modules),
            "layer_mid_chnls": list(shape.mid),
            "growth_rate": shape.growth,
        }
        for name, value in expected.items():
            theirs = arguments.get(name, value)
            theirs = list(theirs) if isinstance(theirs, tuple) else theirs
            if theirs != value:
                raise LookalikeError(f"{beside} has {name} {theirs}, this flow {value}; choose the flow it belongs to.")

    def own_name(self, name: str) -> str:
        """Without what the authors' parallel training and their classifier put before it."""
        name = name.removeprefix("module.").removeprefix("model.")
        return name if name.startswith("flow.") else f"flow.{name}"

    def encode(self, images: Tensor, noises: list[Tensor] | None = None) -> Encoded:
        """Latents of images (B, C, H, W) of whole numbers, as float or integer; without noises, at their mode."""
        levels = images.round().clamp(0, 255).long()
        if noises is None:
            like = next(self.parameters())
            noises = [torch.zeros(len(levels), *shape).to(like) for shape in self.flow.noise_shapes()]
        return self.flow.encode(levels, noises)

    def noises_of(self, images: Tensor, sample: int) -> list[Tensor]:
        """Noises for `encode`: the same for the same image, whatever is beside it.

        Args:
            images: (B, C, H, W) images.
            sample: Number of the draw.
        """
        shapes = self.flow.noise_shapes()
        sizes = [math.prod(shape) for shape in shapes]
        seeds = content_seeds(images, sample)
        drawn = torch.stack([torch.randn(sum(sizes), generator=make_generator(seed)) for seed in seeds]).to(images)
        return [part.view(-1, *shape) for part, shape in zip(drawn.split(sizes, 1), shapes, strict=True)]

    def feature_map(self, images: Tensor) -> Tensor:
        """(B, C', h, w) latents at the mode of all noises."""
        return self.encode(images).z


def content_seeds(images: Tensor, sample: int) -> list[int]:
    """A seed an image, of its pixels alone."""
    values = images.round().long().flatten(1).cpu()
    place = torch.arange(1, values.shape[1] + 1) * 0x9E3779B97F4A7C1 + (sample + 1) * 0x2545F4914F6CDD1
    mixed = (values + 1) * place  # wraps around, on every machine alike
    mixed = (mixed ^ (mixed >> 29)) * 0x1B873593CC9E2D51 & 0x7FFFFFFFFFFFFFFF
    return (mixed.sum(1) & 0x7FFFFFFFFFFFFFFF).tolist()
