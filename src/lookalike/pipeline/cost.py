"""How much work a study is before anything of it ran: operations of its networks, and their size on disk."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lookalike.contracts.settings import MethodSettings, TrainingSettings
from lookalike.data.registry import DATA_SETS
from lookalike.data.settings import DataSettings
from lookalike.study.evaluation_sets import parse_evaluation_set
from lookalike.study.plan import Plan

BACKWARD = 2  # times a forward pass: gradients by inputs and by weights
RATE = 20e12  # assumed floating point operations a second, for a first idea; small networks stay far below
NETWORKS = Path(__file__).with_name("network_costs.csv")  # written by `lookalike reference`, compared by a test


@dataclass(frozen=True)
class Cost:
    """The work of a study.

    Attributes:
        flops: Floating point operations of the backbones, in training and where images are embedded. Not counted:
            matching networks, re-ranking, samples of flows, patches and explanations.
        weights: Bytes of all trained networks.
    """

    flops: float
    weights: float

    @property
    def gpu_hours(self) -> float:
        """Hours at `RATE`."""
        return self.flops / RATE / 3600


@dataclass(frozen=True)
class NetworkCost:
    """The work of a network.

    Attributes:
        flops: Floating point operations of a forward pass of one image.
        parameters: Number of parameters.
        shape: Channels, height and width of that image.
    """

    flops: float
    parameters: int
    shape: tuple[int, int, int]


def study_cost(plan: Plan) -> Cost:
    """The work of a study, by the registry's numbers of images."""
    flops = weights = 0.0
    for dataset, model, size in plan.cells():
        entry, settings = plan.datasets[dataset], plan.settings_of(plan.run_spec(dataset, model, size, plan.seeds[0]))
        shape = image_shape(entry)
        network = network_cost(plan.backbone_of(model).name, shape)
        forward = network.flops * shape[1] * shape[2] / (network.shape[1] * network.shape[2])
        train = entry.counts().get("train", 0) - entry.validation_size if size == "all" else int(size)
        queries = sum(_queries(plan, dataset, name) for name in plan.sets_of(dataset))
        flops += forward * (train + queries) * len(plan.seeds)
        training: TrainingSettings | None = settings.own_training
        if training is not None and settings.own_backbone is not None:
            seen = train * training.epochs * _images_seen(settings, training, entry)
            flops += forward * (1 + BACKWARD) * seen * len(plan.seeds)
            weights += 4 * network.parameters * len(plan.seeds)
    return Cost(flops, weights)


def _queries(plan: Plan, dataset: str, name: str) -> int:
    """Images of an evaluation set."""
    if name in plan.datasets:
        return plan.datasets[name].counts().get("test", 0)
    return plan.datasets[dataset].counts().get(parse_evaluation_set(name).split, 0)


def _images_seen(settings: MethodSettings, training: TrainingSettings, entry: DataSettings) -> float:
    """Images that pass the network for each image of a batch: itself, and its share of a support or memory."""
    return 1 + settings.support_images(DATA_SETS[entry.source].classes) / training.batch_size


def image_shape(entry: DataSettings) -> tuple[int, int, int]:
    """Channels, height and width of what a model sees."""
    stored = DATA_SETS[entry.source].image_shape or (3, 0, 0)
    side = getattr(entry, "size", None)
    return getattr(entry, "channels", None) or stored[0], side or stored[1], side or stored[2]


def network_cost(name: str, shape: tuple[int, int, int]) -> NetworkCost:
    """The work of a network on images of the nearest size that the table holds; it grows with the image's area.

    Args:
        name: Name of a backbone.
        shape: Channels, height and width of an image.
    """
    listed = _listed().get(name)
    if listed:
        area = max(1, shape[1] * shape[2])
        return min(listed, key=lambda cost: abs(math.log(cost.shape[1] * cost.shape[2] / area)))
    from lookalike.backbones.cost import count_operations

    return NetworkCost(*count_operations(name, shape), shape)


@cache
def _listed() -> dict[str, list[NetworkCost]]:
    costs: dict[str, list[NetworkCost]] = {}
    with open(NETWORKS, newline="", encoding="utf-8") as handle:
        for row in csv.DictReader(handle):
            shape = (int(row["channels"]), int(row["height"]), int(row["width"]))
            cost = NetworkCost(float(row["flops"]), int(row["parameters"]), shape)
            costs.setdefault(row["backbone"], []).append(cost)
    return costs
