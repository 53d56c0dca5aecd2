"""Kernels of convolutional Hough matching: few weights, each shared by the taps that geometry makes equal.

Min, Kim and Cho, TPAMI 2022 (arXiv 2109.05221) (docs/algorithms/chm_corr.md, section 3). A 4D kernel has a tap for each
pair of a source offset (i, j) and a target offset (k, l). `iso` shares weights between taps of the same distance
|(i, j) - (k, l)|; `psi` also tells how far both offsets are from the centre, whichever is the farther; `full` shares
nothing. A weight that serves m taps is stored as the sum of them.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

from lookalike.methods.chm_corr import KernelKind

SIDE = 5
SMALL = 1e-3  # size of a dense kernel's entries at the start
# Cells 3 p + q of the 3 x 3 grid of scale offsets (source p, target q) that share one 4D kernel.
SCALE_GROUPS: dict[KernelKind, tuple[tuple[int, ...], ...]] = {
    "psi": ((4,), (0, 8), (2, 6), (1, 3, 5, 7)),
    "iso": ((0, 4, 8), (2, 6), (1, 3, 5, 7)),
    "full": tuple((cell,) for cell in range(9)),
}


@cache
def tap_classes(kind: KernelKind, side: int = SIDE) -> Tensor:
    """(side, side, side, side) number of the weight of each tap: classes by first visit, the last axis fastest.

    Args:
        kind: `psi` or `iso`.
        side: Side of the kernel, an odd number.
    """
    offset = np.arange(side) - side // 2
    i, j, k, far = np.meshgrid(offset, offset, offset, offset, indexing="ij")
    source, target = i**2 + j**2, k**2 + far**2
    apart = (i - k) ** 2 + (j - far) ** 2
    key = [apart] if kind == "iso" else [np.maximum(source, target), np.minimum(source, target), apart]
    rows = np.stack(key, -1).reshape(side**4, -1)
    _, first, which = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))  # numbered in the order in which a scan meets them
    return torch.from_numpy(rank[which.ravel()].reshape((side,) * 4))


def spread(weight: Tensor, classes: Tensor, scales: int = 1) -> Tensor:
    """Dense 4D kernel of shared weights (n,): each divided among the taps, and scale cells, that it serves."""
    taps = torch.bincount(classes.flatten()).to(weight)
    return (weight / (taps * scales))[classes.to(weight.device)]


class Kernel4d(nn.Module):
    """The 4D kernel; names and shapes of its tensors as in the authors' checkpoints (`chm4d.`)."""

    def __init__(self, kind: KernelKind) -> None:
        super().__init__()
        self.kind = kind
        if kind == "full":
            self.weight = nn.Parameter(torch.randn(1, 1, *(SIDE,) * 4).abs() * SMALL)
            self.bias = nn.Parameter(torch.zeros(()))
        else:
            # Scaled by the taps of a weight, as meant; the authors' scaling acts on a copy (their 6D one does not).
            taps = torch.bincount(tap_classes(kind).flatten())
            self.weight = nn.Parameter(torch.randn(len(taps)).abs() * SMALL * taps)
            self.bias = nn.Parameter(torch.zeros(1))

    def dense(self) -> Tensor:
        """(5, 5, 5, 5)."""
        return self.weight[0, 0] if self.kind == "full" else spread(self.weight, tap_classes(self.kind))


class Kernel6d(nn.Module):
    """The 6D kernel: one 4D kernel for each group of scale offsets; tensors as in the checkpoints (`chm6d.`)."""

    def __init__(self, kind: KernelKind) -> None:
        super().__init__()
        self.kind = kind
        self.bias = nn.Parameter(torch.zeros(1))
        self.param: nn.Parameter | nn.ParameterList
        if kind == "full":
            self.param = nn.Parameter(torch.randn(1, 1, 3, 3, *(SIDE,) * 4).abs() * SMALL)
        else:
            taps = torch.bincount(tap_classes(kind).flatten())
            groups = SCALE_GROUPS[kind]
            weights = [nn.Parameter(torch.randn(len(taps)).abs() * SMALL * taps * len(cells)) for cells in groups]
            self.param = nn.ParameterList(weights)

    def dense(self) -> Tensor:
        """(G, 5, 5, 5, 5), one a group of `SCALE_GROUPS`."""
        if isinstance(self.param, nn.Parameter):
            return self.param.view(9, *(SIDE,) * 4)
        classes, groups = tap_classes(self.kind), SCALE_GROUPS[self.kind]
        kernels = [spread(weight, classes, len(cells)) for weight, cells in zip(self.param, groups, strict=True)]
        return torch.stack(kernels)
