"""Golden families of DenseFlow and ProtoFlow.

Not ours, and so not compared: mixtures with full covariances (`full`), which the original builds nowhere; the value of
`conv2d/out/log_prob_all`, which its README calls a trap; the M step alone (`diag*/out/m_*`), which `em` repeats; the
largest error of a calibration bin; the unused orders of channels (`ordered1`, `elparams_interleaved`).
"""

import json
from pathlib import Path

import numpy as np
import torch
from compare import close

from lookalike.evaluation.metrics import ece
from lookalike.methods.protoflow import losses, start
from lookalike.methods.protoflow.flow import blocks, dequantize, layers, nets
from lookalike.methods.protoflow.flow.dense_flow import DenseFlow, FlowShape, Scalar
from lookalike.methods.protoflow.prototypes import (
    Prototypes,
    component_log_prob,
    drop_components,
    responsibilities,
)

Content = dict[str, np.ndarray]


def complete(file: Path, content: Content) -> None:
    """Weights and inputs of a training step lie in the file of the same flow without it."""
    if file.stem.endswith("_train"):
        with np.load(file.with_name(f"{file.stem.removesuffix('_train')}.npz"), allow_pickle=False) as archive:
            content.update({name: array for name, array in archive.items() if name not in content})


def tensor(content: Content, key: str, double: bool = False) -> torch.Tensor:
    found = torch.from_numpy(np.asarray(content[key]))
    return found.double() if double and found.is_floating_point() else found


def weights(content: Content, prefix: str) -> dict[str, torch.Tensor]:
    return {key.removeprefix(prefix): tensor(content, key) for key in content if key.startswith(prefix)}


def loaded(module: torch.nn.Module, content: Content, prefix: str, double: bool = True) -> torch.nn.Module:
    """With the file's weights, every name and shape of which must be ours."""
    module.load_state_dict(weights(content, prefix))
    return (module.double() if double else module).eval()


def exact(found: torch.Tensor, wanted: np.ndarray) -> None:
    close(found.detach(), wanted, 1e-8, 1e-7)


def single(found: torch.Tensor, wanted: np.ndarray) -> None:
    close(found.detach(), wanted, 1e-5, 1e-4)


@torch.no_grad()
def check_actnorm(name: str, content: Content) -> None:
    layer = layers.ActNorm(6).train()
    z, ldj = layer(tensor(content, "init/in/x"))
    for found, key in ((layer.shift, "shift"), (layer.log_scale, "log_scale"), (z, "z"), (ldj, "ldj")):
        single(found, content[f"init/out/{key}"])
    assert float(layer.initialized) == content["init/out/initialized"]
    layer = loaded(layers.ActNorm(6), content, "eval/w/")
    z, ldj = layer(tensor(content, "eval/in/x", True))
    exact(z, content["eval/out/z"])
    exact(ldj, content["eval/out/ldj"])
    exact(layer.inverse(tensor(content, "eval/out/z")), content["eval/out/x_rec"])


@torch.no_grad()
def check_conv1x1(name: str, content: Content) -> None:
    for case in sorted({key.split("/")[0] for key in content}):
        weight = content[f"{case}/w/weight"]
        layer = loaded(layers.Conv1x1(len(weight)), content, f"{case}/w/")
        z, ldj = layer(tensor(content, f"{case}/in/x", True))
        exact(z, content[f"{case}/out/z"])
        exact(ldj, content[f"{case}/out/ldj"])
        exact(layer.inverse(z), content[f"{case}/out/x_rec"])


