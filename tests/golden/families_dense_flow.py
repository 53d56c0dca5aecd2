"""Golden files of DenseFlow: layers, networks, blocks, dequantization, whole flows and their gradients.

Not compared: orders of channels that no network uses (`ordered1`, `elparams_interleaved`).
"""

import json
import re
from pathlib import Path
from typing import Any, TypeVar

import compare
import numpy as np
import torch
from compare import Values
from golden_file import Arrays, Family, GoldenFile, blank, read_arrays
from torch import Tensor, nn

from lookalike.backbones.flow import blocks, dequantize, layers, nets
from lookalike.backbones.flow.dense_flow import DenseFlow, FlowShape, Scalar
from lookalike.backbones.flow.density import bits_per_dim

Module = TypeVar("Module", bound=nn.Module)


def exact(file: GoldenFile, key: str, ours: Values) -> None:
    """Compare what was computed in float64."""
    file.close(key, ours, 1e-8, 1e-7, entrywise=True)


def single(file: GoldenFile, key: str, ours: Values) -> None:
    """Compare what was computed in float32."""
    file.close(key, ours, 1e-5, 1e-4, entrywise=True)


def gradient(file: GoldenFile, key: str, ours: Values) -> None:
    file.close(key, ours, 1e-5, 1e-3)


def in_order(keys: list[str]) -> list[str]:
    """Names by the numbers in them: the tenth comes after the second."""
    return sorted(keys, key=lambda key: [int(number) for number in re.findall(r"\d+", key)])


def noises_of(file: GoldenFile, prefix: str, double: bool = False) -> list[Tensor]:
    return [file.tensor(key, double) for key in in_order([key for key in file if key.startswith(prefix)])]


def loaded(module: Module, file: GoldenFile, prefix: str, double: bool = True) -> Module:
    """A module with the file's weights, every name and shape of which must be its own."""
    module.load_state_dict(file.state(prefix))
    return (module.double() if double else module).eval()


def fill(state: dict[str, Tensor], salt: int) -> None:
    """Fill a state dict by a hash of place and key, by the kind of tensor: the README's formula."""
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


def filled(module: nn.Module, prefix: str, salt: int = 7) -> Arrays:
    """Weights of a module for a new file."""
    state = {key: value.clone() for key, value in module.state_dict().items()}
    fill(state, salt)
    return {f"{prefix}{key}": value.numpy() for key, value in state.items()}


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.RandomState(seed).randn(*shape).astype(np.float32)


def levels(seed: int, *shape: int) -> np.ndarray:
    return np.random.RandomState(seed).randint(0, 256, shape)


# Layers -------------------------------------------------------------------------------------------


@torch.no_grad()
def check_actnorm(file: GoldenFile) -> None:
    x = file.tensor("init/in/x")
    layer = layers.ActNorm(x.shape[1]).train()
    z, ldj = layer(x)
    for key, ours in (("shift", layer.shift), ("log_scale", layer.log_scale), ("z", z), ("ldj", ldj)):
        single(file, f"init/out/{key}", ours)
    file.equal("init/out/initialized", layer.initialized)
    x = file.tensor("eval/in/x", double=True)
    check_inverse(file, "eval", loaded(layers.ActNorm(x.shape[1]), file, "eval/w/"), x)


def check_inverse(file: GoldenFile, case: str, layer: nn.Module, x: Tensor, *context: Tensor) -> None:
    z, ldj = layer(x, *context)
    exact(file, f"{case}/out/z", z)
    exact(file, f"{case}/out/ldj", ldj)
    exact(file, f"{case}/out/x_rec", layer.inverse(z, *context))


def example_actnorm() -> dict[str, Arrays]:
    arrays = {"init/in/x": normal(1, 2, 3, 5, 2), "eval/in/x": normal(2, 3, 9, 2, 4)}
    return {"actnorm": arrays | filled(layers.ActNorm(9), "eval/w/")}


@torch.no_grad()
def check_conv1x1(file: GoldenFile) -> None:
    for case in file.cases("/in/x"):
        layer = loaded(layers.Conv1x1(len(file[f"{case}/w/weight"])), file, f"{case}/w/")
        check_inverse(file, case, layer, file.tensor(f"{case}/in/x", double=True))


