"""DenseFlow: an image to latents and back, exactly.

Grcić, Grubišić and Šegvić, NeurIPS 2021 (arXiv 2106.04627) (docs/algorithms/flows.md, sections 1 and 2). State dicts
have the keys and shapes of the authors'.

All randomness is an argument: `encode` takes its noises and returns everything that `decode` needs to give the very
image back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lookalike.backbones.flow.blocks import FlowBlock, Transition
from lookalike.backbones.flow.dequantize import LEVELS, VariationalDequantization, to_levels
from lookalike.backbones.flow.layers import ConvNormal, squeeze, unsqueeze
from lookalike.backbones.flow.nets import LANDMARKS
from lookalike.core.errors import LookalikeError


@dataclass(frozen=True)
class FlowShape:
    """Sizes of a flow; the defaults are DenseFlow-74-10.

    Attributes:
        units: Units of each block.
        modules: Modules in each unit, by block.
        mid: Width of the couplings' networks, by block.
        growth: Channels of noise a unit.
        depth, dense_growth: Number of dense layers in a coupling, and the channels that each adds.
        steps, context, context_mid, context_depth, context_growth: Sizes of the dequantization (`dequantize.py`).
    """

    units: tuple[int, ...] = (6, 4, 1)
    modules: tuple[int, ...] = (5, 6, 20)
    mid: tuple[int, ...] = (48, 48, 48)
    growth: int = 10
    depth: int = 7
    dense_growth: int = 64
    steps: int = 4
    context: int = 64
    context_mid: int = 64
    context_depth: int = 4
    context_growth: int = 64

    def block_shapes(self, image: tuple[int, int, int]) -> list[tuple[int, int, int]]:
        """Channels, height and width that each block takes.

        Raises:
            LookalikeError: The sides do not fit: each squeeze halves them, and attention needs a multiple of four
                pixels.
        """
        channels, height, width = image
        scales = len(self.units)
        step = 2**scales
        fits = height % step == 0 and width % step == 0
        shapes = []
        c, h, w = 4 * channels, height // 2, width // 2
        for number, units in enumerate(self.units):
            shapes.append((c, h, w))
            fits = fits and h * w >= LANDMARKS and h * w % LANDMARKS == 0
            c = c + self.growth * (units - 1)
            if number < scales - 1:
                c, h, w = 2 * c, h // 2, w // 2
        if not fits:
            side = max(2 * step, math.ceil(max(height, width) / (2 * step)) * 2 * step)
            raise LookalikeError(
                f"images of {height} x {width} pixels do not fit a flow of {scales} blocks, which halves both sides "
                f"{scales} times down to a multiple of two; the nearest size that does is {side} x {side}."
            )
        if self.growth % 2:
            raise LookalikeError(f"growth is {self.growth}, but couplings halve the channels; take an even number.")
        return shapes


@dataclass(frozen=True)
class Encoded:
    """An image as the flow sees it.

    Attributes:
        z: (B, C', h, w) latents.
        dropped: (B, ...) the halves left behind at the transitions, first one first.
        noises: What was drawn.
        ldj: (B,) float64: log p(x) >= log p(z) + ldj.
        start: (B, C, H, W) the image with its noise, in [0, 1).
        parts: (B,) of each layer, in order.
    """

    z: Tensor
    dropped: list[Tensor]
    noises: list[Tensor]
    ldj: Tensor
    parts: list[Tensor]
    start: Tensor


class Scalar(nn.Module):
    """x - 0.5; the buffers are those of published checkpoints."""

    _shift: Tensor
    _scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("_shift", torch.tensor(-0.5))
        self.register_buffer("_scale", torch.tensor(1.0))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Z and (B,) log-determinants."""
        return x * self._scale + self._shift, (self._scale.abs().log() * x[0].numel()).expand(len(x))

    def inverse(self, z: Tensor) -> Tensor:
        """X."""
        return (z - self._shift) / self._scale


class Squeeze(nn.Module):
    """See `squeeze`."""


class DenseFlow(nn.Module):
    """The flow.

    Args:
        image: (C, H, W) of the images.
        shape: Sizes of the network.
        base: Whether it has a density of its own over the latents.
    """

    def __init__(self, image: tuple[int, int, int], shape: FlowShape, base: bool = True) -> None:
        super().__init__()
        self.image, self.shape = image, shape
        blocks = shape.block_shapes(image)
        layers: list[nn.Module] = [
            VariationalDequantization(
                image[0], shape.steps, shape.context, shape.context_mid, shape.context_depth, shape.context_growth
            ),
            Scalar(),
            Squeeze(),
        ]
        last = blocks[0][0]
        for number, (channels, _, _) in enumerate(blocks):
            units, modules, mid = shape.units[number], shape.modules[number], shape.mid[number]
            layers.append(FlowBlock(channels, units, modules, mid, shape.growth, shape.depth, shape.dense_growth))
            last = channels + shape.growth * (units - 1)
            if number < len(blocks) - 1:
                layers.append(Transition())
        self.transforms = nn.ModuleList(layers)
        self.out_shape = (last, *blocks[-1][1:])
        self.base_dist = ConvNormal(last) if base else None

    @property
    def dims(self) -> int:
        """Numbers of an image: C H W."""
        return math.prod(self.image)

    def noise_shapes(self) -> list[tuple[int, int, int]]:
        """Shapes of the noises, in order: dequantization, then the units."""
        channels, height, width = self.image
        shapes = [(4 * channels, height // 2, width // 2)]
        for number, (_, h, w) in enumerate(self.shape.block_shapes(self.image)):
            shapes += [(self.shape.growth, h, w)] * (self.shape.units[number] - 1)
        return shapes

    def draw_noises(self, count: int, generator: torch.Generator) -> list[Tensor]:
        """Standard normal noises for `count` images, on the generator's device."""
        dtype = next(self.parameters()).dtype
        shapes = self.noise_shapes()
        return [
            torch.randn(count, *shape, generator=generator, device=generator.device, dtype=dtype) for shape in shapes
        ]

    def encode(self, x: Tensor, noises: list[Tensor]) -> Encoded:
        """Latents of images.

        Args:
            x: Integers (B, C, H, W) in 0..255.
            noises: Noise as `draw_noises` gives it.

        Raises:
            LookalikeError: Values lie outside 0..255.
        """
        if x.is_floating_point() or int(x.min()) < 0 or int(x.max()) >= LEVELS:
            raise LookalikeError(
                f"a flow takes integers from 0 to {LEVELS - 1}, not {x.dtype} from {float(x.min()):g} to "
                f"{float(x.max()):g}; give the pixels as they are stored."
            )
        rest = list(noises)
        dropped, parts = [], []
        z, ldj = self.transforms[0](x, rest.pop(0))
        start = z
        parts.append(ldj)
        for layer in self.transforms[1:]:
            if isinstance(layer, FlowBlock):
                noises_of_layer, rest = rest[: layer.noises], rest[layer.noises :]
                z, ldj = layer(z, noises_of_layer)
            elif isinstance(layer, Transition):
                z, half, ldj = layer(z)
                dropped.append(half)
            elif isinstance(layer, Squeeze):
                z, ldj = squeeze(z), z.new_zeros(len(z))
            else:
                z, ldj = layer(z)
            parts.append(ldj)
        total = torch.stack([part.double() for part in parts]).sum(0)
        return Encoded(z, dropped, noises, total, parts, start)

    def decode(self, z: Tensor, dropped: list[Tensor]) -> Tensor:
        """Real-valued images (B, C, H, W) in [0, 1) of latents; `to_pixels` makes integers of them.

        Args:
            z: (B, C', h, w).
            dropped: Halves for the transitions, first one first: of `encode` for the very image, zeros for the mode.
        """
        rest = list(dropped)
        for layer in reversed(self.transforms[1:]):
            if isinstance(layer, Transition):
                z = layer.inverse(z, rest.pop())
            elif isinstance(layer, Squeeze):
                z = unsqueeze(z)
            else:
                z = layer.inverse(z)  # type: ignore[operator]
        return z

    def to_pixels(self, decoded: Tensor) -> Tensor:
        """Integers (B, C, H, W) of what `decode` gives."""
        return to_levels(decoded)

    def dropped_shapes(self) -> list[tuple[int, int, int]]:
        """Shapes of the halves left behind, in order."""
        blocks = self.shape.block_shapes(self.image)
        return [(channels, h, w) for channels, h, w in blocks[1:]]

    def log_base(self, z: Tensor) -> Tensor:
        """(B,) log-density of latents under the flow's own base."""
        assert self.base_dist is not None, "the flow was made without a density of its own"
        return self.base_dist.log_prob(z)

    def bits_per_dim(self, log_prob: Tensor) -> Tensor:
        """() mean bits a dimension of the image."""
        return -log_prob.mean() / (math.log(2) * self.dims)
