"""CHMNet: against loops over taps and cells, and what must hold of any maps."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from lookalike.core.errors import LookalikeError
from lookalike.core.tensors import read_weights
from lookalike.methods.chm_corr import KernelKind, convolution, kernels, network
from lookalike.methods.chm_corr.settings import CHMCorrSettings
from lookalike.methods.chm_corr.similarity import attention_mask, point_masks, target_cosines
from lookalike.methods.reranking import transfer
from lookalike.methods.reranking.patches import Patches, cell_centres, cells_of, match_patches
from lookalike.methods.reranking.warps import warp_images


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def correlate_4d_by_taps(x: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    half = kernel.shape[0] // 2
    padded = torch.nn.functional.pad(x, (half,) * 8)
    correlation = torch.zeros_like(x)
    a, b, c, d = x.shape[1:]
    for i, j, k, m in itertools.product(range(kernel.shape[0]), repeat=4):
        correlation += kernel[i, j, k, m] * padded[:, i : i + a, j : j + b, k : k + c, m : m + d]
    return correlation


@pytest.mark.parametrize("sides", [(4, 4, 4, 4), (7, 7, 7, 7), (6, 8, 7, 9), (3, 7, 7, 7)])
def test_4d_correlation_tap_by_tap(sides: tuple[int, ...]) -> None:
    x, kernel = random(2, *sides), random(5, 5, 5, 5, seed=1)
    torch.testing.assert_close(
        convolution.correlate_4d(x, kernel), correlate_4d_by_taps(x, kernel), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize(("side", "longest"), [(3, 40), (7, 40), (7, 0)])
@pytest.mark.parametrize("kind", ["psi", "iso", "full"])
def test_6d_correlation_offset_by_offset(
    kind: KernelKind, side: int, longest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convolution, "LONGEST_PRODUCT", longest)
    x = random(2, 3, 3, *(side,) * 4)
    groups = kernels.SCALE_GROUPS[kind]
    weights = random(len(groups), 5, 5, 5, 5, seed=1)
    wanted = torch.zeros_like(x)
    for kernel, cells in zip(weights, groups, strict=True):
        for cell, p, q in itertools.product(cells, range(3), range(3)):
            at_p, at_q = p + cell // 3 - 1, q + cell % 3 - 1
            if 0 <= at_p < 3 and 0 <= at_q < 3:
                wanted[:, p, q] += correlate_4d_by_taps(x[:, at_p, at_q], kernel)
    torch.testing.assert_close(convolution.correlate_6d(x, weights, groups), wanted, atol=1e-3, rtol=1e-4)
    assert sorted(cell for cells in groups for cell in cells) == list(range(9))


def test_all_forms_have_the_same_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    """The direct form, transforms by matrices, and fast Fourier transforms."""
    x, kernel = random(1, 7, 7, 7, 7).requires_grad_(), random(5, 5, 5, 5, seed=1).requires_grad_()
    gradients = []
    for smallest, longest in ((100, 0), (1, 100), (1, 0)):
        monkeypatch.setattr(convolution, "SMALLEST_TRANSFORMED", smallest)
        monkeypatch.setattr(convolution, "LONGEST_PRODUCT", longest)
        out = convolution.correlate_4d(x, kernel)
        gradients.append(torch.autograd.grad((out * random(*out.shape, seed=2)).sum(), (x, kernel)))
    for direct, *others in zip(*gradients, strict=True):
        for other in others:
            torch.testing.assert_close(other, direct, atol=1e-3, rtol=1e-3)


def test_shared_weights_are_as_symmetric_as_geometry() -> None:
    for kind in ("psi", "iso"):
        dense = kernels.spread(random(55 if kind == "psi" else 15), kernels.tap_classes(kind))
        torch.testing.assert_close(dense.permute(2, 3, 0, 1), dense)  # source and target exchanged
        torch.testing.assert_close(dense.rot90(1, (0, 1)).rot90(1, (2, 3)), dense)
        torch.testing.assert_close(dense.flip(0, 2), dense)
    weight = random(55).abs()
    assert float(kernels.spread(weight, kernels.tap_classes("psi")).sum()) == pytest.approx(
        float(weight.sum()), rel=1e-5
    )


def test_correlation_cell_by_cell() -> None:
    """Against nine products of pyramids resized afterwards."""
    chmnet = network.CHMNet("psi", 8, 4).requires_grad_(False)
    maps = random(2, 8, 5, 5)
    correlation = chmnet.correlate(chmnet.pyramid(maps[:1]), chmnet.pyramid(maps[1:]))[0]
    for i, j in itertools.product(range(3), range(3)):
        levels = []
        for level, image in ((i, maps[:1]), (j, maps[1:])):
            side = network.level_sides(5)[level]
            resized = torch.nn.functional.interpolate(image, (side, side), mode="bilinear", align_corners=True)
            levels.append(torch.nn.functional.normalize(chmnet.conv2ds[level](resized)[0].flatten(1), dim=0))
        a, b = network.level_sides(5)[i], network.level_sides(5)[j]
        product = (levels[0].T @ levels[1]).view(1, a, a, b, b)
        by_target = torch.nn.functional.interpolate(
            product[0].flatten(0, 1)[None], (5, 5), mode="bilinear", align_corners=True
        )
        by_source = torch.nn.functional.interpolate(
            by_target.view(1, a, a, 25).permute(0, 3, 1, 2), (5, 5), mode="bilinear", align_corners=True
        )
        wanted = by_source[0].view(5, 5, 5, 5).permute(2, 3, 0, 1)
        torch.testing.assert_close(correlation[i, j], wanted.clamp_min(0), atol=1e-5, rtol=1e-4)


def test_pairs_do_not_depend_on_each_other() -> None:
    chmnet = network.CHMNet("psi", 8, 4).requires_grad_(False)
    maps = random(4, 8, 4, 4).relu()
    source, targets = chmnet.pyramid(maps[:1]), chmnet.pyramid(maps[1:])
    together = chmnet(source, targets)
    for k in range(3):
        torch.testing.assert_close(chmnet(source, targets[k : k + 1])[0], together[k], atol=1e-5, rtol=1e-4)
    blank = chmnet(chmnet.pyramid(torch.zeros(1, 8, 4, 4)), targets)
    assert torch.isfinite(blank).all()


def test_maps_that_are_not_square_are_refused() -> None:
    with pytest.raises(LookalikeError, match=r"feature maps are 4 x 5, but matching at several scales needs square"):
        network.CHMNet("psi", 8, 4).pyramid(random(1, 8, 4, 5))


@given(st.lists(st.floats(-1, 1, width=32), min_size=2, max_size=2), st.integers(2, 15))
def test_every_point_lies_in_a_cell(point: list[float], side: int) -> None:
    cell = int(cells_of(torch.tensor(point), side))
    assert 0 <= cell < side**2
    middle = cell_centres(side)[cell]
    assert (middle - torch.tensor(point)).abs().max() <= 1 / side + 1e-6
    assert cells_of(cell_centres(side), side).tolist() == list(range(side**2))


@pytest.mark.parametrize("side", [6, 8, 16, 30])
def test_points_follow_a_known_shift(side: int) -> None:
    """A correlation that is sure of one target a node carries key points there, on any grid."""
    node = torch.arange(side**2).view(side, side)
    target = node.roll((-1, 1), (0, 1))
    correlation = torch.zeros(1, side**2, side**2)
    correlation[0, node.flatten(), target.flatten()] = 100.0
    points = transfer.nodes(side)[[side * 2 + 2, side * 3 + 2]]
    moved = transfer.transfer_points(correlation, points)[0]
    step = 2 / (side - 1)
    torch.testing.assert_close(moved, points + torch.tensor([-step, step]), atol=0.02, rtol=0)


def test_a_loop_over_nodes_carries_the_same_points() -> None:
    side = 16
    correlation, points = random(2, side**2, side**2).relu(), random(2, 3, 2, seed=1).clamp(-1, 1)
    carried = transfer.transfer_points(correlation, points, 2.0)
    axis = torch.linspace(-1, 1, side)
    for b, k in itertools.product(range(2), range(3)):
        total, moved = 0.0, torch.zeros(2)
        for node in range(side**2):
            at = torch.tensor([axis[node % side], axis[node // side]])
            weight = max(0.0, 0.1 - float(((at - points[b, k]).square().sum() + 1e-5).sqrt()))
            best = int(correlation[b, node].argmax())
            y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
            near = torch.exp(-((y - best // side) ** 2 + (x - best % side) ** 2) / (2 * (17 / 30 * side) ** 2))
            chance = (2.0 * correlation[b, node].view(side, side) * near).flatten().softmax(0).view(side, side)
            moved += weight * torch.stack([(chance.sum(0) * axis).sum(), (chance.sum(1) * axis).sum()])
            total += weight
        torch.testing.assert_close(carried[b, k], moved / total, atol=1e-5, rtol=1e-4)


def test_a_warp_moves_points_where_it_moves_the_image() -> None:
    axis = torch.linspace(-1, 1, 65)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    images = torch.stack([x, y]).expand(6, 2, 65, 65)  # pixels that know where they are
    generator = torch.Generator().manual_seed(3)
    pairs = warp_images(images, generator)
    assert pairs.valid.float().mean() > 0.5
    read = torch.nn.functional.grid_sample(pairs.target, pairs.moved[:, :, None], align_corners=True)[..., 0].mT
    off = (read - pairs.points).abs()[pairs.valid]
    assert off.quantile(0.9) < 0.35  # gain of 20 % and noise
    again = warp_images(images, torch.Generator().manual_seed(3))
    assert torch.equal(again.target, pairs.target)
    assert torch.equal(again.moved, pairs.moved)


def test_identical_images_are_alike_everywhere_and_a_shift_tells_the_modes_apart() -> None:
    maps = random(1, 6, 4, 4).abs()
    identity = torch.arange(16)[None]
    same = match_patches(Patches.of(maps), Patches.of(maps))
    for upstream in (False, True):
        torch.testing.assert_close(target_cosines(same.similarity, identity, upstream), torch.ones(1, 16))
    shifted = match_patches(Patches.of(maps), Patches.of(maps.roll(1, 3)))
    right = torch.arange(16).view(4, 4).roll(-1, 1).flatten()[None]  # each patch went one column to the right
    torch.testing.assert_close(target_cosines(shifted.similarity, right), torch.ones(1, 16))
    assert target_cosines(shifted.similarity, right, upstream=True).min() < 0.9


@given(st.integers(0, 200))
@settings(deadline=None, max_examples=20)
def test_transposed_images_have_transposed_scores(seed: int) -> None:
    """In the corrected geometry: maps, masks and correspondences of both images transposed."""
    side = 4
    query, exemplar = random(1, 6, side, side, seed=seed).abs(), random(1, 6, side, side, seed=seed + 1).abs()
    targets = torch.randint(side**2, (1, side**2), generator=torch.Generator().manual_seed(seed))

    def masked(a: torch.Tensor, b: torch.Tensor, cells: torch.Tensor) -> torch.Tensor:
        matches = match_patches(Patches.of(a), Patches.of(b))
        alike = target_cosines(matches.similarity, cells)
        return (alike * attention_mask(matches.query_map, 0.55)).view(side, side)

    flipped = (targets % side * side + targets // side).view(side, side).T.reshape(1, -1)
    transposed = masked(query.mT, exemplar.mT, flipped)
    torch.testing.assert_close(transposed, masked(query, exemplar, targets).T, atol=1e-6, rtol=1e-5)


def test_masks_of_flat_maps_and_points() -> None:
    assert attention_mask(torch.full((1, 9), 0.3), 0.55).tolist() == [[1.0] * 9]
    assert attention_mask(torch.tensor([[0.0, 1.0, 0.5]]), 0.55).tolist() == [[0.0, 1.0, 0.0]]
    points = torch.tensor([[[0.1, 0.9, 1.0], [0.6, 0.1, 1.0], [0.9, 0.9, 0.0]]])
    assert point_masks(points, 2).tolist() == [[0.0, 1.0, 1.0, 0.0]]  # the last point cannot be seen


@pytest.fixture(scope="module")
def checkpoint() -> dict[str, torch.Tensor]:
    """Random weights in the layout of the authors' checkpoints."""
    torch.manual_seed(0)
    branches, chmnet = network.CHMBackbones(), network.CHMNet("psi", 1024, 8)
    state = {f"learner.{name}": value for name, value in chmnet.state_dict().items()}
    for name, value in branches.source.state_dict().items():
        other = branches.target.state_dict()[name]
        state[f"backbone.{name}"] = value if value.ndim == 0 else torch.cat([value, other])
    state["backbone.layer4.0.conv1.weight"], state["backbone.fc.bias"] = torch.zeros(4, 2), torch.zeros(1000)
    return state


