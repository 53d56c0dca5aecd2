"""The backbones, one row each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

TORCHVISION = "lookalike.backbones.torchvision_nets"
FLOW = "lookalike.backbones.flow.backbone"
CIFAR = "lookalike.backbones.cifar_nets"


@dataclass(frozen=True)
class BackboneRow:
    """A network.

    Attributes:
        module: Module of its class.
        network: Name of its class, which takes the image shape and the arguments.
        images: What it is meant for.
        arguments: Further arguments of the class.
        takes_levels: Whether it takes images as whole numbers 0 to 255, not normalised.
        smoke: Name of a smaller network that a study in small takes instead; empty for none.
    """

    module: str
    network: str
    images: str
    arguments: dict[str, Any] = field(default_factory=dict)
    takes_levels: bool = False
    smoke: str = ""


SMALL, THIRTY_TWO, PHOTOGRAPHS = "small images on a CPU", "32 pixels", "photographs"
SMALL_FLOW = {
    "units": (2, 1),
    "modules": (2, 2),
    "mid": (16, 16),
    "growth": 4,
    "depth": 2,
    "dense_growth": 16,
    "steps": 2,
    "context": 8,
    "context_mid": 8,
    "context_depth": 2,
    "context_growth": 8,
}
BACKBONES = {
    "small_cnn": BackboneRow("lookalike.backbones.small_cnn", "SmallCNN", SMALL),
    "cifar_resnet18": BackboneRow("lookalike.backbones.resnet_cifar", "CifarResNet18", THIRTY_TWO),
    "cifar_resnet18_post": BackboneRow(CIFAR, "CifarResNet", THIRTY_TWO),  # activations after the sums
    "cifar_mobilenet_v2": BackboneRow(CIFAR, "CifarMobileNetV2", THIRTY_TWO),
    "cifar_efficientnet_b0": BackboneRow(CIFAR, "CifarEfficientNetB0", THIRTY_TWO),
    "cifar_densenet": BackboneRow(CIFAR, "CifarDenseNet", THIRTY_TWO),
    "cifar_googlenet": BackboneRow(CIFAR, "CifarGoogLeNet", THIRTY_TWO),
    "cifar_shufflenet_v2_half": BackboneRow(CIFAR, "CifarShuffleNetV2", THIRTY_TWO),
    "cifar_shufflenet_v2": BackboneRow(CIFAR, "CifarShuffleNetV2", THIRTY_TWO, {"widths": (116, 232, 464)}),
    "wide_resnet_28_10": BackboneRow(CIFAR, "WideResNet", THIRTY_TWO, {"width": 10}),
    "wide_resnet_28_2": BackboneRow(CIFAR, "WideResNet", THIRTY_TWO, {"width": 2}),
    "cifar_vit": BackboneRow("lookalike.backbones.vit_cifar", "CifarViT", THIRTY_TWO),
    "dense_flow_74_10": BackboneRow(
        FLOW, "DenseFlowBackbone", "32 and 64 pixels; invertible", {}, True, smoke="dense_flow_small"
    ),
    "dense_flow_small": BackboneRow(FLOW, "DenseFlowBackbone", "small images; invertible", SMALL_FLOW, True),
    "resnet18": BackboneRow(TORCHVISION, "TorchvisionResNet", PHOTOGRAPHS, {"name": "resnet18"}),
    "resnet50": BackboneRow(TORCHVISION, "TorchvisionResNet", PHOTOGRAPHS, {"name": "resnet50"}),
    # iNaturalist 2017, one block more in the last stage
    "resnet50_inat": BackboneRow(TORCHVISION, "BBNResNet50", PHOTOGRAPHS),
    "densenet121": BackboneRow(TORCHVISION, "TorchvisionDenseNet", PHOTOGRAPHS, {"name": "densenet121"}),
}
