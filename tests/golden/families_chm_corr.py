"""Golden files of CHMNet and CHM-Corr.

Not compared: the re-weighted correlation inside a transfer, which this project does not keep, and what the classes of
taps are called.
"""

from functools import cache

import numpy as np
import torch
from compare import Values
from golden_file import Arrays, Family, GoldenFile, Method, blank
from torch import Tensor, nn

from lookalike.contracts.explanation import Exemplar
from lookalike.methods.chm_corr import convolution, kernels, network
from lookalike.methods.chm_corr.similarity import attention_mask, patch_points, target_cosines, top_mean
from lookalike.methods.knn.classifier import vote
from lookalike.methods.reranking import transfer
from lookalike.methods.reranking.patches import Patches, cells_of, match_patches

SIZE = 240  # pixels of an image
SIGMA = 17  # the original's, on every grid; this project's follows the grid
NO_POINT = -2  # what the original fills up key points with


def near(file: GoldenFile, key: str, ours: Values) -> None:
    """Compare within the limit of most numbers."""
    file.close(key, ours, 1e-4, 1e-4, entrywise=True)


# Kernels and convolutions -------------------------------------------------------------------------


def check_kernels(file: GoldenFile) -> None:
    for case in file.cases(".group"):
        kind, side = case.split(".k")
        classes = kernels.tap_classes(kind, int(side))
        file.equal(f"{case}.group", classes)
        file.equal(f"{case}.count", torch.bincount(classes.flatten()))
    for kind in {key.split(".")[0] for key in file if ".chm4d." in key}:
        layer4, layer6 = layers_of(file, kind)
        file.close(f"{kind}.chm4d.dense", layer4.dense()[None, None], 1e-7)
        cells = torch.empty(9, *layer6.dense().shape[1:])
        for group, members in enumerate(kernels.SCALE_GROUPS[kind]):
            cells[list(members)] = layer6.dense()[group]
        file.close(f"{kind}.chm6d.dense", cells.unflatten(0, (3, 3))[None, None], 1e-7)


def layers_of(file: GoldenFile, kind: kernels.KernelKind) -> tuple[kernels.Kernel4d, kernels.Kernel6d]:
    """Both kernels with the weights of a file, and its biases where it has some."""
    layers = kernels.Kernel4d(kind), kernels.Kernel6d(kind)
    for layer, name in zip(layers, ("chm4d", "chm6d"), strict=True):
        stored = (key for key in layer.state_dict() if f"{kind}.{name}.{key}" in file)
        layer.load_state_dict(layer.state_dict() | {key: file.tensor(f"{kind}.{name}.{key}") for key in stored})
    return layers


def weights_of(layer: nn.Module, prefix: str) -> Arrays:
    """Random numbers in the place of the layer's, biases included."""
    random = np.random.RandomState(len(prefix))
    state = layer.state_dict()
    return {f"{prefix}{key}": np.asarray(random.randn(*value.shape), np.float32) for key, value in state.items()}


def example_kernels() -> dict[str, Arrays]:
    arrays = {"iso.k7.group": blank(7, 7, 7, 7), "psi.k1.group": blank(1, 1, 1, 1)}
    for layer, name in ((kernels.Kernel4d("iso"), "chm4d"), (kernels.Kernel6d("iso"), "chm6d")):
        arrays |= {k: v for k, v in weights_of(layer, f"iso.{name}.").items() if "bias" not in k}
    return {"kernels": arrays}