@torch.no_grad()
def check_coupling(name: str, content: Content) -> None:
    for case in ("affine0", "affine1"):
        sizes = content[f"{case}/meta/channels_mid_depth_growth"].tolist()
        layer = loaded(layers.Coupling(*sizes), content, f"{case}/w/")
        x = tensor(content, f"{case}/in/x", True)
        z, ldj = layer(x)
        exact(z, content[f"{case}/out/z"])
        exact(ldj, content[f"{case}/out/ldj"])
        exact(layer.inverse(z), content[f"{case}/out/x_rec"])
        z, ldj = layer.train()(x)
        exact(z, content[f"{case}/out/z_train"])
        exact(ldj, content[f"{case}/out/ldj_train"])
    x, context = tensor(content, "cond/in/x", True), tensor(content, "cond/in/context", True)
    mid = len(content["cond/w/coupling_net.0.transform.0.bias"])
    depth = sum(".nn.0.bias" in key for key in weights(content, "cond/w/"))
    growth = len(content["cond/w/coupling_net.0.transform.1.dense.0.nn.2.bias"])
    layer = loaded(layers.Coupling(x.shape[1], mid, depth, growth, context.shape[1]), content, "cond/w/")
    z, ldj = layer(x, context)
    exact(z, content["cond/out/z"])
    exact(ldj, content["cond/out/ldj"])
    exact(layer.inverse(z, context), content["cond/out/x_rec"])


@torch.no_grad()
def check_nets(name: str, content: Content) -> None:
    made = {
        "nystrom": nets.Nystrom(6),
        "gated": nets.GatedConv(6, 4),
        "dense": nets.DenseNetBlock(5, 4, 2, 3),
        "densenet": nets.ConvNet(5, nets.ResidualDenseBlock(4, 1, 3), 4, 6, zero=False),
    }
    for case, module in made.items():
        if case == "densenet":
            depth = sum(".nn.0.bias" in key for key in weights(content, "densenet/w/"))
            module = nets.ConvNet(5, nets.ResidualDenseBlock(4, depth, 3), 4, 6)
        exact(loaded(module, content, f"{case}/w/")(tensor(content, f"{case}/in/x", True)), content[f"{case}/out/y"])
    exact(nets.pseudo_inverse(tensor(content, "pinv/in/mat")), content["pinv/out/inv"])
    module = loaded(nets.MultiHeadDense(6, 2, 3), content, "mhdense/w/")
    x = tensor(content, "mhdense/in/x", True)
    exact(module(x), content["mhdense/out/y_eval"])
    exact(module.train()(x), content["mhdense/out/y_train"])
    exact(module.mix_conv[0].running_mean, content["mhdense/out/running_mean_after"])
    exact(module.mix_conv[0].running_var, content["mhdense/out/running_var_after"])


@torch.no_grad()
def check_block(name: str, content: Content) -> None:
    channels, units, modules, mid, growth, depth, dense_growth = content[
        "block/meta/in_steps_layers_mid_growth_depth_dgrowth"
    ].tolist()
    block = loaded(blocks.FlowBlock(channels, units, modules, mid, growth, depth, dense_growth), content, "block/w/")
    noise, bound = block.noise_params[0](tensor(content, "cross/in/g", True), tensor(content, "cross/in/eta", True))
    exact(noise, content["cross/out/eta_hat"])
    exact(bound, content["cross/out/ll"])
    noises = [tensor(content, f"block/in/eta_u{unit}", True) for unit in range(1, units)]
    z, ldj = block(tensor(content, "block/in/x", True), noises)
    exact(z, content["block/out/z"])
    exact(ldj, content["block/out/ldj"])
    exact(block.inverse(z), content["block/out/x_rec"])
    kept, dropped, log_prob = blocks.Transition()(tensor(content, "transition/in/x", True))
    exact(kept, content["transition/out/z"])
    exact(log_prob, content["transition/out/logp"])
    exact(
        blocks.Transition().inverse(kept, tensor(content, "transition/in/eps", True)),
        content["transition/out/x_from_eps"],
    )
    exact(blocks.Transition().inverse(kept, dropped), content["transition/in/x"])


