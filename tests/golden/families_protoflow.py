"""Golden files of ProtoFlow: mixtures, their start, losses, a training step.

Not compared: mixtures with full covariances (`full`), which the original builds nowhere; the value of
`conv2d/out/log_prob_all`, which its README calls a trap; the M step alone (`diag*/out/m_*`), which `em` repeats; the
largest error of a calibration bin.
"""

import json
import re

import families_dense_flow
import numpy as np
import torch
from compare import as_array
from families_dense_flow import (
    WITHOUT_EFFECT,
    exact,
    filled,
    flow_of,
    gradient,
    lent_flow,
    levels,
    noises_of,
    normal,
    single,
)
from golden_file import Arrays, Family, GoldenFile, Method, blank
from torch import Tensor

from lookalike.backbones.flow.density import bits_per_dim
from lookalike.backbones.flow.layers import ConvNormal
from lookalike.methods.protoflow import initialisation, losses
from lookalike.methods.protoflow.prototypes import (
    GaussianPrototypes,
    component_log_prob,
    drop_components,
    responsibilities,
)
from lookalike.metrics.calibration import ece

# Mixtures -----------------------------------------------------------------------------------------


def check_mixtures(file: GoldenFile) -> None:
    for case in file.cases("/in/x"):
        for kind, check in {
            "diag": check_diagonal,
            "ssl": check_isotropic,
            "conv2d": check_per_channel,
            "em": check_expectation_maximisation,
            "logdropout": check_dropout,
        }.items():
            if case.startswith(kind):
                check(file, case)


def check_diagonal(file: GoldenFile, case: str) -> None:
    mean, v, pi = (file.tensor(f"{case}/w/{key}", double=True) for key in ("mu", "var", "pi"))
    # The original's variance is the root of v.
    log_probs = component_log_prob(file.tensor(f"{case}/in/x"), mean, v.log() / 2)[:, 0]
    exact(file, f"{case}/out/component_log_prob", log_probs)
    log_probs = log_probs + pi[0, :, 0].log_softmax(0)
    exact(file, f"{case}/out/log_prob_all", log_probs)
    exact(file, f"{case}/out/score_samples", log_probs.logsumexp(1))
    file.equal(f"{case}/out/predict", log_probs.argmax(1))
    exact(file, f"{case}/out/predict_proba", responsibilities(log_probs))
    exact(file, f"{case}/out/log_resp", log_probs.log_softmax(1))
    exact(file, f"{case}/out/e_log_prob_norm_mean", log_probs.logsumexp(1).mean())


def check_isotropic(file: GoldenFile, case: str) -> None:
    x, state = file.tensor(f"{case}/in/x"), file.state(f"{case}/w/")
    model = GaussianPrototypes(1, len(state["weights"]), (x.shape[1], 1, 1), "isotropic")
    model.load_checkpoint({f"gmms.0.{key}": value for key, value in state.items()})
    weighted = model.weighted(x)[:, 0]
    single(file, f"{case}/out/log_prob", weighted.logsumexp(1))
    single(file, f"{case}/out/log_prob_all", weighted)
    single(file, f"{case}/out/class_probs", weighted.softmax(1))
    single(file, f"{case}/out/var", model.log_var[0, :, 0].exp())


