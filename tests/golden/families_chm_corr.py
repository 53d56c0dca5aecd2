"""Golden families of CHMNet and CHM-Corr."""

import numpy as np
import torch
from compare import close
from torchvision.models.resnet import Bottleneck

from lookalike.explanation.record import Exemplar
from lookalike.methods.chm_corr import classifier as chm
from lookalike.methods.chm_corr import convolution, kernels, network, transfer
from lookalike.methods.knn import vote
from lookalike.methods.patches import Patches, cells_of, match_patches

GRID_POSITIONS = torch.arange(18.0, 223, 34)  # pixels of a 240-pixel query, both axes


def tensors(content: dict[str, np.ndarray], prefix: str = "") -> dict[str, torch.Tensor]:
    """Arrays whose names start with a prefix, without it."""
    return {
        key.removeprefix(prefix): torch.from_numpy(array)
        for key, array in content.items()
        if key.startswith(prefix) and array.dtype.kind in "fiub"
    }


def check_kernels(name: str, content: dict[str, np.ndarray]) -> None:
    for kind in ("psi", "iso"):
        for side in (3, 5):
            classes = kernels.tap_classes(kind, side)
            np.testing.assert_array_equal(classes, content[f"{kind}.k{side}.group"])
            np.testing.assert_array_equal(torch.bincount(classes.flatten()), content[f"{kind}.k{side}.count"])
        layer4, layer6 = layers(kind, tensors(content, f"{kind}."))
        close(layer4.dense(), content[f"{kind}.chm4d.dense"][0, 0], 1e-7)
        dense = content[f"{kind}.chm6d.dense"][0, 0].reshape(9, 5, 5, 5, 5)
        for group, cells in enumerate(kernels.SCALE_GROUPS[kind]):
            for cell in cells:
                close(layer6.dense()[group], dense[cell], 1e-7)


def layers(kind: kernels.Kind, found: dict[str, torch.Tensor]) -> tuple[kernels.Kernel4d, kernels.Kernel6d]:
    """Both kernels with the weights of a file; biases, where it has none, stay."""
    made = kernels.Kernel4d(kind), kernels.Kernel6d(kind)
    for layer, prefix in zip(made, ("chm4d.", "chm6d."), strict=True):
        state = {key.removeprefix(prefix): value for key, value in found.items() if key.startswith(prefix)}
        own = layer.state_dict()
        layer.load_state_dict({**own, **{key: value for key, value in state.items() if key in own}})
    return made


def check_convs(name: str, content: dict[str, np.ndarray]) -> None:
    given = tensors(content)
    direct = convolution.correlate_4d_direct(given["c4_x"], given["c4_k"])
    close(direct, content["c4_y_nobias"], 1e-4, 1e-4)
    close(direct + given["c4_b"], content["c4_y"], 1e-4, 1e-4)
    close(
        convolution.correlate_4d(given["c4_x"][:, 0], given["c4_k"][0, 0])[:, None], content["c4_y_nobias"], 1e-4, 1e-4
    )
    several = convolution.correlate_4d_direct(given["c4m_x"], given["c4m_k"]) + given["c4m_b"].view(1, -1, 1, 1, 1, 1)
    close(several, content["c4m_y"], 1e-4, 1e-4)
    close(convolution.correlate_4d(given["c4r_x"][:, 0], given["c4r_k"][0, 0])[:, None], content["c4r_y"], 1e-4, 1e-4)
    single = tuple((cell,) for cell in range(9))
    found = convolution.correlate_6d(given["c6_x"][:, 0], given["c6_k"].view(9, 5, 5, 5, 5), single)
    close(found[:, None] + given["c6_b"], content["c6_y"], 1e-4, 1e-4)
    for kind in ("psi", "iso", "full"):
        layer4, layer6 = layers(kind, tensors(content, f"{kind}."))
        voted = convolution.correlate_6d(given["layer_x6"][:, 0], layer6.dense(), kernels.SCALE_GROUPS[kind])
        close((voted + layer6.bias)[:, None], content[f"{kind}.chm6d.y"], 1e-4, 1e-4)
        refined = convolution.correlate_4d(given["layer_x4"][:, 0], layer4.dense()) + layer4.bias
        close(refined[:, None], content[f"{kind}.chm4d.y"], 1e-4, 1e-4)


def check_correlation(name: str, content: dict[str, np.ndarray]) -> None:
    weights = tensors(content, "conv2ds.")
    assert tuple(content["scales"]) == network.SCALES
    np.testing.assert_array_equal(network.level_sides(content["src"].shape[-1]), content["sides"])
    shape = weights["0.weight"].shape
    learner = network.Learner("psi", shape[1], shape[0])
    learner.conv2ds.load_state_dict(weights)
    source, target = (learner.pyramid(torch.from_numpy(content[key])) for key in ("src", "trg"))
    close(learner.correlate(source, target), content["corr6d"], 1e-5)
    close(network.resize_4d(torch.from_numpy(content["i4_x"]), 7), content["i4_y"], 1e-5)
    close(network.keep_mutual(torch.from_numpy(content["mnn_x"])), content["mnn_y"], 1e-5)