@torch.no_grad()
def check_dequantization(name: str, content: Content) -> None:
    steps, context, mid, depth, growth = content["var/meta/steps_context_mid_depth_growth"].tolist()
    layer = dequantize.VariationalDequantization(3, steps, context, mid, depth, growth)
    loaded(layer, content, "var/w/", double=False)
    x, eps = tensor(content, "var/in/x"), tensor(content, "var/in/eps")
    single(layer.encoder.context(x), content["var/out/context"])
    u, log_q = layer.encoder(x, eps)
    single(u, content["var/out/u"])
    single(log_q, content["var/out/log_qu"])
    close(layer.encoder.inverse(x, u), content["var/in/eps"], 1e-3, 1e-3)
    z, ldj = layer(x, eps)
    single(z, content["var/out/z"])
    single(ldj, content["var/out/ldj"])
    np.testing.assert_array_equal(dequantize.to_levels(z), content["var/out/x_rec"])
    z, ldj = dequantize.uniform_dequantize(tensor(content, "uni/in/x"), tensor(content, "uni/in/u"))
    single(z, content["uni/out/z"])
    single(ldj, content["uni/out/ldj"])
    np.testing.assert_array_equal(dequantize.to_levels(z), content["uni/out/x_rec"])
    base = layers.ConvNormal(3)
    state = weights(content, "convnormal/w/")
    if state:
        base.load_state_dict(state)
    single(base.log_prob(tensor(content, "convnormal/in/x")), content["convnormal/out/log_prob"])


@torch.no_grad()
def check_shapes(name: str, content: Content) -> None:
    x = tensor(content, "ordered0/in/x")
    exact(layers.squeeze(x), content["ordered0/out/z"])
    exact(layers.unsqueeze(layers.squeeze(x)), content["ordered0/out/x_rec"])
    exact(layers.unsqueeze(tensor(content, "unsqueeze/in/x")), content["unsqueeze/out/z"])
    for case in ("switch0", "switch1"):
        x = tensor(content, f"{case}/in/x")
        z, _ = layers.HalfSwap()(x)
        exact(z, content[f"{case}/out/z"])
        exact(layers.swap_halves(z), content[f"{case}/out/inverse_of_z"])  # the original's inverse
        exact(layers.HalfSwap().inverse(z), content[f"{case}/in/x"])
    log_scale, shift = layers.scale_and_shift(tensor(content, "elparams_sequential/in/x"))
    pairs = content["elparams_sequential/out/y"]
    exact(log_scale, 2 * np.tanh(pairs[..., 0] / 2))
    exact(shift, pairs[..., 1])
    z, ldj = Scalar()(tensor(content, "scalar/in/x"))
    exact(z, content["scalar/out/z"])
    exact(ldj, content["scalar/out/ldj"])
    sigmoid = dequantize.Sigmoid().double()
    z, ldj = sigmoid(tensor(content, "sigmoid/in/x"))
    exact(z, content["sigmoid/out/z"])
    exact(ldj, content["sigmoid/out/ldj"])
    exact(sigmoid.inverse(z), content["sigmoid/out/x_rec"])


def make_flow(content: Content, base: bool = True) -> tuple[DenseFlow, dict[str, object]]:
    config = json.loads(str(content["meta/config_json"]))
    shape = FlowShape(
        tuple(config["block"]),
        tuple(config["layers"]),
        tuple(config["mid"]),
        config["gr"],
        config["cdepth"],
        config["cgrowth"],
        *config["dq"],
    )
    return DenseFlow(tuple(config["shape"]), shape, base), config


def noises_of(content: Content, double: bool = False) -> list[torch.Tensor]:
    keys = ["in/eps_dequant", *sorted(key for key in content if key.startswith("in/eta_b"))]
    return [tensor(content, key, double) for key in keys]


