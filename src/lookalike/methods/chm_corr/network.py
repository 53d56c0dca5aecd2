"""CHMNet: correlation of two feature maps at several scales, cleaned by convolutional Hough matching.

Min, Kim and Cho (arXiv 2109.05221) (docs/algorithms/chm_corr.md, sections 2 to 5). Bilinear resizing is linear and a
correlation is too, so each level of the pyramid is resized to the common grid before the product, not the products
after it: one product of (3 s^2, C) by (C, 3 s^2) stands for nine products and nine 4D interpolations.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lookalike.core.errors import LookalikeError
from lookalike.methods.chm_corr import KernelKind
from lookalike.methods.chm_corr.convolution import correlate_4d, correlate_6d
from lookalike.methods.chm_corr.kernels import SCALE_GROUPS, Kernel4d, Kernel6d
from lookalike.methods.reranking.transfer import resize_4d

if TYPE_CHECKING:
    from lookalike.methods.chm_corr.settings import CorrespondenceSettings

SCALES = (0.5, 1.0, 2.0)  # of the area
LENGTH_FLOOR = 1e-8  # the authors have none: a zero vector gave NaN
GRID = 15  # side of the feature map of a 240-pixel image


def level_sides(side: int) -> list[int]:
    """Sides of the pyramid's levels: 11, 15, 21 of 15."""
    return [round(side * math.sqrt(scale)) for scale in SCALES]


class CHMNet(nn.Module):
    """CHMNet: everything behind the backbone; its tensors are those of the authors' checkpoints (`learner.`).

    Args:
        kind: How weights of the Hough kernels are shared: `psi`, `iso` or `full`.
        inputs: Channels of the feature maps.
        channels: Channels of the pyramid; the authors' have 256.

    Example:
        >>> import torch
        >>> from lookalike.rerank import CHMNet
        >>> network = CHMNet("psi", inputs=8, channels=4)
        >>> maps = torch.rand(2, 8, 6, 6)
        >>> network(network.pyramid(maps[:1]), network.pyramid(maps[1:])).shape  # source by target nodes
        torch.Size([1, 144, 144])
    """

    def __init__(self, kind: KernelKind, inputs: int, channels: int) -> None:
        super().__init__()
        self.kind = kind
        self.conv2ds = nn.ModuleList(nn.Conv2d(inputs, channels, 3, padding=1, bias=False) for _ in SCALES)
        self.chm6d = Kernel6d(kind)
        self.chm4d = Kernel4d(kind)

    def pyramid(self, maps: Tensor) -> Tensor:
        """What is needed of an image: unit features of the levels, resized to the map's grid.

        Args:
            maps: (B, C, s, s) feature maps.

        Returns:
            (B, 3, s * s, channels) unit features.

        Raises:
            LookalikeError: The maps are not square.
        """
        height, width = maps.shape[-2:]
        if height != width:
            raise LookalikeError(
                f"feature maps are {height} x {width}, but matching at several scales needs square ones; give square "
                "images (datasets: {...: {fit: squash}}) or use emd_corr."
            )
        levels = []
        for side, convolution in zip(level_sides(height), self.conv2ds, strict=True):
            level = convolution(F.interpolate(maps, (side, side), mode="bilinear", align_corners=True))
            unit = level / torch.linalg.vector_norm(level, dim=1, keepdim=True).clamp_min(LENGTH_FLOOR)
            resized = F.interpolate(unit, (height, height), mode="bilinear", align_corners=True)
            levels.append(resized.flatten(2).transpose(1, 2))
        return torch.stack(levels, 1)

    def correlate(self, source: Tensor, target: Tensor) -> Tensor:
        """Correlation of two pyramids (B, 3, s * s, D): (B, 3, 3, s, s, s, s), not negative; the source may be one."""
        side = round(source.shape[2] ** 0.5)
        product = source.flatten(1, 2) @ target.flatten(1, 2).mT  # (B, 3 s^2, 3 s^2)
        product = product.unflatten(2, (3, side, side)).unflatten(1, (3, side, side))
        return product.permute(0, 1, 4, 2, 3, 5, 6).clamp_min(0)

    def vote(self, correlation: Tensor) -> Tensor:
        """Hough voting over positions and scales, (B, 3, 3, s, s, s, s) as given, before the sigmoid."""
        voted = correlate_6d(correlation.contiguous(), self.chm6d.dense(), SCALE_GROUPS[self.kind])
        return voted + self.chm6d.bias

    def refine(self, pooled: Tensor) -> Tensor:
        """Voting over positions on the doubled grid: (B, s, s, s, s) -> (B, S, S, S, S), before the soft-plus."""
        return correlate_4d(resize_4d(pooled, 2 * pooled.shape[1]), self.chm4d.dense()) + self.chm4d.bias

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Correlation (B, S * S, S * S) of source and target positions on a grid of S = 2 s.

        Args:
            source: Pyramids (B, 3, s * s, D), or one for all targets.
            target: Pyramids (B, 3, s * s, D).
        """
        voted = self.vote(self.correlate(source, target))
        pooled = voted.amax((1, 2)).sigmoid()  # a sigmoid keeps the order: one instead of nine
        return keep_mutual(F.softplus(self.refine(pooled)).flatten(3, 4).flatten(1, 2))


def keep_mutual(x: Tensor) -> Tensor:
    """Damp what is not the largest of its row and its column: x^3 / (row maximum x column maximum), (B, n, m)."""
    rows, columns = x.amax(2, keepdim=True), x.amax(1, keepdim=True)
    rows, columns = (torch.where(most == 0, 1e-30, most) for most in (rows, columns))
    return x * (x / rows) * (x / columns)


Branch = Literal["source", "target"]


class CHMBackbones(nn.Module):
    """The two ResNet-101s of the authors' checkpoints, up to their third stage: stride 16, 1,024 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.source, self.target = _resnet101(), _resnet101()

    def forward(self, images: Tensor, branch: Branch) -> Tensor:
        """(B, 1024, H/16, W/16) of normalised images (B, 3, H, W)."""
        network = self.source if branch == "source" else self.target
        result: Tensor = network(images)
        return result