@torch.no_grad()
def check_convolutions(file: GoldenFile) -> None:
    x, kernel = file.tensor("c4_x"), file.tensor("c4_k")
    direct = convolution.correlate_4d_direct(x, kernel)
    near(file, "c4_y_nobias", direct)
    near(file, "c4_y", direct + file.tensor("c4_b"))
    near(file, "c4_y_nobias", convolution.correlate_4d(x[:, 0], kernel[0, 0])[:, None])
    several = convolution.correlate_4d_direct(file.tensor("c4m_x"), file.tensor("c4m_k"))
    near(file, "c4m_y", several + file.tensor("c4m_b").view(1, -1, 1, 1, 1, 1))
    unequal, kernel = file.tensor("c4r_x"), file.tensor("c4r_k")
    near(file, "c4r_y", convolution.correlate_4d(unequal[:, 0], kernel[0, 0])[:, None])
    cells = file.tensor("c6_k")[0, 0].flatten(0, 1)
    alone = tuple((cell,) for cell in range(len(cells)))
    voted = convolution.correlate_6d(file.tensor("c6_x")[:, 0], cells, alone)
    near(file, "c6_y", voted[:, None] + file.tensor("c6_b"))
    for case in file.cases(".chm6d.bias"):
        layer4, layer6 = layers_of(file, case)
        groups = kernels.SCALE_GROUPS[case]
        voted = convolution.correlate_6d(file.tensor("layer_x6")[:, 0], layer6.dense(), groups) + layer6.bias
        near(file, f"{case}.chm6d.y", voted[:, None])
        refined = convolution.correlate_4d(file.tensor("layer_x4")[:, 0], layer4.dense()) + layer4.bias
        near(file, f"{case}.chm4d.y", refined[:, None])


def example_convolutions() -> dict[str, Arrays]:
    files = {}
    for name, sides, taps, kind in (("", (3, 3, 3, 3), 5, "psi"), ("_b", (7, 5, 6, 4), 3, "full")):
        random = np.random.RandomState(taps)
        shapes = {
            "c4_x": (1, 1, *sides),
            "c4_k": (1, 1, *(taps,) * 4),
            "c4_b": (1,),
            "c4m_x": (3, 4, *sides),
            "c4m_k": (2, 4, *(taps,) * 4),
            "c4m_b": (2,),
            "c4r_x": (2, 1, 4, 8, 5, 6),
            "c4r_k": (1, 1, *(taps,) * 4),
            "c6_x": (1, 1, 3, 3, *sides),
            "c6_k": (1, 1, 3, 3, *(taps,) * 4),
            "c6_b": (1,),
            "layer_x6": (1, 1, 3, 3, *sides),
            "layer_x4": (2, 1, *sides),
        }
        files[f"convs{name}"] = {key: random.randn(*shape).astype(np.float32) for key, shape in shapes.items()}
        files[f"convs{name}"] |= weights_of(kernels.Kernel4d(kind), f"{kind}.chm4d.")
        files[f"convs{name}"] |= weights_of(kernels.Kernel6d(kind), f"{kind}.chm6d.")
    return files


# CHMNet -------------------------------------------------------------------------------------------


@torch.no_grad()
def check_correlation(file: GoldenFile) -> None:
    weights = file.state("conv2ds.")
    outputs, inputs = weights["0.weight"].shape[:2]
    chmnet = network.CHMNet("psi", inputs, outputs)
    chmnet.conv2ds.load_state_dict(weights)
    file.equal("scales", network.SCALES)
    file.equal("sides", network.level_sides(file["src"].shape[-1]))
    source, target = (chmnet.pyramid(file.tensor(key)) for key in ("src", "trg"))
    file.close("corr6d", chmnet.correlate(source, target), 1e-5)
    file.close("i4_y", transfer.resize_4d(file.tensor("i4_x"), file["i4_y"].shape[-1]), 1e-5)
    file.close("mnn_y", network.keep_mutual(file.tensor("mnn_x")), 1e-5)


def example_correlation() -> dict[str, Arrays]:
    random = np.random.RandomState(5)
    shapes = {"src": (3, 7, 4, 4), "trg": (3, 7, 4, 4), "i4_x": (1, 3, 5, 2, 4), "mnn_x": (1, 6, 11)}
    shapes |= {f"conv2ds.{level}.weight": (5, 7, 3, 3) for level in range(3)}
    arrays = {key: random.randn(*shape).astype(np.float32) for key, shape in shapes.items()}
    arrays["mnn_x"] = np.abs(arrays["mnn_x"])
    arrays["mnn_x"][0, 2], arrays["mnn_x"][0, :, 3] = 0, 0
    return {"correlation": {**arrays, "i4_y": blank(1, 6, 6, 6, 6)}}


