"""The small vision transformer of Memory Wrap's second paper (docs/algorithms/backbones.md, section 5).

64 patches, a class token, seven pre-norm layers. Both variants of the paper's classifier get the class token after the
last norm here; in the original the memory variants skip it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lookalike.contracts.backbone import Backbone
from lookalike.core.errors import LookalikeError

PATCHES, LAYERS, HEADS, WIDTH = 8, 7, 12, 384  # patches a side


class CifarViT(Backbone):
    """A transformer on 8 x 8 patches of an image.

    Args:
        image_shape: Channels, height, width.

    Raises:
        LookalikeError: The sides of the images are no multiples of 8.
    """

    def __init__(self, image_shape: tuple[int, ...]) -> None:
        super().__init__()
        channels, height, width = image_shape
        if height % PATCHES or width % PATCHES:
            raise LookalikeError(
                f"cifar_vit cuts images into {PATCHES} x {PATCHES} patches, which {height} x {width} pixels do not "
                "divide into; choose another backbone."
            )
        self.dim = WIDTH
        self.patch = (height // PATCHES, width // PATCHES)
        self.embedding = nn.Linear(channels * self.patch[0] * self.patch[1], WIDTH)
        self.class_token = nn.Parameter(torch.randn(1, 1, WIDTH))
        self.position = nn.Parameter(torch.randn(1, PATCHES**2 + 1, WIDTH))
        self.layers = nn.Sequential(*(_Layer() for _ in range(LAYERS)))
        self.norm = nn.LayerNorm(WIDTH)

    def _tokens(self, images: Tensor) -> Tensor:
        """(B, 65, 384): the class token, then the patches row by row."""
        patches = F.unfold(images, self.patch, stride=self.patch).transpose(1, 2)  # (B, 64, c h w)
        tokens = torch.cat([self.class_token.expand(len(images), -1, -1), self.embedding(patches)], 1)
        result: Tensor = self.norm(self.layers(tokens + self.position))
        return result

    def forward(self, images: Tensor) -> Tensor:
        """The class token (B, 384)."""
        return self._tokens(images)[:, 0]

    def feature_map(self, images: Tensor) -> Tensor:
        """The patches' tokens (B, 384, 8, 8)."""
        return self._tokens(images)[:, 1:].transpose(1, 2).unflatten(2, (PATCHES, PATCHES))


class _Layer(nn.Module):
    """Self-attention, then two linear layers each with a GELU; a norm before and a sum after both."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.mlp = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH), nn.GELU())

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, 384)."""
        seen = self.norm1(tokens)
        heads = [
            part(seen).unflatten(2, (HEADS, WIDTH // HEADS)).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        ]
        read = F.scaled_dot_product_attention(heads[0], heads[1], heads[2]).transpose(1, 2).flatten(2)
        tokens = tokens + self.out(read)
        result: Tensor = tokens + self.mlp(self.norm2(tokens))
        return result