def _resnet101() -> nn.Sequential:
    import torchvision  # a second that reading a study should not wait for

    full = torchvision.models.resnet101(weights=None)
    names = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3")
    stages = nn.Sequential()
    for name in names:
        stages.add_module(name, getattr(full, name))
    return stages


def split_branches(state: dict[str, Tensor], branch: Branch) -> dict[str, Tensor]:
    """One branch's tensors of a checkpoint's `backbone.`: of each the first half for the source, else the second.

    Stage 4 and the classifier, which matching does not use, are left out.
    """
    of_branch = {}
    for name, value in state.items():
        key = name.removeprefix("backbone.")
        if key == name or key.startswith(("layer4.", "fc.")):
            continue
        half = 0 if branch == "source" else 1
        of_branch[key] = value if value.ndim == 0 else value.chunk(2)[half].clone()
    return of_branch


def join_checkpoint(branches: CHMBackbones, chmnet: CHMNet) -> dict[str, Tensor]:
    """State dict in the authors' layout, without the parts that matching does not use."""
    state = {f"learner.{name}": value for name, value in chmnet.state_dict().items()}
    target = branches.target.state_dict()
    for name, value in branches.source.state_dict().items():
        state[f"backbone.{name}"] = value if value.ndim == 0 else torch.cat([value, target[name]])
    return state


def load_checkpoint(state: dict[str, Tensor], path: str) -> tuple[CHMBackbones, CHMNet]:
    """Networks of a state dict in the authors' layout.

    Args:
        state: Tensors `backbone.*` and `learner.*`.
        path: Path of the file, for messages.

    Raises:
        LookalikeError: The layout is another.
    """
    weight = state.get("learner.chm4d.weight")
    kinds: dict[int, KernelKind] = {55: "psi", 15: "iso", 1: "full"}
    if weight is None or len(weight) not in kinds:
        raise LookalikeError(
            f"{path} is no CHMNet checkpoint: learner.chm4d.weight of 55 (psi), 15 (iso) or 5^4 (full) numbers is "
            "not in it."
        )
    try:
        first = state["learner.conv2ds.0.weight"]
        chmnet, branches = CHMNet(kinds[len(weight)], first.shape[1], first.shape[0]), CHMBackbones()
        chmnet.load_state_dict(
            {name.removeprefix("learner."): value for name, value in state.items() if name.startswith("learner.")}
        )
        branches.source.load_state_dict(split_branches(state, "source"))
        branches.target.load_state_dict(split_branches(state, "target"))
    except (RuntimeError, KeyError) as error:
        raise LookalikeError(f"{path} does not fit CHMNet: {str(error).splitlines()[-1].strip()}.") from None
    return branches.eval(), chmnet.eval()


def write_random_weights(settings: CorrespondenceSettings, n_classes: int, path: Path) -> None:
    """Write a checkpoint of a random network in the authors' layout, for a study in small."""
    from lookalike.core.tensors import write_tensors  # the network itself needs torch alone

    chmnet = CHMNet(settings.kernel, 1024, 256)
    write_tensors(path, join_checkpoint(CHMBackbones(), chmnet))
