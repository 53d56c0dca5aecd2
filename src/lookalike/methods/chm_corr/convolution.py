"""Convolutions over four position axes, and over two scale axes and four positions.

Cross-correlations with stride 1 and zero padding, as in convolutional Hough matching. Two forms with equal results:
one 3D convolution with an output for each tap of the first axis, shifted and added; and Fourier transforms, whose cost
does not depend on the kernel. The latter are three times as fast on a CPU with five or eight cells a side, the direct
form with three or fewer. Either is used through autograd as it is.

Axes are so short that a transform is a product with a matrix: 3 to 4 times as fast as a fast Fourier transform of 18
points, as fast at 32, and it neither needs a length with small factors nor transforms the zeros around the input.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

SMALLEST_TRANSFORMED = 4  # cells a side
LONGEST_PRODUCT = 40  # points of an axis; more are transformed by FFT
POSITIONS = (-4, -3, -2, -1)


def correlate_4d(x: Tensor, kernel: Tensor) -> Tensor:
    """(B, a, b, c, d) correlated with one kernel (k, k, k, k), same size.

    Args:
        x: (B, a, b, c, d).
        kernel: Odd k.
    """
    sides = x.shape[1:]
    if min(sides) < SMALLEST_TRANSFORMED:
        return correlate_4d_direct(x[:, None], kernel[None, None])[:, 0]
    size = _transform_size(sides, kernel.shape[0])
    product = _transform(x, size) * _spectrum(kernel[None], size).conj()
    return _back(product, size, sides)


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
    total = torch.zeros(batch, first, outputs, *others, dtype=x.dtype, device=x.device)
    for tap in range(taps):
        shift = tap - taps // 2  # of the input's row against the output's
        to, come = slice(max(0, -shift), first - max(0, shift)), slice(max(0, shift), first - max(0, -shift))
        if to.start < to.stop:
            total[:, to] = total[:, to] + parts[:, come, tap]
    return total.transpose(1, 2)


def correlate_6d(x: Tensor, kernels: Tensor, groups: tuple[tuple[int, ...], ...]) -> Tensor:
    """(B, 3, 3, a, b, c, d) correlated over scales and positions, same size.

    Each kernel is applied once to each scale pair; the scale offsets that share it only sum the results.

    Args:
        x: (B, 3, 3, a, b, c, d), source scale and target scale first.
        kernels: (G, k, k, k, k), one a group.
        groups: Cells 3 p + q of the 3 x 3 scale offsets, so that each occurs in one group.
    """
    sides = x.shape[3:]
    if min(sides) < SMALLEST_TRANSFORMED:
        parts = correlate_4d_direct(x.flatten(0, 2)[:, None], kernels[:, None])  # (9 B, G, ...)
        parts = parts.reshape(len(x), 9, len(kernels), -1).transpose(1, 2).flatten(1, 2)  # (B, 9 G, s^4)
        return (_scale_sums(groups).to(x) @ parts).view_as(x)
    size = _transform_size(sides, kernels.shape[1])
    spectra = _transform(x.flatten(0, 2), size).unflatten(0, (-1, 9))  # (B, 9, f, f, f, f')
    filters = _spectrum(kernels, size).conj().resolve_conj()
    products = torch.view_as_real(spectra[:, None] * filters[:, None]).flatten(3).flatten(1, 2)  # (B, 9 G, 2 F)
    # One product of matrices adds up what the groups bring from the neighbouring scales.
    total = _scale_sums(groups).to(x) @ products
    total = torch.view_as_complex(total.reshape(*spectra.shape, 2))
    return _back(total.flatten(0, 1), size, sides).view_as(x)


@cache
def _scale_sums(groups: tuple[tuple[int, ...], ...]) -> Tensor:
    """(9, 9 G) 1 where an output's scale pair sees an input's at an offset of a group."""
    adds = torch.zeros(3, 3, len(groups), 3, 3)
    for number, cells in enumerate(groups):
        for cell in cells:
            for p in range(3):
                for q in range(3):
                    at_p, at_q = p + cell // 3 - 1, q + cell % 3 - 1
                    if 0 <= at_p < 3 and 0 <= at_q < 3:
                        adds[p, q, number, at_p, at_q] = 1
    return adds.view(9, -1)


def _transform_size(sides: Sequence[int], taps: int) -> tuple[int, ...]:
    """Lengths at which what wraps around falls outside the wanted part; for FFT such with small factors."""
    lengths = [side + taps // 2 for side in sides]
    return tuple(lengths if max(lengths) <= LONGEST_PRODUCT else map(_smooth, lengths))


def _smooth(length: int) -> int:
    """The next number without a prime factor above 5: a transform of 17 takes longer than one of 18."""
    rest = length
    for factor in (2, 3, 5):
        while rest % factor == 0:
            rest //= factor
    return length if rest == 1 else _smooth(length + 1)


def _spectrum(kernels: Tensor, size: tuple[int, ...]) -> Tensor:
    """Spectra (G, ...) of kernels (G, k, k, k, k) whose centre lies at the origin."""
    half = kernels.shape[-1] // 2
    if max(size) <= LONGEST_PRODUCT:
        return _transform(kernels, size, half)
    padded = kernels.new_zeros(len(kernels), *size)
    taps = slice(0, kernels.shape[-1])
    padded[:, taps, taps, taps, taps] = kernels
    return _transform(padded.roll((-half,) * 4, POSITIONS), size)


def _transform(x: Tensor, size: tuple[int, ...], origin: int = 0) -> Tensor:
    """(B, a, b, c, d) -> half of its spectrum, (B, A, B, C, D // 2 + 1).

    Args:
        x: Real.
        size: Lengths (A, B, C, D) to which x is filled up with zeros.
        origin: The index that stands for 0 on every axis.
    """
    if max(size) > LONGEST_PRODUCT:
        return torch.fft.rfftn(x, size, POSITIONS)
    batch, a, b, c, d = x.shape
    half = size[3] // 2 + 1
    last = torch.view_as_real(_waves(d, size[3], origin, x.device)[:, :half]).flatten(1)
    y = torch.view_as_complex((x.reshape(-1, d) @ last).view(-1, half, 2))
    for side, length, behind in (
        (c, size[2], half),
        (b, size[1], half * size[2]),
        (a, size[0], half * size[2] * size[1]),
    ):
        y = _waves(side, length, origin, x.device).mT @ y.reshape(-1, side, behind)
    return y.view(batch, *size[:3], half)


def _back(spectrum: Tensor, size: tuple[int, ...], sides: Sequence[int]) -> Tensor:
    """Inverse of `_transform`, the first `sides` (a, b, c, d) of each axis only."""
    if max(size) > LONGEST_PRODUCT:
        a, b, c, d = sides
        return torch.fft.irfftn(spectrum, size, POSITIONS)[..., :a, :b, :c, :d]
    batch, half, device = len(spectrum), spectrum.shape[-1], spectrum.device
    y = spectrum
    behind = half * size[1] * size[2]
    for axis in range(3):
        y = _waves(sides[axis], size[axis], 0, device).conj() / size[axis] @ y.reshape(-1, size[axis], behind)
        behind //= size[axis + 1] if axis < 2 else 1
    waves = _waves(sides[3], size[3], 0, device)[:, :half] / size[3]
    point = torch.arange(half, device=device)
    once = (point == 0) | (2 * point == size[3])  # of the others, the half that is left out holds the conjugates
    waves = torch.where(once, waves, 2 * waves)
    last = torch.view_as_real(waves).flatten(1).T  # (2 h, d): Re(y conj(w)) = Re y Re w + Im y Im w
    return (torch.view_as_real(y.contiguous()).view(-1, 2 * half) @ last).view(batch, *sides)


@cache
def _waves(side: int, length: int, origin: int, device: torch.device) -> Tensor:
    """(side, length) exp(-2 pi i f (t - origin) / length)."""
    at = torch.arange(side, dtype=torch.float64) - origin
    phase = -2 * torch.pi * torch.outer(at, torch.arange(length, dtype=torch.float64)) / length
    return torch.polar(torch.ones_like(phase), phase).to(device, torch.complex64)
