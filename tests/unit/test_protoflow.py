"""The flow's exact inverse and bounds, mixtures against torch's distributions, the classifier through its stages."""

import math
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from conftest import tiny_study
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import distributions

from lookalike.backbones.build import make_backbone
from lookalike.backbones.dense_flow import DenseFlowBackbone
from lookalike.data.images import open_images
from lookalike.data.prepared import open_data
from lookalike.errors import LookalikeError
from lookalike.evaluation.evaluate import evaluate
from lookalike.methods.base import Embedded
from lookalike.methods.build import build_classifier
from lookalike.methods.protoflow import losses
from lookalike.methods.protoflow.classifier import Model, Settings, content_seeds
from lookalike.methods.protoflow.flow.dense_flow import DenseFlow, FlowShape
from lookalike.methods.protoflow.prototypes import Prototypes, component_log_prob
from lookalike.plan import Plan
from lookalike.settings import BackboneSettings
from lookalike.study import check_study
from lookalike.support.precompute import load_run, precompute_support
from lookalike.training.train import train

SMALL = FlowShape((2, 1), (1, 1), (8, 8), 2, 1, 4, 1, 4, 4, 1, 4)


def shaken(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """With every parameter away from where it starts: a fresh flow's couplings are the identity."""
    made = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in module.parameters():
            value += 0.1 * torch.randn(value.shape, generator=made)
    return module.eval()


def levels(count: int, *shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (count, *shape), generator=torch.Generator().manual_seed(seed))


@given(st.integers(1, 3), st.sampled_from([8, 16]), st.integers(0, 99))
@settings(deadline=None, max_examples=10)
@torch.no_grad()
def test_decoding_what_was_encoded_gives_the_very_image(channels: int, side: int, seed: int) -> None:
    flow = shaken(DenseFlow((channels, side, side), SMALL), seed)
    x = levels(3, channels, side, side, seed=seed)
    found = flow.encode(x, flow.draw_noises(3, torch.Generator().manual_seed(seed)))
    decoded = flow.decode(found.z, found.dropped)
    assert torch.equal(flow.to_pixels(decoded), x)
    assert float((decoded - (x + 0.5) / 256).abs().max()) <= 0.5 / 256 + 1e-5
    one = flow.encode(x[1:2], [noise[1:2] for noise in found.noises])
    torch.testing.assert_close(one.z, found.z[1:2], atol=1e-5, rtol=1e-4)  # whatever is beside it
    torch.testing.assert_close(one.ldj, found.ldj[1:2])


def test_the_log_determinant_is_that_of_the_derivative() -> None:
    """Of everything behind the dequantization, with latents, dropped halves and the bound's own terms."""
    flow = shaken(DenseFlow((1, 8, 8), FlowShape((1, 1), (1, 1), (8, 8), 2, 1, 4, 1, 4, 4, 1, 4))).double()
    x = levels(1, 1, 8, 8)
    noises = flow.draw_noises(1, torch.Generator().manual_seed(0))
    found = flow.encode(x, noises)
    z, _ = flow.transforms[0](x, noises[0])

    def forward(flat: torch.Tensor) -> torch.Tensor:
        value = flow.transforms[1](flat.view(1, 1, 8, 8))[0]
        parts = []
        for layer in flow.transforms[2:]:
            if type(layer).__name__ == "Transition":
                value, half, _ = layer(value)
                parts.append(half.flatten())
            elif type(layer).__name__ == "Squeeze":
                value = torch.nn.functional.pixel_unshuffle(value, 2)
            else:
                value = layer(value, [])[0]
        return torch.cat([value.flatten(), *parts])

    derivative = torch.autograd.functional.jacobian(forward, z.detach().flatten())
    dropped = torch.cat([half.flatten() for half in found.dropped])
    normal = distributions.Normal(0.0, 1.0).log_prob(dropped).sum()
    wanted = torch.linalg.slogdet(derivative)[1] + normal
    torch.testing.assert_close((found.ldj - found.parts[0])[0], wanted, atol=1e-6, rtol=1e-6)


def test_gradients_go_through_the_inverse() -> None:
    flow = shaken(DenseFlow((1, 8, 8), SMALL))
    latent = torch.zeros(1, *flow.out_shape, requires_grad=True)
    halves = [torch.zeros(1, *shape) for shape in flow.dropped_shapes()]
    flow.decode(latent, halves).sum().backward()
    assert float(latent.grad.abs().max()) > 0


@pytest.mark.parametrize(
    ("image", "shape", "message"),
    [
        ((3, 28, 28), FlowShape(), r"images of 28 x 28 pixels do not fit a flow of 3 blocks, .* nearest .* is 32 x 32"),
        ((1, 8, 8), FlowShape(), r"images of 8 x 8 pixels do not fit a flow of 3 blocks, .* is 16 x 16"),
        (
            (1, 8, 8),
            FlowShape((2, 1), (1, 1), (8, 8), 3),
            r"growth is 3, but couplings halve the channels; take an even",
        ),
    ],
)
def test_sizes_that_do_not_fit(image: tuple[int, int, int], shape: FlowShape, message: str) -> None:
    with pytest.raises(LookalikeError, match=message):
        DenseFlow(image, shape)


def test_values_that_are_no_levels() -> None:
    flow = DenseFlow((1, 8, 8), SMALL)
    noises = flow.draw_noises(1, torch.Generator())
    for wrong in (torch.full((1, 1, 8, 8), 256), torch.full((1, 1, 8, 8), -1), torch.rand(1, 1, 8, 8)):
        with pytest.raises(LookalikeError, match=r"a flow takes integers from 0 to 255, not"):
            flow.encode(wrong, noises)


@pytest.mark.parametrize("kind", ["diagonal", "isotropic", "per_channel"])
def test_mixtures_are_torchs(kind: str) -> None:
    torch.manual_seed(0)
    model = Prototypes(3, 2, (4, 2, 2), kind).double()
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
    made = torch.Generator().manual_seed(0)
    z, means = (1000 + torch.randn(*shape, generator=made) for shape in ((4, 512), (2, 3, 512)))
    log_vars = torch.zeros(2, 3, 512)
    wanted = component_log_prob(z.double(), means.double(), log_vars.double())
    assert float((component_log_prob(z, means, log_vars) - wanted).abs().max()) < 0.01


def test_samples_are_of_the_prototype() -> None:
    model = Prototypes(2, 2, (1, 2, 2))
    made = torch.Generator().manual_seed(0)
    with torch.no_grad():
        model.log_var.fill_(math.log(4))
    found = model.sample(1, 0, 20_000, made).flatten(1)
    torch.testing.assert_close(found.mean(0), model.mean[1, 0].detach(), atol=0.06, rtol=0)
    torch.testing.assert_close(found.std(0), torch.full((4,), 2.0), atol=0.06, rtol=0)
    cool = model.sample(1, 0, 20_000, made, temperature=0.5).flatten(1)
    torch.testing.assert_close(cool.std(0), torch.full((4,), 1.0), atol=0.03, rtol=0)
    near = (model.sample(1, 0, 20_000, made, within=1.0).flatten(1) - model.mean[1, 0]).abs()
    assert float(near.max().detach()) <= 2 + 1e-4
    assert torch.equal(model.sample(1, 0, 1, made, temperature=0).flatten(), model.mean[1, 0].detach())


def test_diversity_far_from_unit_variance_is_a_number() -> None:
    means = torch.randn(2, 3, 4928, generator=torch.Generator().manual_seed(0))
    for variance in (0.9, 1.1, 1e-6, 1e6):
        assert bool(losses.diversity_loss(means, torch.full_like(means, math.log(variance))).isfinite())
    assert float(losses.diversity_loss(means[:, :1], means[:, :1])) == 0


def protoflow_study(**changes: object) -> dict:
    entry = {
        "method": "protoflow",
        "backbone": {"name": "dense_flow_small"},
        "training": {"epochs": 2, "batch_size": 32, "optimizer": "adamw", "lr": 0.005, "clip_gradient": 100},
        "prototypes": {"components": 2},
        "losses": {"consistency": 2, "diversity": True},
        "inference": {"samples": 2},
        **changes,
    }
    return tiny_study(models={"protoflow": entry})


def plan_of(tiny: Plan, **changes: object) -> Plan:
    plan = check_study(protoflow_study(**changes), "tiny.yaml").plan(tiny.root)
    plan.write()
    return plan


def test_through_the_stages(tiny: Plan) -> None:
    run = plan_of(tiny).run("digits/protoflow/100/seed0")
    train(run)
    first = (run.folder / "model.safetensors").read_bytes()
    (run.folder / "run.json").unlink()
    train(run)
    assert (run.folder / "model.safetensors").read_bytes() == first
    precompute_support(run)
    evaluate(run, "posterior", "test")
    rows = pq.read_table(run.predictions("posterior", "test")).to_pandas()
    assert rows.bits_per_dim.between(3, 12).all()
    data, model, queries = load_run(run, "test")
    some = queries.rows(slice(0, 7))
    dims, width = 64, math.prod(model.backbone.flow.out_shape) + 1
    for number in range(7):
        joint = []
        for features in some.features[number].view(2, width).double():
            own = model.double().prototypes.weighted(features[None, :-1])[0]  # (C, K)
            joint.append(own.logsumexp(1) + features[-1])
        density = torch.stack(joint).logsumexp(0) - math.log(2)  # the mean of densities
        posterior = (density - density.logsumexp(0)).exp()
        assert rows.confidence[number] == pytest.approx(float(posterior.max()), abs=1e-4)
        bits = -(float(density.logsumexp(0)) - math.log(10)) / (dims * math.log(2))
        assert rows.bits_per_dim[number] == pytest.approx(bits, abs=1e-4)
    model.float()
    images = torch.from_numpy(data.images[data.rows("test")[:6]]).float()
    torch.testing.assert_close(model.embed(images)[2:4], model.embed(images[2:4]), atol=1e-4, rtol=1e-4)
    whole = torch.from_numpy(data.images[data.rows("test")]).long()
    with torch.no_grad():
        found = model.backbone.flow.encode(whole, model._noises_of(whole, 0))
        decoded = model.backbone.flow.decode(found.z, found.dropped)
    assert int((model.backbone.flow.to_pixels(decoded) != whole).sum()) == 0


def test_training_starts_from_the_data(tiny: Plan) -> None:
    run = plan_of(tiny).run("digits/protoflow/100/seed0")
    data = open_data(run)
    assert data.mean == [0.0]
    model = build_classifier(run, data)
    pool = open_images(data, data.training_rows(run))
    model.start_training(pool, torch.Generator().manual_seed(0), 32)
    inside = [m for m in model.modules() if type(m).__name__ == "ActNorm"]
    assert all(float(layer.initialized) == 1 for layer in inside)
    latents = model.backbone.feature_map(pool.take(torch.arange(len(pool)))).flatten(1)
    own = latents[pool.labels == 3]
    apart = torch.cdist(own, model.prototypes.mean[3]).min(1).values.mean()
    others = torch.cdist(own, model.prototypes.mean[[0, 1, 2]].flatten(0, 1)).min(1).values.mean()
    assert apart.item() < others.item()


def test_noise_depends_on_the_pixels_alone() -> None:
    images = levels(3, 1, 8, 8)
    seeds = content_seeds(images, 0)
    assert len(set(seeds)) == 3
    assert content_seeds(images.flip(0).float(), 0) == seeds[::-1]
    assert content_seeds(images, 1) != seeds
    images[0, 0, 7, 7] ^= 1
    assert content_seeds(images, 0)[0] != seeds[0]


def test_what_protoflow_needs(tmp_path: Path) -> None:
    settings = Settings(method="protoflow", backbone={"name": "dense_flow_small"})
    small = make_backbone(BackboneSettings(name="small_cnn"), (1, 8, 8))
    with pytest.raises(LookalikeError, match=r"protoflow needs an invertible network; write backbone: \{name: dense_"):
        Model(settings, small, 10)
    flow = make_backbone(BackboneSettings(name="dense_flow_small"), (1, 8, 8))
    assert isinstance(flow, DenseFlowBackbone)
    torch.save({"model": {"x": 1}}, tmp_path / "flow.pt")
    with pytest.raises(LookalikeError, match=r"flow.pt"):
        make_backbone(BackboneSettings(name="dense_flow_small", weights=str(tmp_path / "flow.pt")), (1, 8, 8))
    published = {f"module.{name}": value for name, value in shaken(flow.flow).state_dict().items()}
    torch.save(published, tmp_path / "flow.pt")
    again = make_backbone(BackboneSettings(name="dense_flow_small", weights=str(tmp_path / "flow.pt")), (1, 8, 8))
    assert all(torch.equal(value, again.flow.state_dict()[name]) for name, value in flow.flow.state_dict().items())
    model = Model(settings, flow, 10).eval()
    features = model.embed(levels(2, 1, 8, 8).float())
    assert model.predict(Embedded.unlabelled(features), "posterior").log_probs.shape == (2, 10)
