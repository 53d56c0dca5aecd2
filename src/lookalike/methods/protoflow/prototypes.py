"""Prototypes: class-conditional mixtures of normals over latents, all classes and components at once.

Carmichael, Redgrave, Gonzalez Cedre and Scheirer, ECCV 2024 (arXiv 2407.12200) (docs/algorithms/protoflow.md, sections
2 and 3). A component is a "prototypical distribution". There is one meaning of variance here, sigma^2, kept as its
logarithm; the original's density uses the root of its parameter v, its sampler v itself: `load_checkpoint` takes
sigma^2 = sqrt(v).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lookalike.core.errors import LookalikeError
from lookalike.core.finite import check_finite, may_wait
from lookalike.core.parameter_cache import ParameterCache
from lookalike.methods.protoflow import Likelihood, PrototypeKind

LOG_2PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class Expanded:
    """The squares of the densities, expanded around the mean of the prototypes.

    float32 keeps few digits of differences of large sums; around the mean, sums are small.

    Attributes:
        centre: (D,).
        quadratic, linear: (C K, D) factors of the squares of latents and of latents.
        constant: (C, K) what does not depend on latents.
    """

    centre: Tensor
    quadratic: Tensor
    linear: Tensor
    constant: Tensor

    @classmethod
    def of(cls, means: Tensor, log_vars: Tensor) -> Expanded:
        """Of means and log sigma^2, (C, K, D) each."""
        centre = means.detach().mean((0, 1))
        precision = (-log_vars).exp()
        linear = (means - centre) * precision
        constant = ((means - centre) * linear).sum(2) + log_vars.sum(2) + means.shape[2] * LOG_2PI
        return cls(centre, (-0.5 * precision).flatten(0, 1), linear.flatten(0, 1), -0.5 * constant)

    def log_prob(self, z: Tensor) -> Tensor:
        """(B, C, K) log-densities of latents (B, D), nats: two products of matrices."""
        with torch.autocast(z.device.type, enabled=False):
            return self._log_prob(z.to(self.centre))

    def _log_prob(self, z: Tensor) -> Tensor:
        z = z - self.centre
        linear = z @ self.linear.T
        squares = z.square() if torch.is_grad_enabled() else z.square_()  # new pages cost as much as the product
        products = torch.addmm(linear, squares, self.quadratic.T)
        return products.view(-1, *self.constant.shape) + self.constant


def component_log_prob(z: Tensor, means: Tensor, log_vars: Tensor) -> Tensor:
    """Log-density of latents under each component.

    Args:
        z: (B, D).
        means: (C, K, D).
        log_vars: (C, K, D) log sigma^2.

    Returns:
        (B, C, K) nats.
    """
    return Expanded.of(means, log_vars).log_prob(z)


class GaussianPrototypes(nn.Module):
    """Class-conditional mixtures of normals: K prototypes of each of C classes over latents (ECCV 2024, section 3).

    Args:
        classes: Number of classes C.
        components: Prototypes K of each class.
        latent: Channels, height and width of the latents.
        kind: Variances that are free: every number's (`diagonal`), one of each component (`isotropic`), or one of each
            component and channel (`per_channel`); with the last, means are one of each channel too.

    Example:
        >>> import torch
        >>> from lookalike import GaussianPrototypes
        >>> prototypes = GaussianPrototypes(classes=3, components=2, latent=(4, 1, 1))
        >>> log_densities = prototypes(torch.randn(5, 4, 1, 1))  # log p(z | class), nats
        >>> log_densities.shape, log_densities.softmax(1).sum(1).allclose(torch.ones(5))
        (torch.Size([5, 3]), True)
    """

    def __init__(
        self, classes: int, components: int, latent: tuple[int, int, int], kind: PrototypeKind = "diagonal"
    ) -> None:
        super().__init__()
        self.kind, self.latent = kind, latent
        channels, dims = latent[0], math.prod(latent)
        free = {"diagonal": dims, "isotropic": 1, "per_channel": channels}[kind]
        self.mean = nn.Parameter(torch.randn(classes, components, channels if kind == "per_channel" else dims))
        self.log_var = nn.Parameter(torch.zeros(classes, components, free))
        self.logits = nn.Parameter(torch.zeros(classes, components))
        self._kept = ParameterCache()

    def means(self) -> Tensor:
        """(C, K, D)."""
        return self._spread(self.mean)

    def log_vars(self) -> Tensor:
        """(C, K, D) log sigma^2."""
        return self._spread(self.log_var)

    def _spread(self, values: Tensor) -> Tensor:
        """One number a channel, or one in all, to all numbers of a latent."""
        channels, height, width = self.latent
        if values.shape[2] == channels and self.kind == "per_channel":
            return values.repeat_interleave(height * width, 2)
        return values.expand(-1, -1, channels * height * width)

    def gathered(self, values: Tensor, parameter: Tensor) -> Tensor:
        """(K, D) as the free numbers of a parameter (C, K, free): means over those that share one."""
        if parameter.shape[2] == values.shape[1]:
            return values
        return values.view(len(values), parameter.shape[2], -1).mean(2)

    def weighted(self, z: Tensor) -> Tensor:
        """(B, C, K) log of weight times density of latents (B, ...)."""
        expanded = self._kept.get("expanded", self._expanded, self.mean, self.log_var)
        return expanded.log_prob(z.flatten(1)) + self.logits.log_softmax(1)

    def _expanded(self, mean: Tensor, log_var: Tensor) -> Expanded:
        return Expanded.of(self._spread(mean), self._spread(log_var))

    def forward(self, z: Tensor, likelihood: Likelihood = "total") -> Tensor:
        """(B, C) log p(z | class); classes are equally likely, so that their soft-max is the posterior.

        Raises:
            NotFiniteError: A latent is NaN or infinite, or so far away that its density is.
        """
        log_densities = class_log_prob(self.weighted(z), likelihood)
        if may_wait(z, self.training):
            check_finite(z, "latents", remedy="look at the flow and its input")
            check_finite(log_densities, "log-densities", remedy="the latents are too large")
        return log_densities

    @torch.no_grad()
    def sample(
        self,
        label: int,
        component: int,
        count: int,
        generator: torch.Generator,
        temperature: float = 1.0,
        within: float | None = None,
    ) -> Tensor:
        """(count, *latent) latents of a prototype.

        Args:
            label: Class.
            component: Component of the class.
            count: How many.
            generator: Source of randomness.
            temperature: Factor of the standard deviation; 0 gives the mean.
            within: Standard deviations that no number leaves; unlimited when left out.
        """
        shape = (count, math.prod(self.latent))
        noise = torch.randn(shape, generator=generator, device=generator.device).to(self.mean)
        if within is not None:  # by the inverse distribution: no draw is thrown away
            edge = math.erf(within / math.sqrt(2))
            uniform = torch.rand(shape, generator=generator, device=generator.device).to(self.mean)
            noise = math.sqrt(2) * torch.erfinv((2 * uniform - 1) * edge)
        mean, log_var = self.means()[label, component], self.log_vars()[label, component]
        return (mean + temperature * (log_var / 2).exp() * noise).view(count, *self.latent)

    def load_checkpoint(self, state: dict[str, Tensor]) -> None:
        """Take the mixtures of a checkpoint of the authors (`gmms.<class>.*`).

        Raises:
            LookalikeError: Number of classes, components or dimensions differ.
        """
        tensors = {name: value.clone() for name, value in self.state_dict().items()}
        labels = {int(name.split(".")[1]) for name in state if name.startswith("gmms.")}
        if labels and len(labels) != len(self.mean):
            raise LookalikeError(
                f"the checkpoint has mixtures of {len(labels)} classes, the data set {len(self.mean)}."
            )
        try:
            for label in range(len(self.mean)):
                for name, value in _one_class(state, f"gmms.{label}.", self.kind).items():
                    tensors[name][label] = value.view_as(tensors[name][label])
        except (KeyError, RuntimeError) as error:
            raise LookalikeError(
                f"the checkpoint's mixtures do not fit {len(self.mean)} classes of {self.mean.shape[1]} components "
                f"({str(error).splitlines()[0]})."
            ) from None
        self.load_state_dict(tensors)


def _one_class(state: dict[str, Tensor], prefix: str, kind: PrototypeKind) -> dict[str, Tensor]:
    if kind == "diagonal":
        # The density divides by the root of v, so that the root is the variance.
        log_var = state[f"{prefix}var"].clamp_min(torch.finfo(torch.float32).tiny).log() / 2
        return {"mean": state[f"{prefix}mu"], "log_var": log_var, "logits": state[f"{prefix}pi"]}
    if kind == "isotropic":
        deviation = torch.nn.functional.softplus(state[f"{prefix}inv_cov_stds"])
        return {"mean": state[f"{prefix}mu"], "log_var": 2 * deviation.log(), "logits": state[f"{prefix}weights"]}
    count = len(state[f"{prefix}pi"])
    parts = [[state[f"{prefix}gaussians.{k}.{name}"].flatten() for k in range(count)] for name in ("loc", "log_scale")]
    return {"mean": torch.stack(parts[0]), "log_var": 2 * torch.stack(parts[1]), "logits": state[f"{prefix}pi"]}


def class_log_prob(weighted: Tensor, likelihood: Likelihood) -> Tensor:
    """(..., C) of (..., C, K): all components together, or the best one."""
    return weighted.logsumexp(-1) if likelihood == "total" else weighted.amax(-1)


def responsibilities(weighted: Tensor) -> Tensor:
    """(..., C, K) share of each component in its class: this looks like that prototype, 0.83."""
    return weighted.softmax(-1)


def drop_components(weighted: Tensor, share: float, uniform: Tensor) -> Tensor:
    """Components left out at random while training, the others raised in proportion.

    Args:
        weighted: (..., K) log of weight times density.
        share: Share that is left out, below 1.
        uniform: (..., K) in [0, 1).
    """
    return torch.where(uniform < share, torch.finfo(weighted.dtype).min, weighted - math.log1p(-share))
