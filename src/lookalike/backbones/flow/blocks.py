"""Chains of layers: modules, units, blocks with cross-unit coupling, transitions.

docs/algorithms/flows.md, sections 5 and 6, has the formulas.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lookalike.backbones.flow.layers import (
    ActNorm,
    Conv1x1,
    Coupling,
    HalfSwap,
    normal_log_prob,
    squeeze,
    sum_all,
    unsqueeze,
)


class Chain(nn.Module):
    """Layers one behind the other."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.transforms = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Z and (B,) log-determinants."""
        total = x.new_zeros(len(x))
        for layer in self.transforms:
            x, ldj = layer(x)
            total = total + ldj
        return x, total

    def inverse(self, z: Tensor) -> Tensor:
        """X."""
        for layer in reversed(self.transforms):
            z = layer.inverse(z)  # type: ignore[operator]
        return z


def flow_module(channels: int, mid: int, depth: int, growth: int) -> Chain:
    """ActNorm, 1 x 1 convolution, coupling, exchange of halves."""
    return Chain(ActNorm(channels), Conv1x1(channels), Coupling(channels, mid, depth, growth), HalfSwap())


class NoiseNet(nn.Module):
    """Mean and scale of the noise that a unit gets, from the inputs of the units before."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        last = nn.Conv2d(4 * inputs, 2 * growth, 1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        self.transformation = nn.Sequential(nn.Conv2d(inputs, 4 * inputs, 3, padding=1), nn.ReLU(), last)

    def forward(self, seen: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Noise (B, growth, H, W) as it joins the unit, and (B,) what that adds to the bound."""
        mean, scale = self.transformation(seen).to(seen).chunk(2, 1)
        log_scale = 2 * (scale / 2).tanh()
        return mean + log_scale.exp() * noise, sum_all(log_scale) - normal_log_prob(noise)


class FlowBlock(nn.Module):
    """Units; each gets `growth` channels of noise more than the one before.

    Args:
        channels: Channels of the input.
        units: Number of units.
        modules: Modules in each unit.
        mid: Width of the couplings' networks.
        growth: Channels of noise a unit.
        depth, dense_growth: Number of dense layers in a coupling, and the channels that each adds.
    """

    def __init__(
        self, channels: int, units: int, modules: int, mid: int, growth: int, depth: int, dense_growth: int
    ) -> None:
        super().__init__()
        self.growth = growth
        widths = [channels + growth * unit for unit in range(units)]
        seen = [channels + sum(widths[: unit - 1]) for unit in range(1, units)]
        self.blocks = nn.ModuleList(
            Chain(*(flow_module(width, mid, depth, dense_growth) for _ in range(modules))) for width in widths
        )
        self.noise_params = nn.ModuleList(NoiseNet(inputs, growth) for inputs in seen)

    @property
    def noises(self) -> int:
        """How many noises (B, growth, H, W) the block takes."""
        return len(self.noise_params)

    def forward(self, x: Tensor, noises: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Z and (B,) log-determinants and bounds."""
        seen = [x]
        y, total = self.blocks[0](x)
        for net, unit, noise in zip(self.noise_params, self.blocks[1:], noises, strict=True):
            joined, bound = net(torch.cat(seen, 1), noise)
            seen.append(y)
            y, ldj = unit(torch.cat([y, joined], 1))
            total = total + bound + ldj
        return y, total

    def inverse(self, z: Tensor) -> Tensor:
        """x, exactly: the noise is not needed."""
        for number in reversed(range(len(self.blocks))):
            z = self.blocks[number].inverse(z)  # type: ignore[operator]
            if number:
                z = z[:, : -self.growth]
        return z


class Transition(nn.Module):
    """Squeeze; half of the channels go on, the other half is left to a standard normal."""

    def __init__(self) -> None:
        super().__init__()
        self.dist = nn.Module()  # of published checkpoints
        self.dist.register_buffer("buffer", torch.zeros(1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What goes on, what is dropped, and (B,) the log-density of the latter."""
        kept, dropped = squeeze(x).chunk(2, 1)
        return kept, dropped, normal_log_prob(dropped)

    def inverse(self, z: Tensor, dropped: Tensor) -> Tensor:
        """X."""
        return unsqueeze(torch.cat([z, dropped], 1))