def test_a_checkpoint_of_the_authors_layout(checkpoint: dict[str, torch.Tensor], tmp_path: Path) -> None:
    path = tmp_path / "pas_psi.pt"
    torch.save(checkpoint, path)
    branches, chmnet = network.load_checkpoint(read_weights(path), str(path))
    for branch, place in (("source", 0), ("target", 1)):
        for name, value in getattr(branches, branch).state_dict().items():
            stored = checkpoint[f"backbone.{name}"]
            assert torch.equal(value, stored if stored.ndim == 0 else stored.chunk(2)[place])
    assert torch.equal(chmnet.chm4d.weight, checkpoint["learner.chm4d.weight"])
    del checkpoint["learner.chm6d.param.3"]
    with pytest.raises(LookalikeError, match=r"pas_psi.pt does not fit CHMNet: .*chm6d.param.3"):
        network.load_checkpoint(checkpoint, "pas_psi.pt")
    with pytest.raises(LookalikeError, match=r"x.pt is no CHMNet checkpoint: learner.chm4d.weight of 55"):
        network.load_checkpoint({}, "x.pt")


def test_pickles_are_refused_with_the_way_to_convert_them(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save({"net": np.random.RandomState(0)}, path)
    with pytest.raises(
        LookalikeError, match=r"holds more than tensors, which would run code .* convert it once and name"
    ):
        read_weights(path)
    torch.save([torch.zeros(1)], path)
    with pytest.raises(LookalikeError, match=r"is no table of named tensors"):
        read_weights(path)
    with pytest.raises(LookalikeError, match=r"missing.pt is missing"):
        read_weights(tmp_path / "missing.pt")


def test_settings_name_one_matching_network() -> None:
    base = {"method": "chm_corr", "backbone_from": "fc"}
    with pytest.raises(ValidationError, match=r"give either training: \{...\} or correspondence: \{weights: FILE\}"):
        CHMCorrSettings.model_validate(base)
    with pytest.raises(ValidationError, match=r"compat: upstream needs the authors' network"):
        CHMCorrSettings.model_validate({**base, "training": {}, "compat": "upstream"})
    with pytest.raises(ValidationError, match=r"k is 60, but only the 50 candidates are ranked"):
        CHMCorrSettings.model_validate({**base, "training": {}, "inference": {"k": 60}})