@torch.no_grad()
def check_flow(name: str, content: Content) -> None:
    flow, _ = make_flow(content)
    x = tensor(content, "in/x")
    for double in (False, True):
        loaded(flow, content, "w/", double)
        found = flow.encode(x, noises_of(content, double))
        log_base = flow.log_base(found.z)
        if not double:
            single(found.z, content["out/z_f32"])
            close(log_base + found.ldj, content["out/log_prob_f32"], 1e-2, 1e-5)
            single(log_base, content["out/log_base_f32"])
            close(flow.bits_per_dim(log_base + found.ldj), content["out/bpd_f32"], 1e-5, 1e-4)
            continue
        exact(found.z, content["out/z"])
        exact(log_base, content["out/log_base"])
        close(log_base + found.ldj, content["out/log_prob"], 1e-4, 1e-7)
        close(found.ldj, content["out/log_prob_no_base"], 1e-4, 1e-7)
        for number, part in enumerate(found.parts):
            close(part, content[f"out/ldj_t{number:02d}"], 1e-4 if number == 0 else 1e-8, 1e-7)
        for number, half in enumerate(found.dropped):
            exact(half, content[f"out/factored_out_{number}"])
        decoded = flow.decode(found.z, found.dropped)
        exact(decoded, content["out/exact_reconstruction"])
        np.testing.assert_array_equal(flow.to_pixels(decoded), x)
        drawn = [tensor(content, f"in/inverse_eps_{k}", True) for k in reversed(range(len(found.dropped)))]
        decoded = flow.decode(found.z, drawn)
        exact(decoded, content["out/inverse_continuous"])
        np.testing.assert_array_equal(flow.to_pixels(decoded), content["out/inverse_pixels"])


def check_flow_training(name: str, content: Content) -> None:
    flow, _ = make_flow(content)
    loaded(flow, content, "w/", double=False)
    with torch.no_grad():
        for layer in flow.modules():
            if isinstance(layer, layers.ActNorm):
                for value in (layer.shift, layer.log_scale, layer.initialized):
                    value.zero_()
    found = flow.train().encode(tensor(content, "in/x"), noises_of(content))
    loss = flow.bits_per_dim(flow.log_base(found.z) + found.ldj)
    loss.backward()
    close(loss.detach(), content["out/loss_bpd"], 1e-5, 1e-4)
    parameters, buffers = dict(flow.named_parameters()), dict(flow.named_buffers())
    for key, wanted in content.items():
        kind, _, which = key.removeprefix("out/").partition("/")
        if kind == "grad":
            close(parameters[which].grad, wanted, 1e-5, 1e-3)
        elif kind == "gradnorm" and wanted > 1e-6:
            close(parameters[which].grad.norm(), wanted, 1e-5, 1e-3)
        elif kind == "param_after":
            single(parameters[which], wanted)
        elif kind == "buf_after":
            single(buffers[which], wanted)


def formula(state: dict[str, torch.Tensor], salt: int) -> None:
    """Fill a state dict as the README says: a hash of place and key, by the kind of tensor."""
    kept = ("num_batches_tracked", "ldj_per_dim", "_shift", "_scale", "temperature", "buffer")
    for number, key in enumerate(sorted(state)):
        value, last = state[key], key.rpartition(".")[2]
        if last in kept:
            continue
        h = np.arange(value.numel(), dtype=np.uint32) * np.uint32(2654435761)
        h += np.uint32(((number + 1) * 2246822519 + salt) % 2**32)
        h ^= h >> np.uint32(15)
        h *= np.uint32(2246822519)
        h ^= h >> np.uint32(13)
        u = torch.from_numpy(2 * h.astype(np.float64) / 2**32 - 1).view(value.shape)
        if last == "initialized":
            u = torch.ones_like(u)
        elif last == "running_var":
            u = 1 + 0.3 * u
        elif last == "running_mean":
            u = 0.1 * u
        elif last in ("shift", "log_scale", "loc", "bias"):
            u = 0.05 * u
        elif value.ndim == 1:
            u = 1 + 0.1 * u
        elif value.ndim == 2:
            u = torch.eye(len(u)) + 0.2 * u / len(u) ** 0.5
        else:
            u = u / value[0].numel() ** 0.5
        value.copy_(u)


