"""How plausible counterfactuals are: autoencoders, the scores made of them, and the search to compare with.

Scores of Van Looveren and Klaise (arXiv 1907.02584), as the Applied Intelligence paper uses them for memory images; the
rival is their prototype-guided search, which changes the query itself. Every score is of one image: the original takes
norms over whole batches, which its golden numbers have beside ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lookalike.core.determinism import make_generator
from lookalike.core.seeds import derive_seed

TINY = 1e-8
BATCH, RATE = 32, 1e-3
BETA, THETA = 0.1, 100.0  # weights of the L1 norm, and of the distance from the prototype
START_RATE, LARGEST_GRADIENT = 0.1, 1000.0


class AutoEncoder(nn.Module):
    """Three 3 x 3 convolutions to one channel at half the size, and three back.

    Args:
        channels: Channels of the images.
    """

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.encoder = _Half(channels, 1, nn.MaxPool2d(2))
        self.decoder = _Half(1, channels, nn.Upsample(scale_factor=2))

    def forward(self, images: Tensor) -> Tensor:
        """Reconstructions (B, C, H, W)."""
        reconstructions: Tensor = self.decoder(self.encoder(images))
        odd = reconstructions.shape != images.shape  # halving loses a row or column of an odd number
        return F.interpolate(reconstructions, images.shape[2:]) if odd else reconstructions


class _Half(nn.Module):
    """Encoder or decoder: two convolutions with ReLU, a change of size, a third convolution."""

    def __init__(self, inputs: int, outputs: int, resize: nn.Module) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 16, 3, padding=1)
        self.conv3 = nn.Conv2d(16, outputs, 3, padding=1)
        self.resize = resize

    def forward(self, images: Tensor) -> Tensor:
        """(B, outputs, h, w)."""
        outputs: Tensor = self.conv3(self.resize(F.relu(self.conv2(F.relu(self.conv1(images))))))
        return outputs


def train_autoencoder(load: Callable[[Tensor], Tensor], rows: Tensor, epochs: int, seed: int) -> AutoEncoder:
    """Adam on the mean squared error, batches of 32.

    Args:
        load: Rows -> normalised images (n, C, H, W), on the device to train on.
        rows: (N,) of the images, at least one.
        epochs: Passes over them.
        seed: Seed of weights and order.
    """
    first = load(rows[:1])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "weights"))
        network = AutoEncoder(first.shape[1]).to(first.device)
    optimizer = torch.optim.Adam(network.parameters(), RATE)
    for epoch in range(epochs):
        order = torch.randperm(len(rows), generator=make_generator(derive_seed(seed, "order", epoch)))
        for batch in rows[order.to(rows.device)].split(BATCH):
            images = load(batch)
            optimizer.zero_grad()
            F.mse_loss(network(images), images).backward()
            optimizer.step()
    return network.eval().requires_grad_(False)


@dataclass(frozen=True)
class Plausibility:
    """Scores of counterfactual images x from four norms of each; any of shape (B,).

    Lower IM1 and IM2 are better, higher IIM1.

    Attributes:
        new: |x - AE_new(x)|, the error of the autoencoder of the class that the image gets.
        old: |x - AE_old(x)|, that of the query's class.
        gap: |AE_new(x) - AE_full(x)|.
        size: |x|.
    """

    new: Tensor
    old: Tensor
    gap: Tensor
    size: Tensor

    @property
    def im1(self) -> Tensor:
        """Whether the image is nearer to its new class than to the old one."""
        return self.new / (self.old + TINY)

    @property
    def iim1(self) -> Tensor:
        """The inverse ratio."""
        return self.old / (self.new + TINY)

    @property
    def im2(self) -> Tensor:
        """Whether the new class alone draws the image as all the data does."""
        return self.gap / (self.size + TINY)


def plausibility(images: Tensor, new: Tensor, old: Tensor, full: Tensor) -> Plausibility:
    """Norms for the scores of every image.

    Args:
        images: (B, C, H, W) counterfactual images.
        new: (B, C, H, W) reconstructions by the autoencoder of the class that each image gets.
        old: Distance under the autoencoder of its query's class.
        full: Distance under the autoencoder of all classes.
    """
    return Plausibility(_norm(images - new), _norm(images - old), _norm(new - full), _norm(images))


def _norm(images: Tensor) -> Tensor:
    return images.flatten(1).double().norm(dim=1)


def shrink(points: Tensor, start: Tensor, low: float, high: float, beta: float = BETA) -> Tensor:
    """Shrinkage of points around where they started: what moved by no more than beta goes back.

    Each side is cut at its own end of the value range only, and what goes back is not cut at all, as in the original.
    """
    moved = points - start
    up, down = (points - beta).clamp(max=high), (points + beta).clamp(min=low)
    return torch.where(moved > beta, up, torch.where(moved < -beta, down, start))


def momentum(image: Tensor, before: Tensor, step: int, low: float, high: float) -> Tensor:
    """FISTA's next search point: beyond the new image by step / (step + 3) of its last move, cut to the value range."""
    return (image + step / (step + 3) * (image - before)).clamp(low, high)