def chmnet_of(file: GoldenFile) -> network.CHMNet:
    """CHMNet of a file's `sd.learner.*`, whose keys are those of the authors' checkpoints."""
    state = file.state("sd.learner.")
    sizes = {len(kernels.Kernel4d(kind).weight): kind for kind in kernels.SCALE_GROUPS}
    outputs, inputs = state["conv2ds.0.weight"].shape[:2]
    chmnet = network.CHMNet(sizes[len(state["chm4d.weight"])], inputs, outputs)
    chmnet.load_state_dict(state)
    return chmnet.eval()


@torch.no_grad()
def check_learner(file: GoldenFile) -> None:
    chmnet = chmnet_of(file)
    source, target = (chmnet.pyramid(file.tensor(key)) for key in ("src", "trg"))
    correlation = chmnet.correlate(source, target)
    near(file, "stage.corr6d", correlation[:, None])
    voted = chmnet.vote(correlation)
    near(file, "stage.chm6d", voted[:, None])
    pooled = voted.amax((1, 2)).sigmoid()
    near(file, "stage.pooled", pooled)
    near(file, "stage.chm4d", chmnet.refine(pooled))
    near(file, "out", chmnet(source, target))


@torch.no_grad()
def check_real_grid(file: GoldenFile) -> None:
    """A map of the size that images of 240 pixels have; the Fourier form rounds otherwise than the direct one."""
    chmnet = chmnet_of(file)
    source, target = (chmnet.pyramid(file.tensor(key)) for key in ("src", "trg"))
    correlation = chmnet(source, target)
    file.close("out_sub", correlation[:, ::29, ::31], 1e-3)
    file.close("out_rowsum", correlation.sum(2), 0.1)
    file.close("out_rowmax", correlation.amax(2), 1e-3)
    file.close("out_colmax", correlation.amax(1), 1e-3)
    best = correlation.topk(2)
    sure = ((best.values[..., 0] - best.values[..., 1]) > 2e-5 * best.values[..., 0]).numpy()
    assert sure.mean() > 0.9
    stored = file.result("row_argmax", correlation.argmax(2))
    np.testing.assert_array_equal(correlation.argmax(2).numpy()[sure], stored[sure])
    assert (~sure | (stored >= 0)).all()
    points = transfer.from_pixels(file.tensor("kps").float().mT, SIZE)
    file.close("prd_norm", transfer.transfer_points(correlation, points, sigma=SIGMA).mT, 1e-4)
    scaled = transfer.transfer_points(correlation * file.number("scale"), points, sigma=SIGMA)
    file.close("prd_norm_scaled", scaled.mT, 1e-4)


def learner_inputs(kind: kernels.KernelKind, pairs: int, inputs: int, outputs: int, side: int) -> Arrays:
    random = np.random.RandomState(inputs)
    maps = {key: random.randn(pairs, inputs, side, side).astype(np.float32) for key in ("src", "trg")}
    return maps | weights_of(network.CHMNet(kind, inputs, outputs), "sd.learner.")


def example_learners() -> dict[str, Arrays]:
    return {
        "learner_b": learner_inputs("iso", 3, 6, 4, 4),
        "learner_c": learner_inputs("full", 1, 9, 5, 3),
        "learner_psi_b": learner_inputs("psi", 2, 5, 3, 6),
    }


def example_real_grid() -> dict[str, Arrays]:
    points = np.random.RandomState(8).uniform(10, 230, (1, 2, 5))
    arrays = {**learner_inputs("iso", 1, 6, 4, 10), "kps": points, "scale": np.array(2.0)}
    return {"learner_real_grid_b": arrays}


