"""A universal adversarial patch against any classifier with a gradient (Brown et al., arXiv 1712.09665).

As in the script that kNN and EMD-Corr were tested with (spec section 6.2): a disk or square that starts in one random
colour is turned and placed at random on one image after the other; on each, it descends -log P(target) until the target
has the wanted confidence. Two differences: it is turned from its own frame each time, so that it does not blur with
every image, and confidence is that of the patched image from the start.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from lookalike.data.images import Images, open_images
from lookalike.data.prepared import open_data
from lookalike.determinism import pin_arithmetic
from lookalike.devices import best_device
from lookalike.errors import LookalikeError
from lookalike.methods.base import Classifier, Embedded
from lookalike.methods.build import load_classifier
from lookalike.plan import RunSpec
from lookalike.seeds import derive_seed
from lookalike.settings import PatchSettings
from lookalike.support.embed import embed
from lookalike.tensors import read_tensors, write_tensors

log = logging.getLogger(__name__)


def make_patch(run: RunSpec) -> str:
    """Write patch.safetensors of a run: `patch` (C, s, s) in [0, 1] and `mask` (s, s).

    Returns:
        On how many images the target reached its confidence in the last epoch.

    Raises:
        LookalikeError: data or weights are missing, the model has no gradient, or the target is no class.
    """
    pin_arithmetic(run.plan.threads)
    settings = PatchSettings.model_validate(run.plan.patch)
    data, device = open_data(run), best_device(run.plan.runs_per_gpu)
    if settings.target >= data.n_classes:
        raise LookalikeError(f"patch.target is {settings.target}, but {run.dataset} has {data.n_classes} classes.")
    classifier = load_classifier(run, data)
    classifier.embed_on(device)
    images = open_images(data, data.training_rows(run), device)
    classifier.build_support(embed(classifier, images), run.seed_for("support"))
    patch, mask, reached = train_patch(_log_probs(run, classifier), images, settings, run.seed_for("patch"))
    write_tensors(run.folder / "patch.safetensors", {"patch": patch.cpu(), "mask": mask.cpu()})
    return f"the target reached its confidence on {reached:.0%} of the images"


def _log_probs(run: RunSpec, classifier: Classifier) -> Callable[[Tensor], Tensor]:
    """Normalised images -> log-probabilities, with a gradient."""

    def log_probs(images: Tensor) -> Tensor:
        queries = Embedded.unlabelled(classifier.embed(images).cpu())
        found = classifier.predict(queries, run.settings["modes"][0]).log_probs
        if not found.requires_grad and images.requires_grad:
            raise LookalikeError(f"patch.model {run.model} has no gradient to follow; name a model such as fc or nw.")
        return found

    return log_probs


def train_patch(
    log_probs: Callable[[Tensor], Tensor], images: Images, settings: PatchSettings, seed: int
) -> tuple[Tensor, Tensor, float]:
    """Train a patch.

    Args:
        log_probs: normalised images (1, C, H, W) -> (1, classes).
        images: to place it on.
        settings: of the study.
        seed: of start, order and places.

    Returns:
        Patch (C, s, s) in [0, 1], mask (s, s), and the share of the last epoch's images that reached the confidence.
    """
    made = torch.Generator().manual_seed(seed)
    first = images.raw(torch.zeros(1, dtype=torch.int64, device=images.device))
    mask = patch_mask(settings, first.shape[2], first.shape[3])
    side = mask.shape[0]
    colour = torch.rand(first.shape[1], generator=made)
    patch = colour[:, None, None].expand(-1, side, side).contiguous()
    scale = images.normalised(torch.ones_like(first)) - images.normalised(torch.zeros_like(first))
    step = 1 / scale.cpu()[0, :, :1, :1] ** 2  # of 1 in normalised units
    wanted, reached = math.log(settings.confidence), 0.0
    for epoch in range(settings.epochs):
        order = torch.randperm(len(images), generator=made)[: settings.images]
        hits = 0
        for row in order:
            image = images.raw(row[None].to(images.device))
            place = Place(made, settings.shape, side, first.shape[2], first.shape[3])
            for iteration in range(settings.iterations + 1):
                patch.requires_grad_(True)
                target = log_probs(images.normalised(place.put(image, patch, mask)))[0, settings.target]
                if float(target.detach()) >= wanted:
                    hits += 1
                    break
                if iteration == settings.iterations:
                    break
                (gradient,) = torch.autograd.grad(-target, patch)
                patch = (patch.detach() - step * gradient).clamp(0, 1)
            patch = patch.detach()
        reached = hits / len(order)
        log.info("patch epoch %d/%d: confident on %.0f %%", epoch + 1, settings.epochs, 100 * reached)
    return patch * mask, mask, reached


def patch_mask(settings: PatchSettings, height: int, width: int) -> Tensor:
    """(s, s) 1 where the patch is; s = 2 floor(sqrt(area / pi)) + 1 for a disk, floor(sqrt(area)) for a square.

    Raises:
        LookalikeError: the patch has no pixel.
    """
    area = math.floor(height * width * settings.area)
    if settings.shape == "square":
        mask = torch.ones(math.isqrt(area), math.isqrt(area))
    else:
        radius = math.floor(math.sqrt(area / math.pi))
        offset = torch.arange(-radius, radius + 1)
        mask = (offset[:, None] ** 2 + offset**2 <= radius**2).float() if radius else torch.zeros(0, 0)
    if not len(mask):
        raise LookalikeError(
            f"patch.area {settings.area} is less than a pixel of a {height} x {width} image; raise it."
        )
    return mask


class Place:
    """A random place and turn: whole degrees for a disk, right angles for a square."""

    def __init__(self, made: torch.Generator, shape: str, side: int, height: int, width: int) -> None:
        turns = torch.randint(360 if shape == "circle" else 4, (), generator=made)
        self.angle = math.radians(int(turns) * (1 if shape == "circle" else 90))
        self.top = int(torch.randint(height - side + 1, (), generator=made))
        self.left = int(torch.randint(width - side + 1, (), generator=made))

    def put(self, image: Tensor, patch: Tensor, mask: Tensor) -> Tensor:
        """Image (1, C, H, W) in [0, 1] with the patch (C, s, s) on it.

        Patch and mask are on the CPU, where the gradient of turning is the same every time.
        """
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        matrix = torch.tensor([[[cos, -sin, 0], [sin, cos, 0]]], dtype=patch.dtype, device=patch.device)
        both = torch.cat([patch * mask, mask[None]])[None]
        turned = F.grid_sample(both, F.affine_grid(matrix, list(both.shape), align_corners=False), align_corners=False)
        cover = turned[:, -1:]
        side = mask.shape[0]
        around = (
            self.left,
            image.shape[3] - self.left - side,
            self.top,
            image.shape[2] - self.top - side,
        )
        return image * (1 - F.pad(cover, around).to(image)) + F.pad(turned[:, :-1], around).to(image)


def patched(path: Path, shape: str, seed: int) -> Callable[[Tensor, Tensor], Tensor]:
    """What puts a patch on images (B, C, H, W) in [0, 1]; each image's place depends on its id and the seed alone.

    Raises:
        LookalikeError: the patch is missing or damaged.
    """
    stored = read_tensors(path)

    def change(images: Tensor, ids: Tensor) -> Tensor:
        patch, mask = stored["patch"], stored["mask"]
        side, (height, width) = mask.shape[0], images.shape[2:]
        changed = []
        for image, number in zip(images, ids.tolist(), strict=True):
            made = torch.Generator().manual_seed(derive_seed(seed, "patch", number))
            changed.append(Place(made, shape, side, height, width).put(image[None], patch, mask))
        return torch.cat(changed)

    return change