def distance_terms(images: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """L1 and squared L2 (B,) of what changed."""
    change = (images - start).flatten(1)
    return change.abs().sum(1), change.square().sum(1)


def prototype_loss(codes: Tensor, prototypes: Tensor, theta: float = THETA) -> Tensor:
    """Theta times the squared distance (B,) of codes (B, ...) from prototypes (B, ...)."""
    return theta * (codes - prototypes).flatten(1).square().sum(1)


def closest_prototypes(codes: Tensor, prototypes: Tensor, allowed: Tensor, whole_batch: bool = False) -> Tensor:
    """(B,) class of the nearest allowed prototype of each row.

    Args:
        codes: (B, ...) of the queries.
        prototypes: (C, ...) one a class.
        allowed: (B, C) which may be chosen.
        whole_batch: One class for all rows, by the sum of their distances, as the original chooses it; `allowed` is
            then that of the first row.
    """
    distances = torch.cdist(codes.flatten(1), prototypes.flatten(1)).square()  # (B, C)
    if whole_batch:
        distances, allowed = distances.sum(0).expand_as(distances), allowed[:1]
    return distances.masked_fill(~allowed, torch.inf).argmin(1)


def trust_score(codes: Tensor, original: Tensor, counterfactual: Tensor) -> Tensor:
    """(B,) distance from the old class's prototype over distance from the new one's; higher is better."""
    return (codes - original).flatten(1).norm(dim=1) / (codes - counterfactual).flatten(1).norm(dim=1)


@dataclass(frozen=True)
class Counterfactuals:
    """Counterfactuals of a search.

    Attributes:
        images: (B, C, H, W); the query where none was found.
        classes: (B,) of the images; the query's own where none was found.
        found: (B,) bool.
    """

    images: Tensor
    classes: Tensor
    found: Tensor


def search_counterfactuals(
    classify: Callable[[Tensor], Tensor],
    encode: Callable[[Tensor], Tensor],
    queries: Tensor,
    predicted: Tensor,
    prototypes: Tensor,
    value_range: tuple[float, float],
    iterations: int = 1000,
    rate: float = START_RATE,
    beta: float = BETA,
    theta: float = THETA,
) -> Counterfactuals:
    """The nearest image on the way from a query to a prototype that the model gives another class.

    FISTA on beta L1 + L2^2 + theta |encode(x) - prototype|^2, all rows at once. The original repeats the same search
    twice (its outer rounds differ in a constant that no loss uses); once gives the same images.

    Args:
        classify: Function of images that gives classes (B,).
        encode: Function of images that gives codes, differentiable.
        queries: Images (B, C, H, W).
        predicted: Classes (B,) of the queries.
        prototypes: Codes (B, ...), one for each query.
        value_range: Lowest and highest value of a pixel.
        iterations: Number T of steps.
        rate: First step size; it falls as sqrt(1 - i / T).
        beta: Weight of the absolute distance.
        theta: Weight of the distance from the prototype.
    """
    low, high = value_range
    image, point = queries.clone(), queries.clone()
    best, classes = queries.clone(), predicted.clone()
    least = torch.full((len(queries),), torch.inf, device=queries.device)
    for step in range(iterations):
        now = classify(image)
        l1, l2 = distance_terms(image, queries)
        better = (now != predicted) & (l2 + beta * l1 < least)
        least = torch.where(better, l2 + beta * l1, least)
        best[better], classes[better] = image[better], now[better]
        with torch.enable_grad():
            moving = point.detach().requires_grad_(True)
            l1, l2 = distance_terms(moving, queries)
            loss = beta * l1 + l2 + prototype_loss(encode(moving), prototypes, theta)
            (gradient,) = torch.autograd.grad(loss.sum(), moving)
        size = rate * (1 - step / iterations) ** 0.5
        point = point - size * gradient.clamp(-LARGEST_GRADIENT, LARGEST_GRADIENT)
        after = shrink(point, queries, low, high, beta)
        point, image = momentum(after, image, step + 1, low, high), after
    return Counterfactuals(best, classes, least < torch.inf)