def learner_of(content: dict[str, np.ndarray]) -> network.Learner:
    """The learner of a file's `sd.learner.*`, whose keys are those of the authors' checkpoints."""
    state = tensors(content, "sd.learner.")
    kind = {55: "psi", 15: "iso", 1: "full"}[len(state["chm4d.weight"])]
    shape = state["conv2ds.0.weight"].shape
    learner = network.Learner(kind, shape[1], shape[0])
    learner.load_state_dict(state)
    return learner.eval()


@torch.no_grad()
def check_learner(name: str, content: dict[str, np.ndarray]) -> None:
    learner = learner_of(content)
    source, target = (learner.pyramid(torch.from_numpy(content[key])) for key in ("src", "trg"))
    correlation = learner.correlate(source, target)
    close(correlation[:, None], content["stage.corr6d"], 1e-4, 1e-4)
    voted = learner.vote(correlation)
    close(voted[:, None], content["stage.chm6d"], 1e-4, 1e-4)
    pooled = voted.amax((1, 2)).sigmoid()
    close(pooled, content["stage.pooled"], 1e-4, 1e-4)
    close(learner.refine(pooled), content["stage.chm4d"], 1e-4, 1e-4)
    close(learner(source, target), content["out"], 1e-4, 1e-4)


@torch.no_grad()
def check_real_grid(name: str, content: dict[str, np.ndarray]) -> None:
    """A map of side 15; the layers' FFT rounds otherwise than the direct form."""
    learner = learner_of(content)
    source, target = (learner.pyramid(torch.from_numpy(content[key])) for key in ("src", "trg"))
    found = learner(source, target)
    close(found[:, ::29, ::31], content["out_sub"], 1e-3)
    close(found.sum(2), content["out_rowsum"], 0.1)
    close(found.amax(2), content["out_rowmax"], 1e-3)
    close(found.amax(1), content["out_colmax"], 1e-3)
    best = found.topk(2).values
    sure = ((best[..., 0] - best[..., 1]) > 2e-5 * best[..., 0]).numpy()
    assert sure.mean() > 0.9
    np.testing.assert_array_equal(found.argmax(2).numpy()[sure], content["row_argmax"][sure])
    points = transfer.from_pixels(torch.from_numpy(content["kps"]).float().mT, 240)
    close(transfer.transfer_points(found, points).mT, content["prd_norm"], 1e-4)
    scaled = transfer.transfer_points(found * float(content["scale"]), points)
    close(scaled.mT, content["prd_norm_scaled"], 1e-4)


def check_transfer(name: str, content: dict[str, np.ndarray]) -> None:
    for case in ("a.", "b."):
        given = tensors(content, case)
        size = int(given["img_size"])
        correlation = given["corr_u8"].float() / 16
        valid = torch.arange(given["kps"].shape[2]) < given["n_pts"][:, None]
        points = transfer.from_pixels(given["kps"].mT, size)
        # A grid of 17 nodes too has 17 nodes of spread in the original; ours follows the grid.
        moved = transfer.transfer_points(correlation, points, sigma=17)
        shown = torch.where(valid[..., None], moved, -2)
        close(shown.mT, given["prd_norm"], 1e-4, 1e-4)
        pixels = transfer.to_pixels(moved, size)
        close(torch.where(valid[..., None], pixels, -2).mT, given["prd_px"], 1e-4, 1e-4)
        side = size // 8
        weights = transfer.node_weights(points[0, : int(given["n_pts"][0])], side).view(-1, side, side)
        close(weights[:, ::2, ::3], given["attmap_sub"], 1e-4, 1e-4)
        wanted = given["trg_kps"].mT
        shares = [
            transfer.right_share(pixels, wanted, valid, float(alpha) * given["pckthres"]) for alpha in given["alpha"]
        ]
        close(torch.stack(shares, 1), given["pck"], 1e-6)
        loss = transfer.transfer_loss(moved, transfer.from_pixels(wanted, size), valid)
        close(loss, given["loss"], 1e-4, 1e-4)
    # The original marks what is no point by -2 and takes 118 of 240 pixels for one; nowhere else do we differ.
    for key, ours in (("quirk.normalized", transfer.from_pixels), ("quirk.un_out", transfer.to_pixels)):
        source = torch.from_numpy(content["quirk.kps" if key == "quirk.normalized" else "quirk.un_in"])
        theirs, own = torch.from_numpy(content[key]), ours(source, 240)
        point = source != -2
        same = (theirs - own).abs() < 1e-5
        assert bool((point & same).any()), "the rule itself"
        assert bool((point & ~same).any()), "the collision"
        collided = source[point & ~same]
        close(collided, np.full(len(collided), 118.0 if key == "quirk.normalized" else -1 / 60), 1e-5)
    size = int(content["quirk.nan.img_size"])
    points = transfer.from_pixels(torch.from_numpy(content["quirk.nan.kps"]).mT, size)
    ours = transfer.transfer_points(torch.from_numpy(content["quirk.nan.corr_u8"]).float() / 16, points, sigma=17)
    assert bool(np.isnan(content["quirk.nan.prd_norm"]).any())
    assert bool(torch.isfinite(ours).all()), "ours reaches far enough on a coarse grid"