def check_per_channel(file: GoldenFile, case: str) -> None:
    x, state = file.tensor(f"{case}/in/x"), file.state(f"{case}/w/")
    channels = state["gaussians.0.loc"].shape[1]
    model = GaussianPrototypes(1, len(state["pi"]), (channels, x.shape[1] // channels, 1), "per_channel")
    model.load_checkpoint({f"gmms.0.{key}": value for key, value in state.items()})
    single(file, f"{case}/out/log_prob", model(x)[:, 0])


def check_expectation_maximisation(file: GoldenFile, case: str) -> None:
    x, count = file.tensor(f"{case}/in/x"), file[f"{case}/out/kmeans_mu"].shape[1]
    low, high = x.min(), x.max()
    centres = upstream_clusters((x - low) / (high - low), count, file.number(f"{case}/in/numpy_seed"))
    centres = centres * (high - low) + low
    single(file, f"{case}/out/kmeans_mu", centres[None])
    mean, v, share = initialisation.expectation_maximisation(x, centres, upstream=True)
    single(file, f"{case}/out/mu", mean[None])
    single(file, f"{case}/out/var", v[None])
    single(file, f"{case}/out/pi", share[None, :, None])
    log_probs = component_log_prob(x, mean[None], v.log()[None] / 2)[:, 0] + share.log_softmax(0)
    single(file, f"{case}/out/score", log_probs.logsumexp(1))


def upstream_clusters(x: Tensor, count: int, seed: int) -> Tensor:
    """The original's k-means: from the best of fifty draws, until no centre moves by more than 1e-3."""
    random, best, least = np.random.RandomState(seed), x, np.inf
    for _ in range(50):
        rows = random.choice(len(x), count, replace=False)
        distance, nearest = torch.cdist(x, x[rows]).min(1)
        spread = sum(float(distance[nearest == number].mean()) for number in range(count))
        if spread < least:
            best, least = x[rows], spread
    moved = np.inf
    while moved > 1e-3:
        nearest = torch.cdist(x, best).argmin(1)
        centres = torch.stack([x[nearest == number].mean(0) for number in range(count)])
        moved, best = float((centres - best).norm(dim=1).max()), centres
    return best


def check_dropout(file: GoldenFile, case: str) -> None:
    x, share, uniform = file.tensor(f"{case}/in/x"), file.number(f"{case}/in/p"), file.tensor(f"{case}/in/u")
    single(file, f"{case}/out/y", drop_components(x, share, uniform))


def example_mixtures() -> dict[str, Arrays]:
    random = np.random.RandomState(1)
    arrays = {
        "diag4/in/x": random.randn(5, 2),
        "diag4/w/mu": normal(2, 1, 6, 2),
        "diag4/w/var": np.exp(normal(3, 1, 6, 2)),
        "diag4/w/pi": normal(4, 1, 6, 1),
        "ssl/in/x": normal(5, 3, 7),
        "ssl/w/mu": normal(6, 2, 7),
        "ssl/w/inv_cov_stds": normal(7, 2),
        "ssl/w/weights": normal(8, 2),
        "conv2d/in/x": normal(9, 4, 3 * 2 * 5),
        "conv2d/w/pi": normal(10, 2),
        "em/in/x": (4 * random.randn(4, 3)[np.arange(45) % 4] + random.randn(45, 3)).astype(np.float32),
        "em/in/numpy_seed": np.array(99),
        "em/out/kmeans_mu": blank(1, 4, 3),
        "logdropout/in/x": normal(11, 2, 9),
        "logdropout/in/u": random.rand(2, 9).astype(np.float32),
        "logdropout/in/p": np.array(0.6),
    }
    for k in range(2):
        arrays |= {f"conv2d/w/gaussians.{k}.{key}": normal(12 + k, 1, 3, 1, 1) for key in ("loc", "log_scale")}
    return {"gmm": arrays}


def check_kmeans(file: GoldenFile) -> None:
    for case in file.cases("/in/x"):
        x, rows = file.tensor(f"{case}/in/x"), file.tensor(f"{case}/in/init_indices")
        assert len(rows) == file.number(f"{case}/in/k")
        centres, cluster = initialisation.lloyd(x, x[rows], torch.Generator())
        file.close(f"{case}/out/centers", centres, 1e-5)
        file.equal(f"{case}/out/assign", cluster)


def example_kmeans() -> dict[str, Arrays]:
    arrays: Arrays = {}
    for case, rows, width, count in (("km4", 25, 2, 2), ("km5", 70, 5, 7)):
        start = np.random.RandomState(69).choice(rows, count, replace=False)
        arrays |= {f"{case}/in/x": normal(rows, rows, width), f"{case}/in/k": np.array(count)}
        arrays[f"{case}/in/init_indices"] = start
    return {"kmeans": arrays}


# Losses and training ------------------------------------------------------------------------------


@torch.no_grad()
def check_losses(file: GoldenFile) -> None:
    z, ldj, labels = (file.tensor(f"in/{key}") for key in ("z", "sldj", "labels"))
    state = {key: value.double() for key, value in file.state("w/").items()}
    mixtures = {key: value for key, value in state.items() if key.startswith("gmms.")}
    classes = len({key.split(".")[1] for key in mixtures})
    shape, latent = file["in/x_shape"].tolist(), tuple(z.shape[1:])
    dims = int(np.prod(shape)) // len(z)
    model = GaussianPrototypes(classes, state["gmms.0.mu"].shape[1], latent).double()
    model.load_checkpoint(mixtures)
    log_probs = model(z)
    exact(file, "out/preds_total", log_probs)
    exact(file, "out/preds_max", model(z, "max"))
    exact(file, "out/posterior_total", log_probs.softmax(1))
    file.equal("out/argmax_total", log_probs.argmax(1))
    of_label = losses.label_log_prob(log_probs, labels)
    mixed = losses.label_log_prob(log_probs, file.tensor("in/pseudo_labels_with_minus1"))
    exact(file, "out/z_log_prob_labels", of_label)
    exact(file, "out/z_log_prob_mixed", mixed)
    exact(file, "out/z_log_prob_marginal", losses.marginal_log_prob(log_probs) + np.log(classes))
    v, means = torch.cat([state[f"gmms.{label}.var"] for label in range(classes)]), model.means()
    base = ConvNormal(latent[0]).double()
    base.load_state_dict({key.removeprefix("model.base_dist."): state[key] for key in state.keys() - mixtures.keys()})
    log_base = base.log_prob(means.reshape(-1, *latent)).view(classes, -1)
    terms = {
        "loss_xent": losses.cross_entropy(log_probs, labels),
        "loss_elbo2": bits_per_dim(ldj, of_label, dims),
        "loss_consistency_mixed": bits_per_dim(ldj, mixed, dims),
        "loss_consistency_argmax": bits_per_dim(ldj, log_probs.amax(1), dims),
        "loss_diversity": losses.diversity_loss(means, v.log()),
        "hellinger_c0_01": losses.hellinger(means[0, 0], v.log()[0, 0], means[0, 1], v.log()[0, 1]),
        "loss_cluster": losses.cluster_loss(z.flatten(1), labels, means),
        # The original counts a square picture of three channels, of the last axis' length.
        "loss_proto": losses.prototype_loss(log_base, 3 * shape[-1] ** 2),
        "var_det_c0": v[0].log().sum(1).exp(),
    }
    for key, ours in terms.items():
        exact(file, f"out/{key}", ours)
    epochs = [(epoch, 0) for epoch in range(10)] + [(epoch, 3) for epoch in (3, 10, 51, 52, 60)]
    exact(file, "out/linear_rampup_e0_9_n50", [losses.ramp_up(epoch, start, 50) for epoch, start in epochs])
    single(file, "out/test_bpd", bits_per_dim(ldj, log_probs.amax(1), dims))
    single(file, "out/test_nll", losses.cross_entropy(log_probs, labels))
    for key in [key for key in file if key.startswith("out/ece_")]:
        bins, factor = re.fullmatch(r"out/ece_(\d+)bins_of_([\d.]+)preds", key).groups()
        confidence, predicted = (float(factor) * log_probs).softmax(1).max(1)
        single(file, key, ece(confidence.numpy(), (predicted == labels).numpy(), int(bins)))


def mixture_inputs(prefix: str, classes: int, components: int, dims: int) -> Arrays:
    arrays: Arrays = {}
    for label in range(classes):
        arrays |= {
            f"{prefix}gmms.{label}.mu": normal(label, 1, components, dims),
            f"{prefix}gmms.{label}.var": np.exp(normal(label + 50, 1, components, dims) / 2),
            f"{prefix}gmms.{label}.pi": normal(label + 90, 1, components, 1),
        }
    return arrays


def example_losses() -> dict[str, Arrays]:
    files = {}
    for name, count, classes, components, latent, shape in (
        ("", 5, 11, 2, (3, 1, 2), (3, 6, 10)),
        ("_b", 8, 2, 4, (2, 3, 1), (3, 8, 4)),
    ):
        random = np.random.RandomState(count)
        files[f"protoflow_losses{name}"] = {
            "in/z": random.randn(count, *latent),
            "in/sldj": -300 + 10 * random.randn(count),
            "in/labels": np.arange(count) % classes,
            "in/pseudo_labels_with_minus1": np.arange(count) % (classes + 1) - 1,
            "in/x_shape": np.array([count, *shape]),
            "out/ece_7bins_of_0.3preds": blank(),
            **mixture_inputs("w/", classes, components, int(np.prod(latent))),
            **filled(ConvNormal(latent[0]), "w/model.base_dist."),
        }
        arrays = files[f"protoflow_losses{name}"]
        scale = np.exp(arrays["w/model.base_dist.log_scale"].astype(np.float64))
        means = np.stack([arrays[f"w/gmms.{label}.mu"][0] for label in range(classes)]).astype(np.float64)
        apart = (means.reshape(classes, components, *latent) - arrays["w/model.base_dist.loc"]) / scale
        nats = (np.log(scale * np.sqrt(2 * np.pi)) + apart**2 / 2).sum((2, 3, 4))
        arrays["out/loss_proto"] = nats.mean() / (np.log(2) * 3 * shape[2] ** 2)
    return files


def check_step(file: GoldenFile) -> None:
    """One step of AdamW, in the original's parameters: its v is the square of our variance."""
    config = file.settings("meta/config_json")
    flow, state = flow_of(config, base=False), file.state("w/")
    flow.load_state_dict({key.removeprefix("model."): value for key, value in state.items() if "gmms" not in key})
    mixture = {key: value.requires_grad_() for key, value in state.items() if "gmms" in key}

    def log_probs_of(z: Tensor) -> Tensor:
        parts = ([mixture[f"gmms.{label}.{key}"] for label in range(config["C"])] for key in ("mu", "var", "pi"))
        mean, v, pi = (torch.cat(part) for part in parts)
        assert mean.shape[1] == config["K"]
        return (component_log_prob(z.flatten(1), mean, v.log() / 2) + pi[..., 0].log_softmax(1)).logsumexp(2)

    groups = [
        {"params": list(flow.parameters()), "lr": config["lr"], "weight_decay": config["wd"]},
        {"params": list(mixture.values()), "lr": config["gmm_lr"], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups)
    x, labels = file.tensor("in/x"), file.tensor("in/labels")
    assert len(x) == config["n"]
    first = flow.train().encode(x, noises_of(file, "in/noise1_"))
    log_probs = log_probs_of(first.z)
    with torch.no_grad():
        second = log_probs_of(flow.eval().encode(file.tensor("in/x2"), noises_of(file, "in/noise2_")).z)
    other_view = losses.label_log_prob(log_probs, second.argmax(1))
    terms = {
        "xent": losses.cross_entropy(log_probs, labels),
        "consistency": bits_per_dim(first.ldj, other_view, flow.dims) * losses.ramp_up(0, 0, 50),
        "elbo2": bits_per_dim(first.ldj, losses.label_log_prob(log_probs, labels), flow.dims),
    }
    single(file, "out/preds", log_probs)
    file.close("out/log_prob", first.ldj, 1e-2, 1e-5, entrywise=True)
    single(file, "out/z", first.z)
    single(file, "out/preds2_eval", second)
    for key, value in terms.items():
        single(file, f"out/loss_{key}", value)
    total = sum(terms.values())
    single(file, "out/loss_total", total)
    total.backward()
    every = [*flow.parameters(), *mixture.values()]
    norm = torch.nn.utils.clip_grad_norm_(every, config["clip"])
    gradient(file, "out/grad_norm_before_clip", norm)
    optimizer.step()
    named = {f"model.{key}": value for key, value in flow.named_parameters()} | mixture
    gaps = []
    for key, parameter in named.items():
        if file.holds(f"out/after/{key}"):
            gaps.append(np.abs(as_array(parameter) - file.result(f"out/after/{key}", parameter)).ravel())
            assert (gaps[-1] <= 2.001 * config["gmm_lr" if "gmms" in key else "lr"]).all(), key
    assert (np.concatenate(gaps) <= 1e-5).mean() >= 0.97


def example_steps() -> dict[str, Arrays]:
    config = {"shape": [1, 4, 8], "block": [2], "layers": [1], "mid": [4], "gr": 2, "cdepth": 1, "cgrowth": 3}
    config |= {"dq": [1, 3, 4, 1, 2], "n": 4, "C": 5, "K": 3, "lr": 1e-3, "gmm_lr": 5e-3, "wd": 0.01, "clip": 2.0}
    flow = flow_of(config, base=False)
    arrays = {"in/x": levels(1, 4, 1, 4, 8), "in/x2": levels(2, 4, 1, 4, 8), "in/labels": np.array([4, 0, 1, 3])}
    for view in (1, 2):
        for number, shape in enumerate(flow.noise_shapes()):
            arrays[f"in/noise{view}_{number:02d}"] = normal(10 * view + number, 4, *shape)
    weights = filled(flow, "w/model.") | mixture_inputs("w/", 5, 3, int(np.prod(flow.out_shape)))
    return {"protoflow_step": {**arrays, **weights, "meta/config_json": np.array(json.dumps(config))}}


METHOD = Method(
    (
        *families_dense_flow.FAMILIES,
        Family("gmm*", check_mixtures, example_mixtures, ("full/*", "conv2d*/out/log_prob_all", "diag*/out/m_*")),
        Family("kmeans*", check_kmeans, example_kmeans),
        Family("protoflow_losses*", check_losses, example_losses, ("out/mce_*",)),
        Family("protoflow_step*", check_step, example_steps, WITHOUT_EFFECT),
    ),
    lent_flow,
)
