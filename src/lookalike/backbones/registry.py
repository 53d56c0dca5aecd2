"""The backbones, one line each: name -> (module, class, arguments)."""

from __future__ import annotations

from typing import Any

TORCHVISION = "lookalike.backbones.torchvision_nets"
FLOW = "lookalike.backbones.dense_flow"
CIFAR = "lookalike.backbones.cifar_nets"
BACKBONES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "small_cnn": ("lookalike.backbones.small_cnn", "SmallCNN", {}),
    "cifar_resnet18": ("lookalike.backbones.resnet_cifar", "CifarResNet18", {}),
    "cifar_resnet18_post": (CIFAR, "CifarResNet", {}),  # activations after the sums
    "cifar_mobilenet_v2": (CIFAR, "CifarMobileNetV2", {}),
    "cifar_efficientnet_b0": (CIFAR, "CifarEfficientNetB0", {}),
    "cifar_densenet": (CIFAR, "CifarDenseNet", {}),
    "cifar_googlenet": (CIFAR, "CifarGoogLeNet", {}),
    "cifar_shufflenet_v2_half": (CIFAR, "CifarShuffleNetV2", {}),
    "cifar_shufflenet_v2": (CIFAR, "CifarShuffleNetV2", {"widths": (116, 232, 464)}),
    "wide_resnet_28_10": (CIFAR, "WideResNet", {"width": 10}),
    "wide_resnet_28_2": (CIFAR, "WideResNet", {"width": 2}),
    "cifar_vit": ("lookalike.backbones.vit_cifar", "CifarViT", {}),
    "dense_flow_74_10": (FLOW, "DenseFlowBackbone", {}),
    "dense_flow_small": (
        FLOW,
        "DenseFlowBackbone",
        {
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
        },
    ),
    "resnet18": (TORCHVISION, "TorchvisionResNet", {"name": "resnet18"}),
    "resnet50": (TORCHVISION, "TorchvisionResNet", {"name": "resnet50"}),
    "resnet50_inat": (TORCHVISION, "BBNResNet50", {}),  # iNaturalist 2017, one block more in the last stage
    "densenet121": (TORCHVISION, "TorchvisionDenseNet", {"name": "densenet121"}),
}

TAKE_LEVELS = tuple(name for name, row in BACKBONES.items() if row[0] == FLOW)  # images as whole numbers 0 to 255