@cache
def backbones() -> network.CHMBackbones:
    """Both networks, whose making takes seconds."""
    return network.CHMBackbones().eval()


def check_backbone(file: GoldenFile) -> None:
    """Stem and first blocks of both branches, from a grouped state dict."""
    state, whole = file.state("sd."), backbones()
    for branch, image, out in (("source", "src_img", "out_src"), ("target", "trg_img", "out_trg")):
        weights = network.split_branches(state, branch)
        part = nn.Sequential()
        for name, module in whole.get_submodule(branch).named_children():
            blocks = {key.split(".")[1] for key in weights if key.startswith(f"{name}.")}
            if blocks and name.startswith("layer"):
                part.add_module(name, module[: len(blocks)])
            elif blocks or not list(module.parameters()):
                part.add_module(name, module)
        part.load_state_dict(weights)
        with torch.no_grad():
            near(file, out, part(file.tensor(image)))


def example_backbones() -> dict[str, Arrays]:
    random = np.random.RandomState(9)
    arrays = {key: random.randn(2, 3, 18, 30).astype(np.float32) for key in ("src_img", "trg_img")}
    whole = backbones().state_dict()
    for key, value in whole.items():
        branch, _, name = key.partition(".")
        if branch == "source" and name.startswith(("conv1", "bn1", "layer1.0", "layer1.1")):
            both = torch.cat([value, whole[f"target.{name}"]]) if value.ndim else value
            noise = 0.1 * random.randn(*both.shape) if value.ndim == 1 else 0  # of statistics, which start equal
            arrays[f"sd.backbone.{name}"] = (both.numpy() + np.abs(noise)).astype(both.numpy().dtype)
    return {"backbone_two_blocks": arrays}


# Transfer -----------------------------------------------------------------------------------------


def correlation_of(file: GoldenFile, key: str = "corr_u8") -> Tensor:
    return file.tensor(key).float() / 16


def check_transfer(file: GoldenFile) -> None:
    for case in file.cases(".corr_u8"):
        if not case.startswith("quirk"):
            check_transfer_of(file, case)
    # The original marks what is no point by -2 and takes 118 of 240 pixels for one; nowhere else do they differ.
    for source, key, ours, mistaken in (
        ("quirk.kps", "quirk.normalized", transfer.from_pixels, 118.0),
        ("quirk.un_in", "quirk.un_out", transfer.to_pixels, -1 / 60),
    ):
        given = file.tensor(source)
        point = (given != NO_POINT) & ((given - mistaken).abs() > 1e-5)
        file.close(key, torch.where(point, ours(given, SIZE), NO_POINT), 1e-5)
    # Where no node of a coarse grid is in reach it has no answer; this project reaches further there.
    points = transfer.from_pixels(file.tensor("quirk.nan.kps").mT, file.number("quirk.nan.img_size"))
    correlation = correlation_of(file, "quirk.nan.corr_u8")
    nodes = transfer.nodes(round(correlation.shape[1] ** 0.5))
    reached = (transfer.REACH - ((points[:, :, None] - nodes).square().sum(-1) + 1e-5).sqrt()).clamp_min(0)
    moved = reached / reached.sum(-1, keepdim=True) @ transfer.predict_nodes(correlation, sigma=SIGMA)
    near(file, "quirk.nan.prd_norm", moved.mT)
    assert bool(torch.isfinite(transfer.transfer_points(correlation, points, sigma=SIGMA)).all())