def example_conv1x1() -> dict[str, Arrays]:
    arrays = {"gen7/in/x": normal(1, 1, 5, 3, 2), "orth3/in/x": normal(2, 4, 2, 1, 6)}
    return {"conv1x1": arrays | filled(layers.Conv1x1(5), "gen7/w/") | filled(layers.Conv1x1(2), "orth3/w/")}


@torch.no_grad()
def check_coupling(file: GoldenFile) -> None:
    for case in file.cases("/in/x"):
        x = file.tensor(f"{case}/in/x", double=True)
        if f"{case}/in/context" in file:
            context = file.tensor(f"{case}/in/context", double=True)
            prefix = f"{case}/w/coupling_net.0.transform"
            mid, depth, growth, _ = dense_sizes(file, f"{prefix}.1.dense.")
            layer = layers.Coupling(x.shape[1], mid, depth, growth, context.shape[1])
            check_inverse(file, case, loaded(layer, file, f"{case}/w/"), x, context)
            continue
        layer = layers.Coupling(*file[f"{case}/meta/channels_mid_depth_growth"].tolist())
        check_inverse(file, case, loaded(layer, file, f"{case}/w/"), x)
        z, ldj = layer.train()(x)
        exact(file, f"{case}/out/z_train", z)
        exact(file, f"{case}/out/ldj_train", ldj)


def dense_sizes(file: GoldenFile, prefix: str) -> tuple[int, int, int, int]:
    """Inputs, depth, growth and outputs of a dense block whose weights a file has."""
    depth = sum(key.startswith(prefix) and key.endswith(".nn.0.bias") for key in file)
    outputs = len(file[f"{prefix}{depth}.conv.bias"]) // 3
    return len(file[f"{prefix}0.nn.0.bias"]), depth, len(file[f"{prefix}0.nn.2.bias"]), outputs


def example_couplings() -> dict[str, Arrays]:
    arrays = {
        "affine5/in/x": normal(1, 1, 6, 2, 8),
        "affine5/meta/channels_mid_depth_growth": np.array([6, 4, 1, 5]),
        "cond/in/x": normal(2, 3, 8, 1, 3),
        "cond/in/context": normal(3, 3, 2, 1, 3),
    }
    arrays |= filled(layers.Coupling(6, 4, 1, 5), "affine5/w/")
    return {"affine_coupling": arrays | filled(layers.Coupling(8, 5, 3, 2, 2), "cond/w/")}


