"""Convolutions over four position axes, and over two scale axes and four positions.

Cross-correlations with stride 1 and zero padding, as in convolutional Hough matching. Two forms with equal results:
one 3D convolution with an output for each tap of the first axis, shifted and added; and FFT, whose cost does not
depend on the kernel. FFT is 3 to 15 times as fast on grids of 15 and 30, the direct form on grids of a few cells
(docs/reference/benchmarks.md). Either is used through autograd as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

SMALLEST_FFT = 6  # cells a side
POSITIONS = (-4, -3, -2, -1)


def correlate_4d(x: Tensor, kernel: Tensor) -> Tensor:
    """(B, a, b, c, d) correlated with one kernel (k, k, k, k), same size.

    Args:
        x: (B, a, b, c, d).
        kernel: odd k.
    """
    sides = x.shape[1:]
    if min(sides) < SMALLEST_FFT:
        return correlate_4d_direct(x[:, None], kernel[None, None])[:, 0]
    size = _transform_size(sides, kernel.shape[0])
    product = torch.fft.rfftn(x, size, POSITIONS) * _spectrum(kernel, size).conj()
    return _cut(torch.fft.irfftn(product, size, POSITIONS), sides)


def correlate_4d_direct(x: Tensor, kernel: Tensor) -> Tensor:
    """The same by one 3D convolution; several channels in and out.

    Args:
        x: (B, I, a, b, c, d).
        kernel: (O, I, k, k, k, k), odd k.

    Returns:
        (B, O, a, b, c, d).
    """
    batch, inputs, first, *others = x.shape
    outputs, taps = kernel.shape[0], kernel.shape[2]
    flat = x.transpose(1, 2).reshape(batch * first, inputs, *others)
    weight = kernel.permute(2, 0, 1, 3, 4, 5).reshape(taps * outputs, inputs, *(taps,) * 3)
    parts = F.conv3d(flat, weight, padding=taps // 2).view(batch, first, taps, outputs, *others)
    found = torch.zeros(batch, first, outputs, *others, dtype=x.dtype, device=x.device)
    for tap in range(taps):
        shift = tap - taps // 2  # of the input's row against the output's
        to, come = slice(max(0, -shift), first - max(0, shift)), slice(max(0, shift), first - max(0, -shift))
        if to.start < to.stop:
            found[:, to] = found[:, to] + parts[:, come, tap]
    return found.transpose(1, 2)


def correlate_6d(x: Tensor, kernels: Tensor, groups: tuple[tuple[int, ...], ...]) -> Tensor:
    """(B, 3, 3, a, b, c, d) correlated over scales and positions, same size.

    Each kernel is applied once to each scale pair; the scale offsets that share it only sum the results.

    Args:
        x: (B, 3, 3, a, b, c, d), source scale and target scale first.
        kernels: (G, k, k, k, k), one a group.
        groups: cells 3 p + q of the 3 x 3 scale offsets, so that each occurs in one group.
    """
    sides = x.shape[3:]
    if min(sides) < SMALLEST_FFT:
        parts = correlate_4d_direct(x.flatten(0, 2)[:, None], kernels[:, None])  # (9 B, G, ...)
        parts = parts.reshape(len(x), 9, len(kernels), -1).transpose(1, 2).flatten(1, 2)  # (B, 9 G, s^4)
        return (_scale_sums(groups).to(x) @ parts).view_as(x)
    size = _transform_size(sides, kernels.shape[1])
    spectra = torch.fft.rfftn(x, size, POSITIONS).flatten(1, 2)  # (B, 9, f, f, f, f')
    filters = _spectrum(kernels, size).conj().resolve_conj()
    products = torch.view_as_real(spectra[:, None] * filters[:, None]).flatten(3).flatten(1, 2)  # (B, 9 G, 2 F)
    # One product of matrices adds up what the groups bring from the neighbouring scales.
    total = _scale_sums(groups).to(x) @ products
    total = torch.view_as_complex(total.reshape(*spectra.shape, 2))
    return _cut(torch.fft.irfftn(total, size, POSITIONS), sides).unflatten(1, (3, 3))


@cache
def _scale_sums(groups: tuple[tuple[int, ...], ...]) -> Tensor:
    """(9, 9 G) 1 where an output's scale pair sees an input's at an offset of a group."""
    found = torch.zeros(3, 3, len(groups), 3, 3)
    for number, cells in enumerate(groups):
        for cell in cells:
            for p in range(3):
                for q in range(3):
                    at_p, at_q = p + cell // 3 - 1, q + cell % 3 - 1
                    if 0 <= at_p < 3 and 0 <= at_q < 3:
                        found[p, q, number, at_p, at_q] = 1
    return found.view(9, -1)


def _transform_size(sides: Sequence[int], taps: int) -> list[int]:
    """Lengths with small factors at which what wraps around falls outside the wanted part."""
    return [_smooth(side + taps // 2) for side in sides]


def _smooth(length: int) -> int:
    """The next number without a prime factor above 5: a transform of 17 takes longer than one of 18."""
    rest = length
    for factor in (2, 3, 5):
        while rest % factor == 0:
            rest //= factor
    return length if rest == 1 else _smooth(length + 1)


def _spectrum(kernels: Tensor, size: Sequence[int]) -> Tensor:
    """Spectrum of kernels (..., k, k, k, k) whose centre lies at the origin."""
    half = kernels.shape[-1] // 2
    padded = kernels.new_zeros(*kernels.shape[:-4], *size)
    taps = slice(0, kernels.shape[-1])
    padded[..., taps, taps, taps, taps] = kernels
    return torch.fft.rfftn(padded.roll((-half,) * 4, POSITIONS), size, POSITIONS)


def _cut(x: Tensor, sides: Sequence[int]) -> Tensor:
    a, b, c, d = sides
    return x[..., :a, :b, :c, :d]
