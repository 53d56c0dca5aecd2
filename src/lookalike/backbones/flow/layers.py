"""Invertible layers: `forward(x)` gives z and the log-determinant of its derivative, `inverse(z)` gives x back.

docs/algorithms/flows.md, section 3, has the formulas. Log-determinants are in nats, (B,).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lookalike.backbones.flow.nets import ConvNet, MultiHeadNet, ResidualDenseBlock
from lookalike.core.parameter_cache import ParameterCache

STD_FLOOR = 1e-6


def sum_all(x: Tensor) -> Tensor:
    """(B, ...) -> (B,)."""
    return x.flatten(1).sum(1)


def squeeze(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, 4 C, H/2, W/2): pixel (2 i + dy, 2 j + dx) of channel c becomes channel 4 c + 2 dy + dx."""
    return F.pixel_unshuffle(x, 2)


def unsqueeze(z: Tensor) -> Tensor:
    """Inverse of `squeeze`."""
    return F.pixel_shuffle(z, 2)


def swap_halves(x: Tensor) -> Tensor:
    """The second half of the channels before the first, which is the larger one where their number is odd."""
    first, second = x.chunk(2, 1)
    return torch.cat([second, first], 1)


def normal_log_prob(x: Tensor) -> Tensor:
    """(B,) log-density under independent standard normals."""
    return -0.5 * sum_all(x.square() + torch.log(torch.tensor(2 * torch.pi, dtype=x.dtype, device=x.device)))


class ConvNormal(nn.Module):
    """Independent normals, one mean and one log standard deviation a channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.log_scale = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def log_prob(self, x: Tensor) -> Tensor:
        """(B,) of (B, C, H, W)."""
        pixels = x.shape[2] * x.shape[3]
        return normal_log_prob((x - self.loc) * (-self.log_scale).exp()) - pixels * self.log_scale.sum()

    def transform(self, noise: Tensor) -> Tensor:
        """Standard normal noise to a sample."""
        return self.loc + self.log_scale.exp() * noise


class ActNorm(nn.Module):
    """Shift and scale a channel, set by the first training batch so that it leaves with mean 0 and deviation 1."""

    initialized: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.log_scale = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.register_buffer("initialized", torch.zeros(1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Z and (B,) log-determinants."""
        if self.training and not bool(self.initialized):
            with torch.no_grad():
                values = x.transpose(0, 1).flatten(1)
                self.shift.copy_(values.mean(1).view_as(self.shift))
                self.log_scale.copy_((values.std(1) + STD_FLOOR).log().view_as(self.log_scale))
                self.initialized += 1
        pixels = x.shape[2] * x.shape[3]
        return (x - self.shift) * (-self.log_scale).exp(), (-pixels * self.log_scale.sum()).expand(len(x))

    def inverse(self, z: Tensor) -> Tensor:
        """X."""
        return z * self.log_scale.exp() + self.shift


class Conv1x1(nn.Module):
    """A full matrix over the channels of each pixel; starts random and orthogonal."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linalg.qr(torch.randn(channels, channels))[0])
        self._kept = ParameterCache()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Z and (B,) log-determinants."""
        with torch.autocast(x.device.type, enabled=False):  # sixteen bits would not invert
            z = F.conv2d(x, self.weight[:, :, None, None])
        log_det = self._kept.get("log_det", lambda weight: torch.linalg.slogdet(weight)[1], self.weight)
        return z, (x.shape[2] * x.shape[3] * log_det).expand(len(x))

    def inverse(self, z: Tensor) -> Tensor:
        """X."""
        with torch.autocast(z.device.type, enabled=False):
            return F.conv2d(z, self._kept.get("inverse", torch.linalg.inv, self.weight)[:, :, None, None])


def scale_and_shift(parameters: Tensor) -> tuple[Tensor, Tensor]:
    """Log-scale a in (-2, 2) and shift, (B, K, H, W) each, of channels that hold them in turn (B, 2 K, H, W)."""
    scale, shift = parameters.unflatten(1, (-1, 2)).unbind(2)
    return 2 * (scale / 2).tanh(), shift


class Coupling(nn.Module):
    """The first half of the channels, and perhaps a context, say how the second is scaled and shifted.

    Args:
        channels: C.
        mid: Width of the network.
        depth, growth: Number of its dense layers, and the channels that each adds.
        context: Further channels to condition on; with some, the network has no attention.
    """

    def __init__(self, channels: int, mid: int, depth: int, growth: int, context: int = 0) -> None:
        super().__init__()
        first, second = channels - channels // 2, channels // 2
        net: nn.Module
        if context:
            net = ConvNet(first + context, ResidualDenseBlock(mid, depth, growth), mid, 2 * second)
        else:
            net = MultiHeadNet(first, mid, 2 * second, depth, growth)
        self.coupling_net = nn.Sequential(net)

    def _scale_and_shift(self, first: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        parameters = self.coupling_net(first if context is None else torch.cat([first, context], 1))
        return scale_and_shift(parameters.to(first))  # a network may work in sixteen bits, the flow does not

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Z and (B,) log-determinants."""
        first, second = x.chunk(2, 1)
        log_scale, shift = self._scale_and_shift(first, context)
        return torch.cat([first, shift + log_scale.exp() * second], 1), sum_all(log_scale)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """X."""
        first, second = z.chunk(2, 1)
        log_scale, shift = self._scale_and_shift(first, context)
        return torch.cat([first, (second - shift) * (-log_scale).exp()], 1)


class HalfSwap(nn.Module):
    """Exchanges the halves of the channels, so that the next coupling changes the other one."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Z and zeros (B,)."""
        return swap_halves(x), x.new_zeros(len(x))

    def inverse(self, z: Tensor) -> Tensor:
        """x; right for an odd number of channels too, where the original's is not."""
        first, second = z.split([z.shape[1] // 2, z.shape[1] - z.shape[1] // 2], 1)
        return torch.cat([second, first], 1)
