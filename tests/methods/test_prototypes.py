"""Gaussian prototypes: mixtures against torch's distributions, where they start, what pushes them apart."""

import math

import pytest
import torch
from torch import distributions

from lookalike.methods.protoflow import losses
from lookalike.methods.protoflow.initialisation import init_prototypes
from lookalike.methods.protoflow.prototypes import GaussianPrototypes, component_log_prob


@pytest.mark.parametrize("kind", ["diagonal", "isotropic", "per_channel"])
def test_mixtures_are_torchs(kind: str) -> None:
    torch.manual_seed(0)
    model = GaussianPrototypes(3, 2, (4, 2, 2), kind).double()
    with torch.no_grad():
        model.log_var.normal_(0, 0.5)
        model.logits.normal_()
    z = torch.randn(5, 4, 2, 2).double()
    for label in range(3):
        normal = distributions.Normal(model.means()[label], (model.log_vars()[label] / 2).exp())
        mixture = distributions.MixtureSameFamily(
            distributions.Categorical(logits=model.logits[label]), distributions.Independent(normal, 1)
        )
        torch.testing.assert_close(model(z)[:, label], mixture.log_prob(z.flatten(1)))
    best = model.weighted(z).amax(2)
    torch.testing.assert_close(model(z, "max"), best)


def test_far_latents_keep_their_digits() -> None:
    """Squares of large numbers leave no digits in float32 unless both sides move to the middle first."""
    generator = torch.Generator().manual_seed(0)
    z, means = (1000 + torch.randn(*shape, generator=generator) for shape in ((4, 512), (2, 3, 512)))
    log_vars = torch.zeros(2, 3, 512)
    wanted = component_log_prob(z.double(), means.double(), log_vars.double())
    assert float((component_log_prob(z, means, log_vars) - wanted).abs().max()) < 0.01


def test_samples_are_of_the_prototype() -> None:
    model = GaussianPrototypes(2, 2, (1, 2, 2))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        model.log_var.fill_(math.log(4))
    samples = model.sample(1, 0, 20_000, generator).flatten(1)
    torch.testing.assert_close(samples.mean(0), model.mean[1, 0].detach(), atol=0.06, rtol=0)
    torch.testing.assert_close(samples.std(0), torch.full((4,), 2.0), atol=0.06, rtol=0)
    cool = model.sample(1, 0, 20_000, generator, temperature=0.5).flatten(1)
    torch.testing.assert_close(cool.std(0), torch.full((4,), 1.0), atol=0.03, rtol=0)
    near = (model.sample(1, 0, 20_000, generator, within=1.0).flatten(1) - model.mean[1, 0]).abs()
    assert float(near.max().detach()) <= 2 + 1e-4
    assert torch.equal(model.sample(1, 0, 1, generator, temperature=0).flatten(), model.mean[1, 0].detach())


def test_expectation_maximisation_starts_variances_and_weights() -> None:
    prototypes = GaussianPrototypes(2, 2, (3, 1, 2))
    generator = torch.Generator().manual_seed(0)
    latents = torch.cat(
        [torch.randn(60, 6, generator=generator) * 0.2 + 5, torch.randn(20, 6, generator=generator) - 5]
    )
    labels = torch.zeros(80, dtype=torch.int64)
    labels[::2] = 1
    init_prototypes(prototypes, latents, labels, generator, fit=True)
    for label in (0, 1):
        order = prototypes.mean[label].mean(1).argsort()
        low, high = (
            latents[(labels == label) & (latents.mean(1) < 0)],
            latents[(labels == label) & (latents.mean(1) > 0)],
        )
        torch.testing.assert_close(prototypes.mean[label, order[0]], low.mean(0), atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(
            prototypes.log_var[label, order[1]].exp(), high.var(0, correction=0), atol=1e-3, rtol=1e-2
        )
        torch.testing.assert_close(
            prototypes.logits[label].softmax(0)[order[0]], torch.tensor(0.25), atol=1e-3, rtol=1e-3
        )
    shared = GaussianPrototypes(2, 2, (3, 1, 2), "per_channel")
    init_prototypes(shared, latents, labels, generator, fit=True)
    assert shared.mean.shape == (2, 2, 3)
    assert bool(torch.isfinite(shared.log_var).all())


def test_latents_that_never_change_start_prototypes() -> None:
    latents = torch.randn(400, 8, generator=torch.Generator().manual_seed(0))
    latents[:, ::2] = torch.tensor([3.0, 20.0, 50.0, 60.0])
    prototypes = GaussianPrototypes(1, 2, (8, 1, 1))
    init_prototypes(prototypes, latents, torch.zeros(400).long(), torch.Generator().manual_seed(0), fit=True)
    assert bool(torch.isfinite(prototypes.log_var).all())
    torch.testing.assert_close(prototypes.mean[0, :, ::2], latents[:2, ::2])


def test_diversity_far_from_unit_variance_is_a_number() -> None:
    means = torch.randn(2, 3, 4928, generator=torch.Generator().manual_seed(0))
    for variance in (0.9, 1.1, 1e-6, 1e6):
        assert bool(losses.diversity_loss(means, torch.full_like(means, math.log(variance))).isfinite())
    assert float(losses.diversity_loss(means[:, :1], means[:, :1])) == 0


def test_diversity_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each pair by determinants in linear space; with little memory a few classes at once."""
    generator = torch.Generator().manual_seed(0)
    means, log_vars = (
        torch.randn(5, 3, 4, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(2)
    )
    expected = []
    for label in range(5):
        for i, j in ((0, 1), (0, 2), (1, 2)):
            first, second = log_vars[label, i].exp(), log_vars[label, j].exp()
            both = (first + second) / 2
            overlap = (first.prod() * second.prod()) ** 0.25 / both.prod() ** 0.5
            apart = ((means[label, i] - means[label, j]) ** 2 / both).sum() / 8
            expected.append(1 - (overlap ** (1 / 4)) * (-apart / 4).exp())
    mean = -torch.stack(expected).mean()
    for most in (2**24, 24):
        monkeypatch.setattr(losses, "MOST_NUMBERS", most)
        loss = losses.diversity_loss(means, log_vars)
        torch.testing.assert_close(loss, mean)
        for gradient, expected_gradient in zip(
            *(torch.autograd.grad(x, (means, log_vars), retain_graph=True) for x in (loss, mean)), strict=True
        ):
            torch.testing.assert_close(gradient, expected_gradient)
