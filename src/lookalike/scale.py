"""How large a study is before anything of it ran: work of its networks, and their size on disk."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from lookalike.backbones.build import make_backbone
from lookalike.data.registry import DATA_SETS
from lookalike.data.settings import DataSettings, entry_settings
from lookalike.plan import Plan, RunSpec
from lookalike.settings import BackboneSettings

BACKWARD = 2  # of a forward pass: gradients by inputs and by weights
FLOW_SIDE = 16  # pixels, the smallest that any takes
RATE = 20e12  # assumed floating point operations a second, for a first idea; small networks stay far below


@dataclass(frozen=True)
class Scale:
    """The size of a study.

    Attributes:
        flops: floating point operations of the backbones, in training and where images are embedded. Not counted:
            matching networks, re-ranking, samples of flows, patches and explanations.
        weights: bytes of all trained networks.
    """

    flops: float
    weights: float

    @property
    def gpu_hours(self) -> float:
        """At `RATE`."""
        return self.flops / RATE / 3600


def study_scale(plan: Plan) -> Scale:
    """The size of a study, by the registry's numbers of images."""
    flops = weights = 0.0
    entries = {name: entry_settings(values) for name, values in plan.datasets.items()}
    for dataset, model, size in plan.cells():
        run, entry = RunSpec(plan, dataset, model, size, plan.seeds[0]), entries[dataset]
        forward, parameters = network_cost(run.owner.settings["backbone"]["name"], image_shape(entry))
        counts = entry.counts()
        train = counts.get("train", 0) - entry.held_out if size == "all" else int(size)
        asked = [
            (entries[name], "test") if name in entries else (entry, name.split("-")[0])
            for name in plan.sets_of(dataset)
        ]
        queries = sum(one.counts().get(split, 0) for one, split in asked)
        if run.settings["modes"]:
            flops += forward * (train + queries) * len(plan.seeds)
        training = run.settings.get("training")
        if training and run.settings.get("backbone"):
            seen = train * training["epochs"] * _seen_with(run, entry)
            flops += forward * (1 + BACKWARD) * seen * len(plan.seeds)
            weights += 4 * parameters * len(plan.seeds)
    return Scale(flops, weights)


def _seen_with(run: RunSpec, entry: DataSettings) -> float:
    """Images that pass the network for each image of a batch: itself, and its share of a support or memory."""
    settings: dict[str, Any] = run.settings
    batch = settings["training"]["batch_size"]
    memory = (settings.get("memory") or {}).get("size", 0)
    episodes = settings.get("episodes") or {}
    classes = episodes.get("n_way") or DATA_SETS[entry.source].classes
    return 1 + (memory + classes * episodes.get("n_shot", 0)) / batch


def image_shape(entry: DataSettings) -> tuple[int, int, int]:
    """(C, H, W) of what a model sees."""
    stored = DATA_SETS[entry.source].image_shape or (3, 0, 0)
    side = getattr(entry, "size", None)
    return (
        getattr(entry, "channels", None) or stored[0],
        side or stored[1],
        side or stored[2],
    )


@cache
def network_cost(name: str, shape: tuple[int, int, int]) -> tuple[float, int]:
    """Floating point operations of a forward pass of one image, and the number of parameters.

    Args:
        name: of a backbone.
        shape: (C, H, W).
    """
    try:
        return _counted(name, shape, "meta")  # without memory and arithmetic
    except RuntimeError:  # flows look at values; their work grows with the area
        flops, parameters = _counted(name, (shape[0], FLOW_SIDE, FLOW_SIDE), "cpu")
        return flops * shape[1] * shape[2] / FLOW_SIDE**2, parameters


def _counted(name: str, shape: tuple[int, int, int], device: str) -> tuple[float, int]:
    with torch.device(device), torch.no_grad(), torch.random.fork_rng():
        backbone = make_backbone(BackboneSettings(name=name), shape).eval()
        with FlopCounterMode(display=False) as counter:
            backbone(torch.zeros(2, *shape))  # one image alone is taken for a vector by some layers
    return counter.get_total_flops() / 2, sum(parameter.numel() for parameter in backbone.parameters())