@torch.no_grad()
def check_nets(file: GoldenFile) -> None:
    alone = dense_sizes(file, "dense/w/")
    inputs, depth, growth, outputs = dense_sizes(file, "densenet/w/transform.1.dense.")
    mid, ends = file["densenet/w/transform.0.weight"], file["densenet/w/transform.2.bias"]
    conv = file["gated/w/conv.weight"]
    for case, module in {
        "nystrom": nets.Nystrom(file["nystrom/w/qkv.weight"].shape[1]),
        "gated": nets.GatedConv(conv.shape[1], len(conv) // 3),
        "dense": nets.DenseNetBlock(alone[0], alone[3], *alone[1:3]),
        "densenet": nets.ConvNet(mid.shape[1], nets.ResidualDenseBlock(inputs, depth, growth), outputs, len(ends)),
    }.items():
        exact(file, f"{case}/out/y", loaded(module, file, f"{case}/w/")(file.tensor(f"{case}/in/x", double=True)))
    exact(file, "pinv/out/inv", nets.pseudo_inverse(file.tensor("pinv/in/mat")))
    inputs, depth, growth, _ = dense_sizes(file, "mhdense/w/dense.")
    module = loaded(nets.MultiHeadDense(inputs, depth, growth), file, "mhdense/w/")
    x = file.tensor("mhdense/in/x", double=True)
    exact(file, "mhdense/out/y_eval", module(x))
    exact(file, "mhdense/out/y_train", module.train()(x))
    exact(file, "mhdense/out/running_mean_after", module.mix_conv[0].running_mean)
    exact(file, "mhdense/out/running_var_after", module.mix_conv[0].running_var)


def example_nets() -> dict[str, Arrays]:
    modules = {
        "nystrom": (nets.Nystrom(4), (1, 4, 2, 6)),
        "gated": (nets.GatedConv(3, 5), (3, 3, 1, 2)),
        "dense": (nets.DenseNetBlock(2, 7, 3, 4), (2, 2, 5, 3)),
        "densenet": (nets.ConvNet(3, nets.ResidualDenseBlock(6, 1, 2), 6, 8), (1, 3, 4, 3)),
        "mhdense": (nets.MultiHeadDense(4, 1, 5), (2, 4, 8, 2)),
    }
    arrays: Arrays = {"pinv/in/mat": np.random.RandomState(5).rand(2, 6, 6)}
    for case, (module, shape) in modules.items():
        arrays |= {f"{case}/in/x": normal(len(case), *shape), **filled(module, f"{case}/w/")}
    return {"coupling_nets": arrays}


@torch.no_grad()
def check_block(file: GoldenFile) -> None:
    sizes = file["block/meta/in_steps_layers_mid_growth_depth_dgrowth"].tolist()
    block = loaded(blocks.FlowBlock(*sizes), file, "block/w/")
    noise, bound = block.noise_params[0](*(file.tensor(f"cross/in/{key}", double=True) for key in ("g", "eta")))
    exact(file, "cross/out/eta_hat", noise)
    exact(file, "cross/out/ll", bound)
    z, ldj = block(file.tensor("block/in/x", double=True), noises_of(file, "block/in/eta_u", double=True))
    exact(file, "block/out/z", z)
    exact(file, "block/out/ldj", ldj)
    exact(file, "block/out/x_rec", block.inverse(z))
    x, half = (file.tensor(f"transition/in/{key}", double=True) for key in ("x", "eps"))
    kept, dropped, log_prob = blocks.Transition()(x)
    exact(file, "transition/out/z", kept)
    exact(file, "transition/out/logp", log_prob)
    exact(file, "transition/out/x_from_eps", blocks.Transition().inverse(kept, half))
    compare.close(blocks.Transition().inverse(kept, dropped), x, 1e-8, 1e-7)


def example_blocks() -> dict[str, Arrays]:
    arrays = {
        "block/meta/in_steps_layers_mid_growth_depth_dgrowth": np.array([6, 2, 2, 4, 4, 1, 3]),
        "cross/in/g": normal(1, 1, 6, 3, 2),
        "cross/in/eta": normal(2, 1, 4, 3, 2),
        "block/in/x": normal(3, 3, 6, 2, 4),
        "block/in/eta_u1": normal(4, 3, 4, 2, 4),
        "transition/in/x": normal(5, 1, 3, 6, 2),
        "transition/in/eps": normal(6, 1, 6, 3, 1),
    }
    return {"dense_block": arrays | filled(blocks.FlowBlock(6, 2, 2, 4, 4, 1, 3), "block/w/")}


@torch.no_grad()
def check_dequantization(file: GoldenFile) -> None:
    x, eps = file.tensor("var/in/x"), file.tensor("var/in/eps")
    sizes = file["var/meta/steps_context_mid_depth_growth"].tolist()
    layer = loaded(dequantize.VariationalDequantization(x.shape[1], *sizes), file, "var/w/", double=False)
    single(file, "var/out/context", layer.encoder.context(x))
    u, log_q = layer.encoder(x, eps)
    single(file, "var/out/u", u)
    single(file, "var/out/log_qu", log_q)
    compare.close(layer.encoder.inverse(x, u), eps, 1e-3, 1e-3)
    z, ldj = layer(x, eps)
    single(file, "var/out/z", z)
    single(file, "var/out/ldj", ldj)
    file.equal("var/out/x_rec", dequantize.to_levels(z))
    # Uniform noise, which no network uses: the way back is the same.
    x, u = file.tensor("uni/in/x"), file.tensor("uni/in/u")
    z = (x + u) / dequantize.LEVELS
    single(file, "uni/out/z", z)
    single(file, "uni/out/ldj", np.full(len(x), -x[0].numel() * np.log(dequantize.LEVELS)))
    file.equal("uni/out/x_rec", dequantize.to_levels(z))
    x = file.tensor("convnormal/in/x")
    base = loaded(layers.ConvNormal(x.shape[1]), file, "convnormal/w/", double=False)
    single(file, "convnormal/out/log_prob", base.log_prob(x))


def example_dequantizations() -> dict[str, Arrays]:
    arrays = {
        "var/meta/steps_context_mid_depth_growth": np.array([3, 4, 5, 1, 6]),
        "var/in/x": levels(1, 1, 2, 6, 4),
        "var/in/eps": normal(2, 1, 8, 3, 2),
        "uni/in/x": levels(3, 4, 1, 2, 5),
        "uni/in/u": np.random.RandomState(4).rand(4, 1, 2, 5).astype(np.float32),
        "convnormal/in/x": normal(5, 2, 7, 1, 3),
    }
    arrays |= filled(dequantize.VariationalDequantization(2, 3, 4, 5, 1, 6), "var/w/")
    return {"dequantization": arrays | filled(layers.ConvNormal(7), "convnormal/w/")}


@torch.no_grad()
def check_shapes(file: GoldenFile) -> None:
    for case in file.cases("/in/x"):
        x = file.tensor(f"{case}/in/x")
        kind = case.rstrip("0123456789")
        if case == "ordered0":
            z = layers.squeeze(x)
            exact(file, f"{case}/out/z", z)
            exact(file, f"{case}/out/ldj", np.zeros(len(x)))
            exact(file, f"{case}/out/x_rec", layers.unsqueeze(z))
        elif kind == "unsqueeze":
            exact(file, f"{case}/out/z", layers.unsqueeze(x))
        elif kind == "switch":
            z, _ = layers.HalfSwap()(x)
            exact(file, f"{case}/out/z", z)
            exact(file, f"{case}/out/inverse_of_z", layers.swap_halves(z))  # the original's, wrong for odd channels
            compare.equal(layers.HalfSwap().inverse(z), x)
        elif kind == "elparams_sequential":
            log_scale, shift = layers.scale_and_shift(x)
            stored = file.result(f"{case}/out/y", torch.stack([2 * torch.atanh(log_scale / 2), shift], -1))
            compare.close(log_scale, 2 * np.tanh(stored[..., 0] / 2), 1e-6, what=f"{case} scale")
            compare.equal(shift, stored[..., 1])
        elif kind == "scalar":
            z, ldj = Scalar()(x)
            single(file, f"{case}/out/z", z)
            single(file, f"{case}/out/ldj", ldj)
        elif kind == "sigmoid":
            check_inverse(file, case, dequantize.Sigmoid().double(), x)


def example_shapes() -> dict[str, Arrays]:
    shapes = {"ordered0": (1, 3, 2, 8), "unsqueeze": (3, 4, 1, 5), "switch4": (1, 8, 3, 1), "switch5": (2, 7, 1, 2)}
    shapes |= {"elparams_sequential": (1, 6, 3, 2), "scalar": (4, 1, 2, 3), "sigmoid": (3, 2, 1, 4)}
    arrays = {f"{case}/in/x": normal(len(case), *shape).astype(np.float64) for case, shape in shapes.items()}
    return {"shape_ops": arrays}


# Whole flows --------------------------------------------------------------------------------------


LONG_NAMES = {"block": "block_conf", "layers": "layers_conf", "mid": "layer_mid_chnls", "gr": "growth_rate"}


def flow_of(config: dict[str, Any], base: bool = True) -> DenseFlow:
    """The flow of a file's configuration."""
    units, modules, mid = (
        tuple(config[name if name in config else LONG_NAMES[name]]) for name in ("block", "layers", "mid")
    )
    growth = config["gr" if "gr" in config else LONG_NAMES["gr"]]
    rest = [config["cdepth"], config["cgrowth"], *config["dq"]] if "dq" in config else []  # else those of the real one
    return DenseFlow(tuple(config["shape"]), FlowShape(units, modules, mid, growth, *rest), base)


def flow_inputs(config: dict[str, Any], count: int, seed: int) -> Arrays:
    """Configuration, images and noises of a new file; weights are put beside them."""
    first, *noises = flow_of(config).noise_shapes()
    shape = config["shape"]
    arrays = {"in/x": levels(seed, count, *shape), "in/eps_dequant": normal(seed, count, *first)}
    units = config["block" if "block" in config else "block_conf"]
    names = [f"in/eta_b{block}_u{unit}" for block, number in enumerate(units) for unit in range(1, number)]
    for number, (name, noise) in enumerate(zip(names, noises, strict=True)):
        arrays[name] = normal(seed + number, count, *noise)
    return {**arrays, "meta/config_json": np.array(json.dumps(config))}


FLOWS: dict[str, dict[str, Any]] = {
    "denseflow_mini7": {
        **{"shape": [1, 8, 16], "block": [1, 2], "layers": [1, 2], "mid": [4, 6], "gr": 4, "cdepth": 1, "cgrowth": 3},
        **{"dq": [1, 3, 5, 1, 2], "n": 2},
    },
    "denseflow_mini11": {  # more than nine units: the tenth noise is the tenth
        **{"shape": [2, 4, 8], "block": [11], "layers": [1], "mid": [4], "gr": 2, "cdepth": 1, "cgrowth": 2},
        **{"dq": [1, 2, 3, 1, 2], "n": 1},
    },
}


@torch.no_grad()
def check_flow(file: GoldenFile) -> None:
    config = file.settings("meta/config_json")
    flow, x = flow_of(config), file.tensor("in/x")
    assert len(x) == config["n"]
    outputs: list[Tensor] = []
    for layer in flow.transforms:
        layer.register_forward_hook(lambda layer, inputs, output: outputs.append(output[0]))

    loaded(flow, file, "w/", double=False)
    encoded = flow.encode(x, noises_of(file, "in/eps_dequant") + noises_of(file, "in/eta_b"))
    log_base = flow.log_base(encoded.z)
    single(file, "out/z_f32", encoded.z)
    single(file, "out/log_base_f32", log_base)
    file.close("out/log_prob_f32", log_base + encoded.ldj, 1e-2, 1e-5, entrywise=True)
    single(file, "out/bpd_f32", bits_per_dim(encoded.ldj, log_base, flow.dims))

    loaded(flow, file, "w/")
    outputs.clear()
    encoded = flow.encode(x, noises_of(file, "in/eps_dequant", double=True) + noises_of(file, "in/eta_b", double=True))
    log_base = flow.log_base(encoded.z)
    exact(file, "out/z", encoded.z)
    exact(file, "out/log_base", log_base)
    file.close("out/log_prob", log_base + encoded.ldj, 1e-4, 1e-7, entrywise=True)
    file.close("out/log_prob_no_base", encoded.ldj, 1e-4, 1e-7, entrywise=True)
    outputs.insert(2, layers.squeeze(outputs[1]))  # a function here
    for number, (part, output) in enumerate(zip(encoded.parts, outputs, strict=True)):
        file.close(f"out/ldj_t{number:02d}", part, 1e-8 if number else 1e-4, 1e-7, entrywise=True)
        file.equal(f"out/shape_t{number:02d}", list(output.shape))
        if number < 3:
            exact(file, f"out/h_t{number:02d}", output)
    for number, half in enumerate(encoded.dropped):
        exact(file, f"out/factored_out_{number}", half)
    decoded = flow.decode(encoded.z, encoded.dropped)
    exact(file, "out/exact_reconstruction", decoded)
    compare.equal(flow.to_pixels(decoded), x)
    decoded = flow.decode(encoded.z, noises_of(file, "in/inverse_eps_", double=True)[::-1])
    exact(file, "out/inverse_continuous", decoded)
    file.equal("out/inverse_pixels", flow.to_pixels(decoded))


@torch.no_grad()
def example_flows() -> dict[str, Arrays]:
    files = {}
    for name, config in FLOWS.items():
        flow, count = flow_of(config).eval(), config["n"]
        halves = flow.dropped_shapes()[::-1]
        inverse = {f"in/inverse_eps_{k}": normal(k, count, *shape) for k, shape in enumerate(halves)}
        inputs = flow_inputs(config, count, seed=count)
        fill(flow.state_dict(), salt=count)
        x, *noises = (torch.from_numpy(values) for key, values in inputs.items() if key.startswith("in/"))  # in order
        latents = {"out/z_f32": flow.encode(x, noises).z.numpy()}
        files[name] = inputs | inverse | filled(flow, "w/", salt=count) | latents
    return files


def lent_flow(path: Path, arrays: Arrays) -> Arrays:
    """Weights, inputs and noises of a training step lie in the file of the same flow without it."""
    if not path.match("denseflow_mini*_train.npz"):
        return {}
    flow = read_arrays(path.with_name(f"{path.stem.removesuffix('_train')}.npz"))
    return {key: values for key, values in flow.items() if not key.startswith("out/")}


def check_flow_training(file: GoldenFile) -> None:
    flow = loaded(flow_of(file.settings("meta/config_json")), file, "w/", double=False)
    with torch.no_grad():
        for layer in flow.modules():
            if isinstance(layer, layers.ActNorm):
                for value in (layer.shift, layer.log_scale, layer.initialized):
                    value.zero_()
    noises = noises_of(file, "in/eps_dequant") + noises_of(file, "in/eta_b")
    encoded = flow.train().encode(file.tensor("in/x"), noises)
    loss = bits_per_dim(encoded.ldj, flow.log_base(encoded.z), flow.dims)
    loss.backward()
    single(file, "out/loss_bpd", loss)
    for name, parameter in flow.named_parameters():
        if file.holds(f"out/grad/{name}"):
            gradient(file, f"out/grad/{name}", parameter.grad)
        if file.holds(f"out/gradnorm/{name}"):
            gradient(file, f"out/gradnorm/{name}", parameter.grad.norm())
        if file.holds(f"out/param_after/{name}"):
            single(file, f"out/param_after/{name}", parameter)
    for name, buffer in flow.named_buffers():
        if file.holds(f"out/buf_after/{name}"):
            single(file, f"out/buf_after/{name}", buffer)


def example_flow_trainings() -> dict[str, Arrays]:
    name = next(iter(FLOWS))
    return {name: example_flows()[name], f"{name}_train": {}}


@torch.no_grad()
def check_formula(file: GoldenFile) -> None:
    """A network too large to be stored, whose weights are given by a formula."""
    config = file.settings("meta/config_json")
    flow = flow_of(config).eval()
    state = flow.state_dict()
    file.equal("out/n_state_keys", len(state))
    file.equal("out/n_params", sum(p.numel() for p in flow.parameters()))
    fill(state, file.number("in/salt"))
    for key in [key for key in file if key.startswith("check/")]:
        file.equal(key, state[key.removeprefix("check/")])
    encoded = flow.encode(file.tensor("in/x"), noises_of(file, "in/eps_dequant") + noises_of(file, "in/eta_b"))
    log_base = flow.log_base(encoded.z)
    file.close("out/z_f32", encoded.z, 5e-4, 1e-3, entrywise=True)
    file.close("out/log_base_f32", log_base, 0.05, 1e-6, entrywise=True)
    file.close("out/log_prob_f32", log_base + encoded.ldj, 0.05, 1e-6, entrywise=True)
    for number, part in enumerate(encoded.parts):
        file.close(f"out/ldj_t{number:02d}_f32", part, 0.05, 1e-6, entrywise=True)
    compare.equal(flow.to_pixels(flow.decode(encoded.z, encoded.dropped)), file["in/x"])


def example_formulas() -> dict[str, Arrays]:
    config = {"shape": [1, 4, 4], "block_conf": [2], "layers_conf": [1], "layer_mid_chnls": [6], "growth_rate": 4}
    config |= {"cdepth": 1, "cgrowth": 3, "dq": [1, 3, 4, 1, 2]}  # left out where they are those of the real network
    arrays = {**flow_inputs(config, 3, seed=9), "in/salt": np.array(77), "check/transforms.1._shift": blank()}
    return {"denseflow_full_formula": arrays}


# Of weights: counts, and constants that the code has.
WITHOUT_EFFECT = ("*w/*num_batches_tracked", "*w/*initialized", "*w/*ldj_per_dim", "*w/*dist.buffer")
FAMILIES = (
    Family("actnorm*", check_actnorm, example_actnorm, WITHOUT_EFFECT),
    Family("affine_coupling*", check_coupling, example_couplings, WITHOUT_EFFECT),
    Family("conv1x1*", check_conv1x1, example_conv1x1),
    Family("coupling_nets*", check_nets, example_nets, WITHOUT_EFFECT),
    Family("dense_block*", check_block, example_blocks, WITHOUT_EFFECT),
    Family("denseflow_full_formula*", check_formula, example_formulas),
    Family("denseflow_mini*_train", check_flow_training, example_flow_trainings),
    Family("denseflow_mini*", check_flow, example_flows, WITHOUT_EFFECT),
    Family("dequantization*", check_dequantization, example_dequantizations, WITHOUT_EFFECT),
    Family("shape_ops*", check_shapes, example_shapes, ("ordered[1-9]*", "elparams_interleaved/*")),
)
