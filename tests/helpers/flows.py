"""Small flows and the studies of classifiers on them."""

from typing import Any

import torch

from helpers.studies import changed_plan
from lookalike.backbones.flow.dense_flow import FlowShape
from lookalike.study.plan import Plan

SMALL = FlowShape((2, 1), (1, 1), (8, 8), 2, 1, 4, 1, 4, 4, 1, 4)


def shaken(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """With every parameter away from where it starts: a fresh flow's couplings are the identity."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in module.parameters():
            value += 0.1 * torch.randn(value.shape, generator=generator)
    return module.eval()


def levels(count: int, *shape: int, seed: int = 0) -> torch.Tensor:
    """Random images of whole numbers."""
    return torch.randint(0, 256, (count, *shape), generator=torch.Generator().manual_seed(seed))


def protoflow_entry(**changes: Any) -> dict[str, Any]:
    """A study's entry of a small prototype classifier."""
    return {
        "method": "protoflow",
        "backbone": {"name": "dense_flow_small"},
        "training": {"epochs": 2, "batch_size": 32, "optimizer": "adamw", "lr": 0.005, "clip_gradient": 100},
        "prototypes": {"components": 2},
        "losses": {"consistency": 2, "diversity": True},
        "inference": {"samples": 2},
        **changes,
    }


def protoflow_plan(tiny: Plan, **changes: Any) -> Plan:
    """The tiny study with that classifier alone."""
    return changed_plan(tiny, models={"protoflow": protoflow_entry(**changes)})
