"""From integers to real numbers: an image plus noise within a level (docs/algorithms/flows.md, section 7)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lookalike.backbones.flow.layers import Conv1x1, ConvNormal, Coupling, squeeze, sum_all, unsqueeze
from lookalike.backbones.flow.nets import DenseNetBlock

LEVELS = 256
CONTEXT_DEPTH, CONTEXT_GROWTH = 4, 16
BELOW_ONE = 1 - 2**-16  # 255 + u stays below 256 in float32


def to_levels(z: Tensor) -> Tensor:
    """Real numbers in [0, 1) -> integers 0 to 255."""
    return (LEVELS * z).floor().clamp(0, LEVELS - 1).long()


class NoLayer(nn.Module):
    """Holds a place in the numbering of a checkpoint."""


class Sigmoid(nn.Module):
    """Real numbers to (0, 1)."""

    temperature: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("temperature", torch.ones(1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Z and (B,) log-determinants."""
        scaled = self.temperature * x
        return scaled.sigmoid(), sum_all(self.temperature.log() - F.softplus(-scaled) - F.softplus(scaled))

    def inverse(self, z: Tensor) -> Tensor:
        """x, of z cut to what the sigmoid can give."""
        least = torch.finfo(z.dtype).eps
        z = z.clamp(least, 1 - least)
        return (z.log() - (-z).log1p()) / self.temperature


class NoiseFlow(nn.Module):
    """The flow that turns normal noise to noise within a level, given the image.

    Args:
        channels: C of the image.
        steps: Couplings.
        context: Channels that say what the image is like, at half its side.
        mid: Width of all networks.
        depth, growth: Number of dense layers in a coupling, and the channels that each adds.
    """

    def __init__(self, channels: int, steps: int, context: int, mid: int, depth: int, growth: int) -> None:
        super().__init__()
        width = 4 * channels
        self.base_dist = ConvNormal(width)
        layers: list[nn.Module] = []
        for _ in range(steps):
            layers += [Conv1x1(width), Coupling(width, mid, depth, growth, context)]
        self.transforms = nn.ModuleList([*layers, Conv1x1(width), NoLayer(), Sigmoid()])
        self.context_init = nn.Sequential(
            nn.Identity(),
            DenseNetBlock(channels, mid, CONTEXT_DEPTH, CONTEXT_GROWTH),
            nn.Conv2d(mid, mid, 2, stride=2),
            DenseNetBlock(mid, context, CONTEXT_DEPTH, CONTEXT_GROWTH),
        )

    def context(self, x: Tensor) -> Tensor:
        """(B, context, H/2, W/2) of integers (B, C, H, W)."""
        result: Tensor = self.context_init(2 * x.to(self.base_dist.loc.dtype) / (LEVELS - 1) - 1)
        return result

    def forward(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Noise u in (0, 1) (B, C, H, W) and (B,) log q(u | x).

        Args:
            x: Integers (B, C, H, W).
            noise: (B, 4 C, H/2, W/2) standard normal.
        """
        context = self.context(x)
        v = self.base_dist.transform(noise)
        log_q = self.base_dist.log_prob(v)
        *chain, _, sigmoid = self.transforms
        for layer in chain:
            v, ldj = layer(v, context) if isinstance(layer, Coupling) else layer(v)
            log_q = log_q - ldj
        u, ldj = sigmoid(unsqueeze(v))
        return u, log_q - ldj

    def inverse(self, x: Tensor, u: Tensor) -> Tensor:
        """The noise that gave u."""
        context = self.context(x)
        *chain, _, sigmoid = self.transforms
        v = squeeze(sigmoid.inverse(u))  # type: ignore[operator]
        for layer in reversed(chain):
            v = layer.inverse(v, context) if isinstance(layer, Coupling) else layer.inverse(v)  # type: ignore[operator]
        standardised: Tensor = (v - self.base_dist.loc) * (-self.base_dist.log_scale).exp()
        return standardised


class VariationalDequantization(nn.Module):
    """Integers to [0, 1) with noise that a flow learns."""

    ldj_per_dim: Tensor

    def __init__(self, channels: int, steps: int, context: int, mid: int, depth: int, growth: int) -> None:
        super().__init__()
        self.register_buffer("ldj_per_dim", torch.tensor(-math.log(LEVELS)))
        self.encoder = NoiseFlow(channels, steps, context, mid, depth, growth)

    def forward(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Z and (B,) what that adds to the bound.

        Args:
            x: Integers (B, C, H, W).
            noise: (B, 4 C, H/2, W/2) standard normal.
        """
        u, log_q = self.encoder(x, noise)
        z = (x + u.clamp(max=BELOW_ONE)) / LEVELS
        return z, -math.log(LEVELS) * x[0].numel() - log_q
