"""Operations and parameters of the backbones."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from lookalike.backbones.build import make_backbone
from lookalike.contracts.settings import BackboneSettings

FLOW_SIDE = 16  # pixels, the smallest that any takes


def count_operations(name: str, shape: tuple[int, int, int]) -> tuple[float, int]:
    """Floating point operations of a forward pass of one image, and the number of parameters.

    Args:
        name: Name of a backbone.
        shape: Channels, height and width of the image.
    """
    try:
        return _count(name, shape, "meta")  # without memory and arithmetic
    except RuntimeError:  # flows look at values; their work grows with the area
        flops, parameters = _count(name, (shape[0], FLOW_SIDE, FLOW_SIDE), "cpu")
        return flops * shape[1] * shape[2] / FLOW_SIDE**2, parameters


def _count(name: str, shape: tuple[int, int, int], device: str) -> tuple[float, int]:
    with torch.device(device), torch.no_grad(), torch.random.fork_rng():
        backbone = make_backbone(BackboneSettings(name=name), shape).eval()
        with FlopCounterMode(display=False) as counter:
            backbone(torch.zeros(2, *shape))  # one image alone is taken for a vector by some layers
    return counter.get_total_flops() / 2, sum(parameter.numel() for parameter in backbone.parameters())