def check_transfer_of(file: GoldenFile, case: str) -> None:
    size, keypoints = file.number(f"{case}.img_size"), file.tensor(f"{case}.kps")
    counts = file.tensor(f"{case}.n_pts")
    valid = torch.arange(keypoints.shape[2]) < counts[:, None]
    correlation = correlation_of(file, f"{case}.corr_u8")
    side = round(correlation.shape[1] ** 0.5)
    points = transfer.from_pixels(keypoints.mT, size)
    moved = transfer.transfer_points(correlation, points, sigma=SIGMA)
    pixels = transfer.to_pixels(moved, size)
    near(file, f"{case}.prd_norm", torch.where(valid[..., None], moved, NO_POINT).mT)
    near(file, f"{case}.prd_px", torch.where(valid[..., None], pixels, NO_POINT).mT)
    weights = transfer.node_weights(points[0, : counts[0]], side)
    near(file, f"{case}.attmap_sub", weights.view(-1, side, side)[:, ::2, ::3])
    wanted, limit = file.tensor(f"{case}.trg_kps").mT, file.tensor(f"{case}.pckthres")
    shares = [transfer.right_share(pixels, wanted, valid, alpha * limit) for alpha in file[f"{case}.alpha"].tolist()]
    near(file, f"{case}.pck", torch.stack(shares, 1))
    near(file, f"{case}.loss", transfer.transfer_loss(moved, transfer.from_pixels(wanted, size), valid))


def example_transfers() -> dict[str, Arrays]:
    random = np.random.RandomState(11)
    arrays: Arrays = {
        "quirk.kps": np.array([[[118, 30.0, 60, -2], [118, 7.0, 118, -2]]], np.float32),
        "quirk.un_in": np.array([[[-1 / 60, 0.5], [-2, -0.25]]], np.float32),
        "quirk.nan.img_size": np.array(48),
        "quirk.nan.corr_u8": random.randint(0, 256, (2, 36, 36)).astype(np.uint8),
        "quirk.nan.kps": random.uniform(1, 47, (2, 2, 4)).astype(np.float32),
    }
    for case, side, counts, length in (("c", 18, [4, 1, 3], 4), ("d", 21, [6], 9)):
        valid = np.arange(length) < np.array(counts)[:, None, None]
        keypoints = np.where(valid, random.uniform(4, 8 * side - 4, (len(counts), 2, length)), NO_POINT)
        arrays |= {
            f"{case}.img_size": np.array(8 * side),
            f"{case}.corr_u8": random.randint(0, 256, (len(counts), side**2, side**2)).astype(np.uint8),
            f"{case}.kps": keypoints.astype(np.float32),
            f"{case}.n_pts": np.array(counts),
            f"{case}.trg_kps": np.where(valid, 8 * side - keypoints, NO_POINT).astype(np.float32),
            f"{case}.pckthres": random.uniform(50, 150, len(counts)).astype(np.float32),
            f"{case}.alpha": np.array([0.3, 0.9]),
        }
    return {"transfer": arrays}


def check_grid_transfer(file: GoldenFile) -> None:
    side = round(file["transferred_points"].shape[2] ** 0.5)
    points = by_rows(patch_points(side, upstream=True)[None], side)[0]  # the way back is the same
    moved = transfer.transfer_points(correlation_of(file), points, sigma=SIGMA)
    near(file, "transferred_points", moved.mT)
    cells = (moved + 1) / 2 * side
    sure = ((cells - cells.round()).abs() > 1e-4).numpy()  # at an edge rounding decides
    assert sure.mean() > 0.99
    stored = file.result("correspondence_map", cells.long())
    np.testing.assert_array_equal(cells.long().numpy()[sure], stored[sure])


def example_grid_transfers() -> dict[str, Arrays]:
    correlation = np.random.RandomState(12).randint(0, 256, (1, 900, 900)).astype(np.uint8)
    return {"grid_transfer_b": {"corr_u8": correlation, "transferred_points": blank(1, 2, 49)}}


# Classifiers --------------------------------------------------------------------------------------


def by_rows(values: Tensor, side: int) -> Tensor:
    """Grid points (N, R, ...) row by row, which the original numbers column by column."""
    return values.unflatten(1, (side, side)).transpose(1, 2).flatten(1, 2)


