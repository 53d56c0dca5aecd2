"""Networks inside couplings: what a flow conditions on; none of them is inverted.

Grcić, Grubišić and Šegvić, NeurIPS 2021 (arXiv 2106.04627) (docs/algorithms/flows.md, section 4). Names of
submodules are those of published checkpoints.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LANDMARKS = 4
PSEUDO_INVERSE_STEPS = 6


def by_pixel(conv: nn.Module, x: Tensor) -> Tensor:
    """A 1 x 1 convolution; where no gradient is asked for as a product of matrices, faster on a CPU."""
    assert isinstance(conv, nn.Conv2d)
    if torch.is_grad_enabled():
        result: Tensor = conv(x)
        return result
    return F.linear(x.permute(0, 2, 3, 1), conv.weight.flatten(1), conv.bias).permute(0, 3, 1, 2)


class DenseLayer(nn.Module):
    """(B, n, H, W) -> (B, n + growth, H, W): what came in, and what is new."""

    def __init__(self, n: int, growth: int) -> None:
        super().__init__()
        self.nn = nn.Sequential(nn.Conv2d(n, n, 1), nn.ReLU(), nn.Conv2d(n, growth, 3, padding=1), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        """Append the new channels."""
        inner, first, outer, last = self.nn
        return torch.cat([x, last(outer(first(by_pixel(inner, x))))], 1)


class GatedConv(nn.Module):
    """1 x 1 convolution to A, B, G: A + B sigmoid(G)."""

    def __init__(self, n: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(n, 3 * outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, outputs, H, W)."""
        a, b, gate = by_pixel(self.conv, x).chunk(3, 1)
        return a + b * gate.sigmoid()


class DenseNetBlock(nn.Sequential):
    """Dense layers and a gated convolution, (B, n, H, W) -> (B, outputs, H, W)."""

    def __init__(self, n: int, outputs: int, depth: int, growth: int) -> None:
        layers = [DenseLayer(n + growth * k, growth) for k in range(depth)]
        super().__init__(*layers, GatedConv(n + growth * depth, outputs))
        self.to(memory_format=torch.channels_last)  # faster at every size, the more so the smaller

    def forward(self, x: Tensor) -> Tensor:
        """(B, outputs, H, W)."""
        result: Tensor = super().forward(x.contiguous(memory_format=torch.channels_last))
        return result


class ResidualDenseBlock(nn.Module):
    """x + dense(x)."""

    def __init__(self, n: int, depth: int, growth: int) -> None:
        super().__init__()
        self.dense = DenseNetBlock(n, n, depth, growth)

    def forward(self, x: Tensor) -> Tensor:
        """(B, n, H, W)."""
        return x + self.dense(x)


class Nystrom(nn.Module):
    """Attention over pixels through four landmarks.

    As in published networks: rows and columns are read from memory as they lie there, with channels and pixels mixed,
    and every soft-max is over rows.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.width = channels // 2
        self.qkv = nn.Conv2d(channels, 3 * self.width, 1)
        self.out_transform = nn.Conv2d(self.width, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W); H W must be a multiple of four."""
        batch, _, height, width = x.shape
        pixels = height * width
        q, k, v = self.qkv(x).contiguous().view(batch, pixels, 3 * self.width).chunk(3, 2)  # (B, HW, E)
        few_q, few_k = (part.reshape(batch, LANDMARKS, -1, self.width).mean(2) / pixels**0.5 for part in (q, k))
        first = (q @ few_k.mT).softmax(1)  # (B, HW, L)
        second = (few_q @ few_k.mT).softmax(1)  # (B, L, L)
        third = (few_q @ k.mT).softmax(1)  # (B, L, HW)
        attended = first @ pseudo_inverse(second) @ (third @ v) + v
        return self.out_transform(attended.reshape(batch, self.width, height, width))


def pseudo_inverse(matrix: Tensor) -> Tensor:
    """(B, L, L) by six steps of a third-order iteration."""
    size = matrix.abs()
    inverse = matrix.mT / (size.sum(1).amax(1) * size.sum(2).amax(1))[:, None, None]
    eye = torch.eye(matrix.shape[1], dtype=matrix.dtype, device=matrix.device).expand_as(matrix)
    # `baddbmm`: matrices are so small that the number of calls is what they cost.
    for _ in range(PSEUDO_INVERSE_STEPS):
        product = torch.bmm(matrix, inverse)
        inner = torch.baddbmm(15 * eye, product, 7 * eye - product, alpha=-1)
        inverse = torch.baddbmm(inverse, inverse, torch.baddbmm(13 * eye, product, inner, alpha=-1), beta=0, alpha=0.25)
    return inverse


class MultiHeadDense(nn.Module):
    """Attention and dense layers side by side, mixed."""

    def __init__(self, n: int, depth: int, growth: int) -> None:
        super().__init__()
        self.dense = DenseNetBlock(n, n, depth, growth)
        self.mha = Nystrom(n)
        self.mix_conv = nn.Sequential(nn.BatchNorm2d(2 * n), nn.ReLU(), nn.Conv2d(2 * n, n, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """(B, n, H, W)."""
        result: Tensor = self.mix_conv(torch.cat([self.mha(x), self.dense(x)], 1))
        return result


class ConvNet(nn.Module):
    """1 x 1 convolution, a block, 1 x 1 convolution that starts at zero."""

    def __init__(self, inputs: int, block: nn.Module, mid: int, outputs: int, zero: bool = True) -> None:
        super().__init__()
        last = nn.Conv2d(mid, outputs, 1)
        if zero:
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        self.transform = nn.Sequential(nn.Conv2d(inputs, mid, 1), block, last)

    def forward(self, x: Tensor) -> Tensor:
        """(B, outputs, H, W)."""
        result: Tensor = self.transform(x)
        return result


class MultiHeadNet(nn.Module):
    """Of couplings within a unit."""

    def __init__(self, inputs: int, mid: int, outputs: int, depth: int, growth: int) -> None:
        super().__init__()
        self.dn = ConvNet(inputs, MultiHeadDense(mid, depth, growth), mid, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, outputs, H, W)."""
        result: Tensor = self.dn(x)
        return result