def grid_points() -> torch.Tensor:
    """(49, 2) the original's key points of a query, x slow, y fast."""
    x, y = torch.meshgrid(GRID_POSITIONS, GRID_POSITIONS, indexing="ij")
    return transfer.from_pixels(torch.stack([x.flatten(), y.flatten()], 1), 240)


def check_grid_transfer(name: str, content: dict[str, np.ndarray]) -> None:
    correlation = torch.from_numpy(content["corr_u8"]).float() / 16
    moved = transfer.transfer_points(correlation, grid_points())
    close(moved.mT, content["transferred_points"], 1e-4, 1e-4)
    edge = ((moved + 1) / 2 * 7 % 1 < 1e-4) | ((moved + 1) / 2 * 7 % 1 > 1 - 1e-4)  # rounding may cross these
    cells = ((moved + 1) / 2 * 7).long()
    assert edge.float().mean() < 0.01
    np.testing.assert_array_equal(cells[~edge], torch.from_numpy(content["correspondence_map"])[~edge])


def check_backbone(name: str, content: dict[str, np.ndarray]) -> None:
    """Stem and first block of both branches, from a grouped state dict."""
    state = tensors(content, "sd.")
    for branch, image, out in (("source", "src_img", "out_src"), ("target", "trg_img", "out_trg")):
        own = network.split_branches(state, branch)
        whole = network.Branches().eval()
        part = torch.nn.Sequential()
        for module in ("conv1", "bn1", "relu", "maxpool"):
            part.add_module(module, getattr(whole.source, module))
        block = whole.source.layer1[0]
        assert isinstance(block, Bottleneck)
        part.add_module("layer1", torch.nn.Sequential(block))
        part.load_state_dict({key: value for key, value in own.items() if key in part.state_dict()})
        assert set(part.state_dict()) == set(own)
        with torch.no_grad():
            close(part(torch.from_numpy(content[image])), content[out], 1e-4, 1e-4)