@torch.no_grad()
def check_full(name: str, content: Content) -> None:
    """DenseFlow-74-10 itself."""
    flow = DenseFlow((3, 32, 32), FlowShape()).eval()
    state = flow.state_dict()
    assert len(state) == content["out/n_state_keys"]
    assert sum(p.numel() for p in flow.parameters()) == content["out/n_params"]
    formula(state, int(content["in/salt"]))
    for key in content:
        if key.startswith("check/"):
            np.testing.assert_array_equal(state[key.removeprefix("check/")], content[key])
    found = flow.encode(tensor(content, "in/x"), noises_of(content))
    log_base = flow.log_base(found.z)
    close(found.z, content["out/z_f32"], 5e-4, 1e-3)
    close(log_base, content["out/log_base_f32"], 0.05, 1e-6)
    close(log_base + found.ldj, content["out/log_prob_f32"], 0.05, 1e-6)
    for number, part in enumerate(found.parts):
        close(part, content[f"out/ldj_t{number:02d}_f32"], 0.05, 1e-6)
    np.testing.assert_array_equal(flow.to_pixels(flow.decode(found.z, found.dropped)), content["in/x"])


def check_mixtures(name: str, content: Content) -> None:
    for case in ("diag0", "diag1"):
        mean, v, pi = (tensor(content, f"{case}/w/{key}", True) for key in ("mu", "var", "pi"))
        x = tensor(content, f"{case}/in/x")
        found = component_log_prob(x, mean, v.log() / 2)[:, 0]  # the original's variance is the root of v
        exact(found, content[f"{case}/out/component_log_prob"])
        found = found + pi[0, :, 0].log_softmax(0)
        exact(found, content[f"{case}/out/log_prob_all"])
        exact(found.logsumexp(1), content[f"{case}/out/score_samples"])
        np.testing.assert_array_equal(found.argmax(1), content[f"{case}/out/predict"])
        exact(responsibilities(found), content[f"{case}/out/predict_proba"])
        exact(found.log_softmax(1), content[f"{case}/out/log_resp"])
        exact(found.logsumexp(1).mean(), content[f"{case}/out/e_log_prob_norm_mean"])
    for case, kind, latent in (("ssl", "isotropic", (4, 1, 1)), ("conv2d", "per_channel", None)):
        state = {f"gmms.0.{key}": value for key, value in weights(content, f"{case}/w/").items()}
        if latent is None:
            channels = content["conv2d/w/gaussians.0.loc"].shape[1]
            side = round((content["conv2d/in/x"].shape[1] // channels) ** 0.5)
            latent = (channels, side, side)
        components = len(content[f"{case}/w/{'weights' if case == 'ssl' else 'pi'}"])
        model = Prototypes(1, components, latent, kind)
        model.load_checkpoint(state)
        weighted = model.weighted(tensor(content, f"{case}/in/x"))[:, 0].detach()
        single(weighted.logsumexp(1), content[f"{case}/out/log_prob"])
        if case == "ssl":
            single(weighted, content["ssl/out/log_prob_all"])
            single(weighted.softmax(1), content["ssl/out/class_probs"])
            single(model.log_var[0, :, 0].exp(), content["ssl/out/var"])
    x = tensor(content, "em/in/x")
    low, high = x.min(), x.max()
    scaled = (x - low) / (high - low)
    rows = start.spread_start(scaled, 3, np.random.RandomState(int(content["em/in/numpy_seed"])))
    centres, _ = start.lloyd(scaled, scaled[rows], torch.Generator(), 1e-12)
    centres = centres * (high - low) + low
    single(centres, content["em/out/kmeans_mu"][0])
    mean, v, share = start.expectation_maximisation(x, centres, upstream=True)
    for found, key in ((mean, "mu"), (v, "var"), (share[:, None], "pi")):
        single(found, content[f"em/out/{key}"][0])
    dropped = drop_components(
        tensor(content, "logdropout/in/x"), float(content["logdropout/in/p"]), tensor(content, "logdropout/in/u")
    )
    single(dropped, content["logdropout/out/y"])


def check_kmeans(name: str, content: Content) -> None:
    for case in ("km0", "km1"):
        x = tensor(content, f"{case}/in/x")
        centres, cluster = start.lloyd(x, x[tensor(content, f"{case}/in/init_indices")], torch.Generator())
        close(centres, content[f"{case}/out/centers"], 1e-5)
        np.testing.assert_array_equal(cluster, content[f"{case}/out/assign"])


@torch.no_grad()
def check_losses(name: str, content: Content) -> None:
    z, ldj, labels = (tensor(content, f"in/{key}") for key in ("z", "sldj", "labels"))
    shape = content["in/x_shape"].tolist()
    dims = int(np.prod(shape[1:]))
    classes = content["out/preds_total"].shape[1]
    state = {key: value.double() for key, value in weights(content, "w/").items()}
    model = Prototypes(classes, state["gmms.0.mu"].shape[1], tuple(z.shape[1:])).double()
    model.load_checkpoint(state)
    log_probs = model(z)
    exact(log_probs, content["out/preds_total"])
    exact(model(z, "max"), content["out/preds_max"])
    exact(log_probs.softmax(1), content["out/posterior_total"])
    np.testing.assert_array_equal(log_probs.argmax(1), content["out/argmax_total"])
    own, mixed = losses.label_log_prob(log_probs, labels), tensor(content, "in/pseudo_labels_with_minus1")
    exact(own, content["out/z_log_prob_labels"])
    exact(losses.label_log_prob(log_probs, mixed), content["out/z_log_prob_mixed"])
    exact(losses.marginal_log_prob(log_probs) + np.log(classes), content["out/z_log_prob_marginal"])
    v = torch.stack([state[f"gmms.{label}.var"][0] for label in range(classes)])
    means = model.means()
    base = layers.ConvNormal(z.shape[1]).double()
    base.load_state_dict({key.removeprefix("model.base_dist."): value for key, value in state.items() if "base" in key})
    log_base = base.log_prob(means.reshape(-1, *z.shape[1:])).view(classes, -1)
    found = {
        "loss_xent": losses.cross_entropy(log_probs, labels),
        "loss_elbo2": losses.bits_per_dim(ldj, own, dims),
        "loss_consistency_mixed": losses.bits_per_dim(ldj, losses.label_log_prob(log_probs, mixed), dims),
        "loss_consistency_argmax": losses.bits_per_dim(ldj, log_probs.amax(1), dims),
        "loss_diversity": losses.diversity_loss(means, v.log()),
        "hellinger_c0_01": losses.hellinger(means[0, 0], v.log()[0, 0], means[0, 1], v.log()[0, 1]),
        "loss_cluster": losses.cluster_loss(z.flatten(1), labels, means),
        "loss_proto": losses.prototype_loss(log_base, dims),
    }
    for key, value in found.items():
        exact(value, content[f"out/{key}"])
    exact(v[0].log().sum(1).exp(), content["out/var_det_c0"])
    epochs = [(epoch, 0) for epoch in range(10)] + [(epoch, 3) for epoch in (3, 10, 51, 52, 60)]
    exact(torch.tensor([losses.ramp_up(e, s, 50) for e, s in epochs]).double(), content["out/linear_rampup_e0_9_n50"])
    single(losses.bits_per_dim(ldj, log_probs.amax(1), dims), content["out/test_bpd"])
    single(losses.cross_entropy(log_probs, labels), content["out/test_nll"])
    confidence, predicted = (0.05 * log_probs).softmax(1).max(1)
    right = (predicted == labels).numpy()
    single(torch.tensor(ece(confidence.numpy(), right)), content["out/ece_15bins_of_0.05preds"])


def check_step(name: str, content: Content) -> None:
    """One step of AdamW, in the original's parameters: its v is the square of our variance."""
    flow, config = make_flow(content, base=False)
    state = weights(content, "w/")
    flow.load_state_dict({key.removeprefix("model."): value for key, value in state.items() if "gmms" not in key})
    mixture = {key: value.clone().requires_grad_() for key, value in state.items() if "gmms" in key}

    def log_probs(z: torch.Tensor) -> torch.Tensor:
        mean, v, pi = (
            torch.cat([mixture[f"gmms.{c}.{key}"] for c in range(config["C"])]) for key in ("mu", "var", "pi")
        )
        weighted = component_log_prob(z.flatten(1), mean, v.log() / 2) + pi[..., 0].log_softmax(1)
        return weighted.logsumexp(2)

    groups = [
        {"params": list(flow.parameters()), "lr": config["lr"], "weight_decay": config["wd"]},
        {"params": list(mixture.values()), "lr": config["gmm_lr"], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups)
    labels = tensor(content, "in/labels")
    first = flow.train().encode(tensor(content, "in/x"), noises(content, 1))
    given = log_probs(first.z)
    with torch.no_grad():
        second = log_probs(flow.eval().encode(tensor(content, "in/x2"), noises(content, 2)).z)
    parts = {
        "xent": losses.cross_entropy(given, labels),
        "consistency": losses.bits_per_dim(first.ldj, losses.label_log_prob(given, second.argmax(1)), flow.dims)
        * losses.ramp_up(0, 0, 50),
        "elbo2": losses.bits_per_dim(first.ldj, losses.label_log_prob(given, labels), flow.dims),
    }
    single(given, content["out/preds"])
    close(first.ldj.detach(), content["out/log_prob"], 1e-2, 1e-5)
    close(first.z.detach(), content["out/z"], 1e-5, 1e-4)
    single(second, content["out/preds2_eval"])
    for key, value in parts.items():
        single(value, content[f"out/loss_{key}"])
    total = sum(parts.values())
    single(total, content["out/loss_total"])
    total.backward()
    every = [*flow.parameters(), *mixture.values()]
    norm = torch.nn.utils.clip_grad_norm_(every, config["clip"])
    close(norm, content["out/grad_norm_before_clip"], 1e-5, 1e-3)
    optimizer.step()
    named = {f"model.{key}": value for key, value in flow.state_dict().items()} | mixture
    apart, near, count = 0.0, 0, 0
    for key, wanted in content.items():
        if key.startswith("out/after/"):
            gap = (named[key.removeprefix("out/after/")].detach() - torch.from_numpy(wanted)).abs()
            rate = config["gmm_lr"] if "gmms" in key else config["lr"]
            apart = max(apart, float(gap.max()) / rate)
            near, count = near + int((gap <= 1e-5).sum()), count + gap.numel()
    assert apart <= 2
    assert near >= 0.97 * count


def noises(content: Content, number: int) -> list[torch.Tensor]:
    return [tensor(content, key) for key in sorted(content) if key.startswith(f"in/noise{number}_")]


FAMILIES = [
    ("actnorm", ["init/in/x"], check_actnorm),
    ("affine_coupling", ["affine0/in/x"], check_coupling),
    ("conv1x1", ["orth0/in/x"], check_conv1x1),
    ("coupling_nets", ["nystrom/in/x"], check_nets),
    ("dense_block", ["block/in/x"], check_block),
    ("denseflow_full", ["in/salt"], check_full),
    ("denseflow_mini0_train", ["out/loss_bpd"], check_flow_training),
    ("denseflow_mini1_train", ["out/loss_bpd"], check_flow_training),
    ("denseflow_mini", ["in/x", "out/z"], check_flow),
    ("dequantization", ["var/in/x"], check_dequantization),
    ("gmm", ["diag0/in/x"], check_mixtures),
    ("kmeans", ["km0/in/x"], check_kmeans),
    ("protoflow_losses", ["in/z"], check_losses),
    ("protoflow_step", ["in/x2"], check_step),
    ("shape_ops", ["ordered0/in/x"], check_shapes),
]