def check_classifier(file: GoldenFile) -> None:
    """Cells, cosines, masks, scores, order, vote and drawn points under compat, from given transferred points."""
    query, exemplars = Patches.of(file.tensor("query_feat")[None]), Patches.of(file.tensor("exemplar_feat"))
    assert len(exemplars) == file.number("N")
    side = file["query_feat"].shape[-1]
    points = by_rows(file.tensor("transferred_points").mT, side)  # (N, R, 2)
    targets = cells_of(points, side)
    columns = by_rows(torch.stack([targets % side, targets // side], -1), side)
    file.equal("correspondence_map", columns)
    matches = match_patches(query, exemplars)
    alike = target_cosines(matches.similarity, targets, upstream=True)
    mask = attention_mask(matches.query_map, file.number("T"))
    shape = (side, side)
    file.close("sim_maps", alike.unflatten(1, shape), 1e-6)
    file.close("cc_source", matches.query_map.unflatten(1, shape), 1e-6)
    file.close("cc_target", matches.exemplar_map.unflatten(1, shape), 1e-6)
    file.equal("masks", mask.unflatten(1, shape))
    file.close("masked", (alike * mask).unflatten(1, shape), 1e-6)
    check_reverse(file, alike.unflatten(1, shape), columns)
    check_ranking(file, "", top_mean(alike * mask), alike * mask, points)
    top = (alike * mask).topk(5, dim=1)
    stored = file.result("top5_cells", top.indices % side * side + top.indices // side)
    for values, cells, theirs in zip(top.values, top.indices, stored, strict=True):
        if bool((values > 0).all()):  # else any of the zeros
            assert sorted((cells % side * side + cells // side).tolist()) == sorted(theirs.tolist())
    if "user_mask" in file:
        chosen = file.tensor("user_mask").flatten().float()
        file.equal("m_nonzero", int(chosen.sum()))
        check_ranking(file, "m_", (alike * chosen).mean(1), alike * chosen, points)


def check_reverse(file: GoldenFile, alike: Tensor, columns: Tensor) -> None:
    """The exemplar's side of the same cosines, which the original keeps and does not use; the last of several stays."""
    reverse = torch.zeros_like(alike)
    side = alike.shape[-1]
    for number, cells in enumerate(columns.tolist()):
        for place, (x, y) in enumerate(cells):
            reverse[number, x, y] = alike[number, place // side, place % side]
    file.close("rsim_maps", reverse, 1e-6)


def check_ranking(file: GoldenFile, prefix: str, scores: Tensor, masked: Tensor, points: Tensor) -> None:
    """Scores, order, vote and drawn points of the original's mask, or of a user's."""
    file.close(f"{prefix}scores", scores, 1e-6)
    ranking = scores.argsort(descending=True, stable=True)
    file.equal(f"{prefix}ranking", ranking)
    labels, k = file.tensor("labels")[ranking], file.number("K")
    shares = vote(labels[None, :k], int(labels.max()) + 1)[0]
    file.equal(f"{prefix}prediction", shares.argmax())
    file.equal(f"{prefix}weight" if prefix else "prediction_weight", round(float(shares.max()) * k))
    winners = ranking[labels == shares.argmax()]
    file.equal(f"{prefix}topk_idx", winners)
    if not prefix:
        file.equal("reranked_ids", ranking[:k])
        file.equal("topk_ids", winners[:k])
        winners = winners[:k]
        shape = (round(masked.shape[1] ** 0.5),) * 2
        file.close("viz_masked", masked[winners].unflatten(1, shape), 1e-6)
    count = file.number("m_nonzero") if prefix else 5
    drawn = [drawn_points(masked[winner], points[winner], count) for winner in winners.tolist()]
    sources = file.result(f"{prefix}viz_src", [ours[0] for ours in drawn])
    ends = file.result(f"{prefix}viz_tgt", [ours[1] for ours in drawn])
    assert 0 < len(sources) == len(ends) <= len(drawn)
    for ours, source, end, sure in zip(drawn, sources, ends, file["viz_tie_free"], strict=False):
        pairs, theirs = (list(zip(*ends_of, strict=True)) for ends_of in (ours, (source.tolist(), end.tolist())))
        assert not sure or (sorted(pairs) == sorted(theirs) if prefix else pairs == theirs), "other points are drawn"


def drawn_points(masked: Tensor, points: Tensor, count: int) -> tuple[list[list[float]], list[list[int]]]:
    """Query patches of the largest values, where they are and where CHMNet carries them, in pixels."""
    side = round(len(points) ** 0.5)
    pixels = transfer.to_pixels(patch_points(side, upstream=True), SIZE)
    pairs = Exemplar(0, 0, 0, target=cells_of(points, side).tolist(), target_weight=masked.tolist())
    queries = [pair.query for pair in pairs.strongest_pairs(count)[::-1]]
    ends = ((points[queries] + 1) / 2 * SIZE).long()
    return pixels[queries].round().tolist(), ends.tolist()


def example_classifiers() -> dict[str, Arrays]:
    files = {}
    for name, count, k, channels, threshold, chosen in (("c", 9, 4, 5, 0.3, 7), ("d", 20, 11, 13, 0.7, 0)):
        random = np.random.RandomState(count)
        files[f"classifier_{name}"] = {
            "N": np.array(count),
            "K": np.array(k),
            "T": np.array(threshold),
            "query_feat": random.rand(channels, 7, 7).astype(np.float32),
            "exemplar_feat": random.rand(count, channels, 7, 7).astype(np.float32),
            "transferred_points": random.uniform(-1, 1, (count, 2, 49)),
            "labels": np.arange(count) % 3,
            "viz_tie_free": np.full(count, True),
        }
        if chosen:
            mask = np.zeros(49)
            mask[random.choice(49, chosen, replace=False)] = 1
            files[f"classifier_{name}"]["user_mask"] = mask.reshape(7, 7)
    return files


def check_knn(file: GoldenFile) -> None:
    """Votes of the best 20 of a stored shortlist, and which exemplars are shown for them."""
    ids, labels = file.tensor("knn_scores").flip(1), file.tensor("train_labels")
    shares = vote(labels[ids[:, :20]], int(labels.max()) + 1)
    predicted = shares.argmax(1)
    file.equal("pred20", predicted)
    file.equal("conf20", (shares.amax(1) * 20).round().long())
    file.close("acc20", 100 * (predicted == file.tensor("val_labels")).double().mean(), 1e-6)
    file.equal("support50", ids[:, :50])
    file.equal("support_labels50", labels[ids[:, :50]])
    for row, label in enumerate(predicted):
        file.equal(f"topk.{row}", ids[row][labels[ids[row]] == label][:20])


def example_knn() -> dict[str, Arrays]:
    random = np.random.RandomState(13)
    return {
        "knn_b": {
            "knn_scores": np.stack([random.choice(90, 70, replace=False) for _ in range(5)]),
            "train_labels": random.choice(3, 90, p=[0.2, 0.6, 0.2]),
            "val_labels": np.array([1, 1, 0, 1, 2]),
        }
    }


METHOD = Method(
    (
        Family("kernels*", check_kernels, example_kernels, ("*.keys",)),
        Family("convs*", check_convolutions, example_convolutions),
        Family("correlation*", check_correlation, example_correlation),
        Family("learner_real_grid*", check_real_grid, example_real_grid),
        Family("learner_*", check_learner, example_learners),
        Family("transfer*", check_transfer, example_transfers, ("*.gauss_sub",)),
        Family("grid_transfer*", check_grid_transfer, example_grid_transfers),
        Family("backbone_*", check_backbone, example_backbones, ("*.num_batches_tracked",)),
        Family("classifier_*", check_classifier, example_classifiers, ("viz_tie_free",)),
        Family("knn*", check_knn, example_knn),
    )
)
