"""The flow's exact inverse and its bounds; the authors' files."""

import argparse
import pickle
from pathlib import Path

import pytest
import torch
from helpers.flows import SMALL, levels, shaken
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import distributions

from lookalike.backbones.build import make_backbone
from lookalike.backbones.flow.backbone import DenseFlowBackbone, content_seeds
from lookalike.backbones.flow.dense_flow import DenseFlow, FlowShape
from lookalike.contracts.settings import BackboneSettings
from lookalike.core.errors import LookalikeError
from lookalike.methods.protoflow.prototypes import GaussianPrototypes


@given(st.integers(1, 3), st.sampled_from([8, 16]), st.integers(0, 99))
@settings(deadline=None, max_examples=10)
@torch.no_grad()
def test_decoding_what_was_encoded_gives_the_very_image(channels: int, side: int, seed: int) -> None:
    flow = shaken(DenseFlow((channels, side, side), SMALL), seed)
    x = levels(3, channels, side, side, seed=seed)
    encoded = flow.encode(x, flow.draw_noises(3, torch.Generator().manual_seed(seed)))
    decoded = flow.decode(encoded.z, encoded.dropped)
    assert torch.equal(flow.to_pixels(decoded), x)
    assert float((decoded - (x + 0.5) / 256).abs().max()) <= 0.5 / 256 + 1e-5
    alone = flow.encode(x[1:2], [noise[1:2] for noise in encoded.noises])
    torch.testing.assert_close(alone.z, encoded.z[1:2], atol=1e-5, rtol=1e-4)  # whatever is beside it
    torch.testing.assert_close(alone.ldj, encoded.ldj[1:2], rtol=1e-6, atol=0)  # sums of another order


def test_the_log_determinant_is_that_of_the_derivative() -> None:
    """Of everything behind the dequantization, with latents, dropped halves and the bound's own terms."""
    flow = shaken(DenseFlow((1, 8, 8), FlowShape((1, 1), (1, 1), (8, 8), 2, 1, 4, 1, 4, 4, 1, 4))).double()
    x = levels(1, 1, 8, 8)
    noises = flow.draw_noises(1, torch.Generator().manual_seed(0))
    encoded = flow.encode(x, noises)
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
    dropped = torch.cat([half.flatten() for half in encoded.dropped])
    normal = distributions.Normal(0.0, 1.0).log_prob(dropped).sum()
    wanted = torch.linalg.slogdet(derivative)[1] + normal
    torch.testing.assert_close((encoded.ldj - encoded.parts[0])[0], wanted, atol=1e-6, rtol=1e-6)


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


def test_noise_depends_on_the_pixels_alone() -> None:
    images = levels(3, 1, 8, 8)
    seeds = content_seeds(images, 0)
    assert len(set(seeds)) == 3
    assert content_seeds(images.flip(0).float(), 0) == seeds[::-1]
    assert content_seeds(images, 1) != seeds
    images[0, 0, 7, 7] ^= 1
    assert content_seeds(images, 0)[0] != seeds[0]


def test_sixteen_bits_stay_inside_the_networks() -> None:
    """Under autocast couplings compute in bfloat16; what must invert and what must add up does not."""
    flow = shaken(DenseFlow((1, 8, 8), SMALL))
    x = levels(4, 1, 8, 8)
    noises = flow.draw_noises(4, torch.Generator().manual_seed(0))
    prototypes = GaussianPrototypes(3, 2, flow.out_shape)
    with torch.no_grad():
        exact = flow.encode(x, noises)
        with torch.autocast("cpu", torch.bfloat16):
            encoded = flow.encode(x, noises)
            decoded = flow.decode(encoded.z, encoded.dropped)
            densities = prototypes(encoded.z)
        assert not torch.equal(encoded.z, exact.z)
        assert encoded.z.dtype == densities.dtype == torch.float32
        assert torch.equal(flow.to_pixels(decoded), x)
        torch.testing.assert_close(densities, prototypes(encoded.z))
        torch.testing.assert_close(encoded.ldj, exact.ldj, rtol=2e-2, atol=1)


def published(flow: DenseFlowBackbone, folder: Path) -> Path:
    """A folder as the authors' training leaves it."""
    (folder / "check").mkdir(parents=True)
    state = {f"module.{name}": value for name, value in flow.flow.state_dict().items()}
    torch.save({"current_epoch": 3, "model": state, "optimizer": {"state": {}}}, folder / "check" / "checkpoint.pt")
    shape = flow.flow.shape
    arguments = argparse.Namespace(
        block_conf=list(shape.units), layers_conf=list(shape.modules), layer_mid_chnls=list(shape.mid), growth_rate=4
    )
    (folder / "args.pickle").write_bytes(pickle.dumps(arguments))
    return folder / "check" / "checkpoint.pt"


def test_published_flows(tmp_path: Path) -> None:
    flow = shaken(make_backbone(BackboneSettings(name="dense_flow_small"), (1, 8, 8)))
    path = published(flow, tmp_path / "authors")
    settings = BackboneSettings(name="dense_flow_small", weights=str(path))
    again = make_backbone(settings, (1, 8, 8))
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in flow.state_dict().items())
    with pytest.raises(LookalikeError, match=r"base_dist.loc is 1 x 4 x 1 x 1, not 1 x 12 x 1 x 1; .*, and \d+ more; "):
        make_backbone(settings, (3, 8, 8))
    arguments = argparse.Namespace(block_conf=[6, 4, 1], layers_conf=[5, 6, 20], growth_rate=10)
    (path.parent.parent / "args.pickle").write_bytes(pickle.dumps(arguments))
    with pytest.raises(LookalikeError, match=r"args.pickle has block_conf \[6, 4, 1\], this flow \[2, 1\]"):
        make_backbone(settings, (1, 8, 8))
    (path.parent.parent / "args.pickle").write_bytes(pickle.dumps(print))
    with pytest.raises(LookalikeError, match=r"args.pickle is no file of settings \(it names builtins.print\)"):
        make_backbone(settings, (1, 8, 8))
    (path.parent.parent / "args.pickle").write_bytes(pickle.dumps([1]))
    with pytest.raises(LookalikeError, match="it holds a list"):
        make_backbone(settings, (1, 8, 8))
