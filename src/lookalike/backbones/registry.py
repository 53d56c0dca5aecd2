"""The backbones, one line each: name -> (module, class, arguments)."""

from __future__ import annotations

from typing import Any

TORCHVISION = "lookalike.backbones.torchvision_nets"
BACKBONES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "small_cnn": ("lookalike.backbones.small_cnn", "SmallCNN", {}),
    "cifar_resnet18": ("lookalike.backbones.resnet_cifar", "CifarResNet18", {}),
    "resnet18": (TORCHVISION, "TorchvisionResNet", {"name": "resnet18"}),
    "resnet50": (TORCHVISION, "TorchvisionResNet", {"name": "resnet50"}),
    "densenet121": (TORCHVISION, "TorchvisionDenseNet", {"name": "densenet121"}),
}
