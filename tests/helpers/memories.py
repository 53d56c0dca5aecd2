"""Classifiers with a random memory, of random images."""

from typing import Any

import torch

from lookalike.backbones.build import make_backbone
from lookalike.contracts.features import Features
from lookalike.contracts.settings import BackboneSettings
from lookalike.methods.registry import METHODS

SHAPE, CLASSES = (1, 8, 8), 4
MEMORY_METHODS = ("memory_wrap", "baseline_memory", "protonet", "matching")


class FakePool:
    """Random images, class by class."""

    def __init__(self, count: int) -> None:
        self.labels = torch.arange(count) % CLASSES
        self.environments = torch.zeros(count, dtype=torch.int64)
        self.images = torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(1))

    def load(self, rows: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        return self.images[rows]


def make_model(name: str, **options: Any) -> Any:
    """An untrained classifier of a method; `options` are keys of its study entry."""
    method = METHODS[name]
    torch.manual_seed(0)
    backbone = make_backbone(BackboneSettings(name="small_cnn"), SHAPE)
    return method.classifier_class()(method.settings_class()(method=name, **options), backbone, CLASSES)


def with_support(name: str, count: int = 40, **options: Any) -> tuple[Any, Features]:
    """A classifier with its memories of 12 images, and nine queries."""
    model = make_model(name, memory={"size": 12}, **options).eval()
    pool = FakePool(count)
    with torch.no_grad():
        features = model.embed(pool.images)
        model.build_support(Features(features, pool.labels, pool.environments, torch.arange(count) + 100), 7)
        queries = model.embed(torch.randn(9, *SHAPE, generator=torch.Generator().manual_seed(2)))
    return model, Features(queries, torch.arange(9) % CLASSES, torch.zeros(9, dtype=torch.int64), torch.arange(9))