def check_classifier(name: str, content: dict[str, np.ndarray]) -> None:
    """Cells, cosines, masks, scores, order, vote and drawn points under compat, from given transferred points."""
    given = tensors(content)
    query, exemplars = (Patches.of(maps) for maps in (given["query_feat"][None], given["exemplar_feat"]))
    count, side = len(exemplars), 7
    # Theirs are numbered x slow, y fast; ours row by row.
    points = given["transferred_points"].mT.unflatten(1, (side, side)).transpose(1, 2).flatten(1, 2)  # (N, 49, 2)
    partners = cells_of(points, side)
    theirs = given["correspondence_map"].unflatten(1, (side, side)).transpose(1, 2).flatten(1, 2)
    np.testing.assert_array_equal(torch.stack([partners % side, partners // side], -1), theirs)
    matches = match_patches(query, exemplars)
    alike = chm.partner_cosines(matches.similarity, partners, upstream=True)
    close(alike.view(-1, side, side), content["sim_maps"], 1e-6)
    close(matches.query_map.view(-1, side, side), content["cc_source"], 1e-6)
    close(matches.exemplar_map.view(-1, side, side), content["cc_target"], 1e-6)
    mask = chm.attention_mask(matches.query_map, float(content["T"]))
    np.testing.assert_array_equal(mask.view(-1, side, side), content["masks"])
    close((alike * mask).view(-1, side, side), content["masked"], 1e-6)
    _check_reverse(alike.view(-1, side, side), given["correspondence_map"], content["rsim_maps"])
    own = {"score": chm.top_mean(alike * mask), "m_score": (alike * given["user_mask"].flatten().float()).mean(1)}
    for prefix, scores in (("", own["score"]), ("m_", own["m_score"])):
        close(scores, content[f"{prefix}scores"], 1e-6)
        ranking = scores.argsort(descending=True, stable=True)
        np.testing.assert_array_equal(ranking, content[f"{prefix}ranking"])
        labels, voters = given["labels"][ranking], int(content["K"])
        shares = vote(labels[None, :voters], int(labels.max()) + 1)[0].numpy()
        assert shares.argmax() == content[f"{prefix}prediction"]
        assert round(shares.max() * voters) == content[f"{prefix}{'prediction_' if not prefix else ''}weight"]
        winners = ranking[labels == int(shares.argmax())]
        np.testing.assert_array_equal(winners, content[f"{prefix}topk_idx"])
        if not prefix:
            np.testing.assert_array_equal(ranking[:voters], content["reranked_ids"])
            np.testing.assert_array_equal(winners[:voters], content["topk_ids"])
        shown = int(content["m_nonzero"]) if prefix else 5
        masked = alike * (given["user_mask"].flatten().float() if prefix else mask)
        _check_drawn(content, prefix, winners[: len(content[f"{prefix}viz_src"])], masked, points, shown)
    cells = (alike * mask).topk(5, dim=1).indices
    for row in range(count):
        values = (alike * mask)[row]
        if int((values > 0).sum()) >= 5:  # else any of the zeros
            flat = {int(cell % side * side + cell // side) for cell in cells[row]}
            assert flat == set(content["top5_cells"][row].tolist())


def _check_reverse(alike: torch.Tensor, cells: torch.Tensor, stored: np.ndarray) -> None:
    """The exemplar's side of the same cosines, which the original keeps and does not use."""
    for n in range(len(alike)):
        reverse = torch.zeros(7, 7)
        for k, (tx, ty) in enumerate(cells[n].tolist()):
            reverse[tx, ty] = alike[n, k // 7, k % 7]
        close(reverse, stored[n], 1e-6)


def _check_drawn(content, prefix, winners, masked, points, shown) -> None:  # type: ignore[no-untyped-def]
    """Drawn points: query patches of the largest values, where they are and where CHMNet carries them."""
    pixels = torch.arange(18, 223, 34)
    for row, winner in enumerate(winners.tolist()):
        partners = cells_of(points[winner], 7).tolist()
        record = Exemplar(0, 0, 0, partner=partners, strength=masked[winner].tolist())
        drawn = record.strongest_pairs(shown)[::-1]
        own = [[int(pixels[p.query % 7]), int(pixels[p.query // 7])] for p in drawn]
        ends = [((points[winner, p.query] + 1) / 2 * 240).long().tolist() for p in drawn]
        source, target = content[f"{prefix}viz_src"][row].tolist(), content[f"{prefix}viz_tgt"][row].tolist()
        if content["viz_tie_free"][row] and not prefix:
            assert (own, ends) == (source, target)
        elif prefix:
            assert sorted(zip(own, ends, strict=True)) == sorted(zip(source, target, strict=True))


def check_knn(name: str, content: dict[str, np.ndarray]) -> None:
    """Votes of the best 20 of a stored shortlist, and which exemplars are shown for them."""
    ids, labels = content["knn_scores"][:, ::-1], torch.from_numpy(content["train_labels"])
    shares = vote(labels[ids[:, :20].copy()], int(labels.max()) + 1).numpy()
    np.testing.assert_array_equal(shares.argmax(1), content["pred20"])
    np.testing.assert_array_equal(np.rint(shares.max(1) * 20), content["conf20"])
    accuracy = (shares.argmax(1) == content["val_labels"]).mean() * 100
    close(accuracy, content["acc20"], 1e-6)
    np.testing.assert_array_equal(ids[:, :50], content["support50"])
    np.testing.assert_array_equal(labels.numpy()[ids[:, :50]], content["support_labels50"])
    for row, predicted in enumerate(content["pred20"]):
        winners = ids[row][labels.numpy()[ids[row]] == predicted][:20]
        np.testing.assert_array_equal(winners, content[f"topk.{row}"])


FAMILIES = [
    ("kernels", ["psi.k5.group", "iso.chm6d.dense"], check_kernels),
    ("convs", ["c4_x", "c4r_y", "full.chm4d.y"], check_convs),
    ("correlation", ["src", "corr6d", "mnn_y"], check_correlation),
    ("learner_real_grid", ["out_sub", "prd_norm_scaled"], check_real_grid),
    ("learner_", ["src", "stage.pooled", "out"], check_learner),
    ("transfer", ["a.kps", "b.pck", "quirk.nan.prd_norm"], check_transfer),
    ("grid_transfer", ["corr_u8", "correspondence_map"], check_grid_transfer),
    ("backbone_layer1", ["src_img", "out_trg"], check_backbone),
    ("classifier_", ["query_feat", "correspondence_map", "m_viz_tgt"], check_classifier),
    ("knn", ["knn_scores", "pred20", "topk.11"], check_knn),
]
