"""Golden files of Memory Wrap: layers, sparsemax, measures of explanations, gradients, encoders, subset draws.

Not compared: weights of a sampler by class, which this project has not.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

import families_memory_rivals
import numpy as np
import torch
import torch.nn.functional as F
from families_memory_rivals import RandomNetwork, TinyNetwork
from golden_file import Arrays, Family, GoldenFile, Method, blank
from torch import Tensor, nn

from lookalike.backbones.build import make_backbone
from lookalike.contracts.backbone import Backbone
from lookalike.contracts.settings import BackboneSettings
from lookalike.data.settings import DataSettings
from lookalike.data.subsets import uniform_draw
from lookalike.distances.pairwise import DISTANCES
from lookalike.methods.memory_wrap import metrics, scores
from lookalike.methods.memory_wrap.attribution import complete_attribution, integrated_gradients
from lookalike.methods.memory_wrap.layer import BaselineMemory, MemoryWrapLayer, new_key
from lookalike.methods.memory_wrap.sparsemax import sparsemax
from lookalike.metrics.classification import accuracy
from lookalike.study.read import read_study

STUDY = Path(__file__).parents[2] / "workflow" / "studies" / "memory_wrap.yaml"
LAST = ("classifier.bias", "classifier.fc2.bias", "classifier.2.bias", "fc.fc2.bias")  # of the library's versions
LAYERS = {"MemoryWrapLayer": MemoryWrapLayer, "BaselineMemory": BaselineMemory}


# Layers -------------------------------------------------------------------------------------------


def layer_of(file: GoldenFile, meta: dict[str, Any]) -> MemoryWrapLayer | BaselineMemory:
    kind = meta.get("cls", "BaselineMemory" if "base" in file.name.split("_") else "MemoryWrapLayer")
    state, target = file.state("param."), file["target"]
    width = file["x"].shape[1]
    classes = len(next(state[key] for key in LAST if key in state))
    sizes = {"b": len(target), "d": width, "m": len(file["mem"]), "c": classes, "dtype": f"torch.{file['x'].dtype}"}
    assert all(meta.get(name, size) == size for name, size in sizes.items()), f"arrays of other sizes than {meta}"
    linear = nn.Linear(state["classifier.weight"].shape[1], classes) if "classifier.weight" in state else None
    layer = LAYERS[kind](width, classes, linear, meta.get("distance", "cosine")).to(file.tensor("x").dtype)
    layer.load_state_dict(state)
    return layer


def check_layer(file: GoldenFile) -> None:
    """Distances, weights, memory vector, logits and all gradients; then the same with a prepared memory."""
    meta = file.settings()
    layer = layer_of(file, meta)
    x, memory = file.tensor("x").requires_grad_(), file.tensor("mem").requires_grad_()
    limit = 1e-12 if x.dtype == torch.float64 else 5e-4 if meta.get("kind") == "scaled" else 5e-5

    def compare(key: str, ours: Tensor) -> None:
        """Relative to the largest stored magnitude, at least 1e-3."""
        file.close(key, ours, 0, limit, max(np.abs(file.result(key, ours)).max(initial=0), 1e-3))

    if file.holds("dist"):
        seen = (x, memory) if layer.read_head is None else (layer.read_head(x), layer.read_head(memory))
        compare("dist", DISTANCES[layer.distance](*seen))
    out, weights = layer(x, memory, return_weights=True)
    compare("weights", weights)
    stored = file.tensor("weights")
    assert not (((weights > 0) != (stored > 0)) & (torch.maximum(weights, stored) > 1e-6)).any(), "other images weigh"
    compare("memory_vector", weights @ memory)
    compare("out", out)
    if "hidden" in file or (file.new and "wrapper" in file.name):
        compare("hidden", layer.hidden(x, memory))
    loss = F.cross_entropy(out, file.tensor("target"))
    compare("loss", loss)
    loss.backward()
    compare("grad.x", x.grad)
    compare("grad.mem", memory.grad)
    parameters = dict(layer.named_parameters())
    unused = file["no_grad_params"].tolist()
    for key in file.state("param."):
        if key in unused:
            assert not file[f"grad.param.{key}"].any()
        else:
            compare(f"grad.param.{key}", parameters.pop(new_key(key)).grad)
    assert not parameters, f"no gradient is stored for {list(parameters)}"
    with torch.no_grad():
        compare("out", layer(x, layer.remember(memory)))


def layer_inputs(
    seed: int, kind: str, distance: str, linear: bool = False, double: bool = False, old: str = ""
) -> Arrays:
    random = np.random.RandomState(seed)
    queries, rows, width, classes = random.randint(2, 9, 4) * [1, 2, 1, 1]
    x, memory = (random.randn(n, width) for n in (queries, rows))
    memory[0], memory[1], x[1] = x[0], memory[-1], 0
    classifier = nn.Linear(width if kind == "BaselineMemory" else 2 * width, classes) if linear else None
    layer = LAYERS[kind](width, classes, classifier)
    state = layer.state_dict()
    if old == "1.0.6":
        state = {key.replace("classifier.", "fc."): value for key, value in state.items()}
    if old == "1.1.0":
        state = {key.replace(".fc1.", ".0.").replace(".fc2.", ".2."): value for key, value in state.items()}
        state = {"r_head.weight": torch.empty(width, width), "r_head.bias": torch.empty(width), **state}
    kinds = np.float64 if double else np.float32
    meta = {"cls": kind, "distance": distance, "d": int(width), "c": int(classes), "seed": seed}
    arrays = {
        "x": x.astype(kinds),
        "mem": memory.astype(kinds),
        "target": random.randint(0, classes, queries),
        "meta": np.array(json.dumps(meta)),
        **{f"param.{key}": random.randn(*value.shape).astype(kinds) for key, value in state.items()},
    }
    # Which never used its read head.
    unused = ["r_head.weight", "r_head.bias"] if (old, kind) == ("1.1.0", "BaselineMemory") else []
    arrays |= {f"grad.param.{key}": np.zeros_like(arrays[f"param.{key}"]) for key in unused}
    return {**arrays, "no_grad_params": np.array(unused, "U64")}


def example_layers() -> dict[str, Arrays]:
    return {
        "layer_mw_cosine_b": layer_inputs(1, "MemoryWrapLayer", "cosine"),
        "layer_mw_l2_f64_b": layer_inputs(2, "MemoryWrapLayer", "l2", double=True),
        "layer_base_dot_b": layer_inputs(3, "BaselineMemory", "dot"),
        "layer_mw_dot_linear_b": layer_inputs(4, "MemoryWrapLayer", "dot", linear=True),
        "layer_base_l2_linear_b": layer_inputs(5, "BaselineMemory", "l2", linear=True, double=True),
    }


def example_old_layers() -> dict[str, Arrays]:
    return {
        "v106_mw_b": layer_inputs(6, "MemoryWrapLayer", "cosine", old="1.0.6"),
        "v110_readhead_mw_b": layer_inputs(7, "MemoryWrapLayer", "dot", old="1.1.0"),
        "v110_readhead_base_b": layer_inputs(8, "BaselineMemory", "dot", old="1.1.0"),
    }


def example_wrappers() -> dict[str, Arrays]:
    return {"wrapper_mw_l2_b": layer_inputs(9, "MemoryWrapLayer", "l2")}


def check_sparsemax(file: GoldenFile) -> None:
    for number in [key.removeprefix("z") for key in file if key.startswith("z")]:
        z = file.tensor(f"z{number}").requires_grad_()
        weights = sparsemax(z, file.number(f"dim{number}"))
        file.close(f"p{number}", weights, 1e-6)
        weights.backward(file.tensor(f"gout{number}"))
        file.close(f"gin{number}", z.grad, 1e-6)


def example_sparsemax() -> dict[str, Arrays]:
    arrays: Arrays = {}
    for number, (dim, *shape) in enumerate(((0, 3, 4), (-2, 2, 5, 3), (2, 2, 3, 8))):
        random = np.random.RandomState(number)
        z, cotangent = (random.randn(*shape).astype(np.float32) for _ in range(2))
        arrays |= {f"z{number}": z, f"gout{number}": cotangent, f"dim{number}": np.array(dim)}
    return {"sparsemax": arrays}


# Measures of explanations -------------------------------------------------------------------------


def check_metrics(file: GoldenFile) -> None:
    """Percentages over all queries of all batches; per batch the order-dependent measures."""
    meta = file.settings()
    columns: dict[str, list[np.ndarray]] = {}
    loss = 0.0
    for batch in range(meta["batches"]):
        logits, weights, mem_logits = (file.tensor(f"{key}{batch}") for key in ("logits", "weights", "mem_logits"))
        target, mem_labels, order = (file.tensor(f"{key}{batch}") for key in ("target", "mem_labels", "order"))
        assert mem_logits.shape == (meta["m"], meta["c"])
        predicted, mem_predicted = logits.argmax(1), mem_logits.argmax(1)
        for name, values in (
            ("predicted", predicted),
            ("label", target),
            ("top_predicted", mem_predicted[weights.argmax(1)]),
            ("vote_predicted", scores.majority_vote(weights, mem_predicted, meta["c"])),
            ("vote_label", scores.majority_vote(weights, mem_labels, meta["c"])),
        ):
            columns.setdefault(name, []).append(values.numpy())
        chosen, agrees = scores.closest_example(order, predicted, mem_predicted)
        file.equal(f"ebe_index{batch}", chosen)
        differs = mem_predicted[order] != predicted[:, None]
        file.equal(f"cf_mask{batch}", differs.double())
        np.testing.assert_array_equal(agrees, ~differs.all(1))
        of_input = scores.input_non_representativeness(logits, mem_logits[chosen])
        of_prediction = scores.prediction_non_representativeness(logits, mem_logits[chosen])
        file.close(f"input_nonrep{batch}", of_input.mean(), 1e-5)
        file.close(f"prediction_nonrep{batch}", of_prediction.mean(), 1e-5)
        loss += F.cross_entropy(logits, target).item()
    joined = {name: np.concatenate(parts) for name, parts in columns.items()}
    predicted, label, top = joined["predicted"], joined["label"], joined["top_predicted"]
    correct = predicted == label
    for key, share in (
        ("explanation_accuracy", metrics.explanation_accuracy(top, predicted)),
        ("counterfactual_accuracy", metrics.counterfactual_accuracy(top, predicted, correct)),
        ("example_accuracy", metrics.example_accuracy(top, predicted, correct)),
        ("model_accuracy", accuracy(correct)),
        ("eval_accuracy", accuracy(correct)),
        ("eval_std_accuracy", accuracy(correct)),
        ("majority_vote_predictions", metrics.vote_accuracy(joined["vote_predicted"], label)),
        ("majority_vote_labels", metrics.label_vote_accuracy(joined["vote_label"], label)),
    ):
        file.close(key, 100 * share, 1e-4)
    file.close("eval_loss_sum", loss, 1e-5)
    file.close("eval_std_loss_sum", loss, 1e-5)


def example_metrics() -> dict[str, Arrays]:
    files = {}
    for name, sizes, rows, classes in (("c", (5, 2), 7, 3), ("d", (4, 4, 4, 1), 20, 6)):
        random = np.random.RandomState(rows)
        arrays = {"meta": np.array(json.dumps({"batches": len(sizes), "m": rows, "c": classes, "seed": rows}))}
        for batch, count in enumerate(sizes):
            weights = np.maximum(random.dirichlet(np.full(rows, 0.3), count) - 0.05, 0).astype(np.float32)
            arrays |= {
                f"logits{batch}": random.randn(count, classes).astype(np.float32),
                f"weights{batch}": weights,
                f"mem_logits{batch}": random.randn(rows, classes).astype(np.float32),
                f"target{batch}": random.randint(0, classes, count),
                f"mem_labels{batch}": random.randint(0, classes, rows),
                f"order{batch}": (-weights).argsort(1, kind="stable"),
            }
        files[f"metrics_{name}"] = arrays
    return files


# Integrated gradients -----------------------------------------------------------------------------


def check_gradients(file: GoldenFile) -> None:
    """Maps with a memory for each point of the path, and with two points' memories joined as the original does."""
    meta = file.settings()
    network = TinyNetwork(file.state("param."), LAYERS[meta["cls"]])
    x, memory = file.tensor("x"), file.tensor("mem")
    out, weights = network(x, memory)
    file.close("out", out, 1e-6, 1e-5)
    file.close("weights", weights, 1e-6, 1e-5)
    file.equal("target", out[0].argmax())
    target = file.number("target")
    order = weights[0].argsort(descending=True)[: int((weights[0] > 0).sum())]
    file.equal("kept_order", order)
    assert len(order) == meta["kept"]
    kept = memory[order]
    out, weights = network(x, kept)
    for key in ("out", "out_reduced"):
        file.close(key, out, 1e-6, 1e-5)
    file.close("weights_reduced", weights, 1e-6, 1e-5)
    baseline = torch.ones(x.shape[1], 1, 1)
    for shared, kind in ((1, "stepwise"), (2, "upstream")):
        maps = integrated_gradients(network.embed, network.mw, x[0], kept, target, baseline, meta["n_steps"], shared)
        file.close(f"ig_x_{kind}", maps.query[None], 0, 1e-4)
        file.close(f"ig_mem_{kind}", maps.memory, 0, 1e-4)
    file.close("out_baseline", network(torch.ones_like(x), torch.ones_like(kept))[0], 1e-6, 1e-5)
    refined = complete_attribution(network.embed, network.mw, x[0], kept, target, baseline, meta["n_steps"])
    change = float(file["out"][0, target] - file["out_baseline"][0, target])
    assert abs(float(refined.query.sum() + refined.memory.sum()) - change) < 0.01 * abs(change) + 1e-5


def example_gradients() -> dict[str, Arrays]:
    files = {}
    for name, kind, shape, rows, width, classes, steps in (
        ("base_b", "BaselineMemory", (1, 5, 2), 6, 5, 3, 15),
        ("mw_b", "MemoryWrapLayer", (2, 3, 3), 17, 9, 5, 32),
    ):
        random = RandomNetwork(rows, shape, width, classes, LAYERS[kind])
        x, memory = random.images(1), random.images(rows)
        weights = random.network(torch.from_numpy(x), torch.from_numpy(memory))[1]
        meta = {"cls": kind, "kept": int((weights > 0).sum()), "n_steps": steps, "seed": rows}
        files[f"ig_{name}"] = {**random.state("param."), "x": x, "mem": memory, "meta": np.array(json.dumps(meta))}
    return files


# Encoders and subsets -----------------------------------------------------------------------------

ENCODERS = {
    "mobilenet_v2": "cifar_mobilenet_v2",
    "resnet18": "cifar_resnet18_post",
    "efficientnet_b0": "cifar_efficientnet_b0",
    "densenet_cifar": "cifar_densenet",
    "googlenet": "cifar_googlenet",
    "shufflenet_v2_0.5": "cifar_shufflenet_v2_half",
    "shufflenet_v2_1": "cifar_shufflenet_v2",
    "wide_resnet_28_2": "wide_resnet_28_2",
}
# Of a first expansion that the original builds and never uses: 32 x 32 weights, and scale and shift of its norm.
UNUSED = {"efficientnet_b0": (32 * 32 + 2 * 32, 1)}


def facts_of(name: str, network: Backbone) -> dict[str, int]:
    """What the original says of an encoder, and of Memory Wrap's layer behind it."""
    parameters, layers = UNUSED.get(name, (0, 0))
    return {
        "feature_dim": network.dim,
        "encoder_params": sum(p.numel() for p in network.parameters()) + parameters,
        "n_conv": sum(isinstance(module, nn.Conv2d) for module in network.modules()) + layers,
        "n_bn": sum(isinstance(module, nn.BatchNorm2d) for module in network.modules()) + layers,
        "head_params": sum(p.numel() for p in MemoryWrapLayer(network.dim, 10).parameters()),
    }


def encoder_of(name: str) -> Backbone:
    return make_backbone(BackboneSettings(name=ENCODERS[name]), (3, 32, 32)).eval()


@torch.no_grad()
def check_encoders(file: GoldenFile) -> None:
    """Features with weights set by their shape alone, numbers of parameters and layers."""
    meta = file.settings()
    pixels = np.random.RandomState(777 + meta["seed"]).standard_normal(meta["b"] * 3 * 32 * 32).astype(np.float32)
    file.equal("x_first8", pixels[:8])
    for name, facts in meta["encoders"].items():
        network = encoder_of(name)
        assert facts_of(name, network) == facts, name
        fill_by_shape(network, meta["seed"])
        stem: list[Tensor] = []
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                module.register_forward_hook(lambda _, inputs, output, stem=stem: stem.append(output))
        file.close(f"{name}.features", network(torch.from_numpy(pixels.reshape(-1, 3, 32, 32))), 0, 1e-3)
        file.close(f"{name}.first_conv_mean_abs", stem[0].abs().mean(), 0, 1e-3)


def fill_by_shape(network: nn.Module, seed: int) -> None:
    for key, value in network.state_dict().items():
        if value.ndim >= 2:
            n = value.numel()
            normal = np.random.RandomState(seed + n).standard_normal(n) * np.sqrt(2 / (n // value.shape[0]))
            value.copy_(torch.from_numpy(normal.astype(np.float32).reshape(value.shape)))
        elif value.dtype.is_floating_point:
            value.fill_(0 if key.endswith("running_mean") else 0.05 if key.endswith("bias") else 1)


def example_encoders() -> dict[str, Arrays]:
    name = "shufflenet_v2_0.5"
    meta = {"b": 3, "seed": 6, "encoders": {name: facts_of(name, encoder_of(name))}}
    return {"encoders_shapefill": {"meta": np.array(json.dumps(meta))}}


@cache
def study_datasets() -> dict[str, DataSettings]:
    """Data sets of the study that repeats the original's: parts held out, draws, normalisation."""
    return read_study(STUDY).datasets


@cache
def draw_of(name: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Order of the training images, of which a subset is the beginning, and those held out."""
    entry = study_datasets()[name]
    assert entry.draw == "uniform"
    total = entry.source_counts()["train"]
    order, validation = uniform_draw(total, entry.validation_size, seed)
    np.testing.assert_array_equal(np.sort(np.concatenate([order, validation])), np.arange(total))
    return order, validation


def check_splits(file: GoldenFile) -> None:
    """Subsets and held-out parts by seed, and pictures whose normalisation is undone."""
    for key in [key for key in file if ".seed" in key]:
        dataset, seed, part, *ending = key.split(".")
        order, validation = draw_of(dataset.lower(), int(seed.removeprefix("seed")))
        rows = validation if part == "val" else order[: None if part == "full" else int(part.removeprefix("train"))]
        stored = file[key]
        if ending == ["size"]:
            file.equal(key, len(rows))
        else:
            assert ending or len(stored) == len(rows)
            file.equal(key, rows[: len(stored)])
    for dataset in [key.removeprefix("unnormalised.") for key in file if key.startswith("unnormalised.")]:
        normalization = study_datasets()[dataset.lower()].normalization
        mean, std = (np.array(values)[:, None, None] for values in (normalization.mean, normalization.std))
        file.close(f"unnormalised.{dataset}", file["img"] * std + mean, 1e-6)


def example_splits() -> dict[str, Arrays]:
    return {
        "splits_b": {
            "CIFAR10.seed3.train77": blank(77),
            "CIFAR10.seed3.full.size": blank(),
            "CINIC10.seed12.val": blank(10),
            "SVHN.seed5.val.size": blank(),
            "SVHN.seed5.train900.first30": blank(30),
            "img": np.random.RandomState(1).randn(3, 2, 7).astype(np.float32),
            "unnormalised.SVHN": blank(3, 2, 7),
        }
    }


DESCRIPTIONS = ("meta/seed", "meta/version", "meta/kind", "meta/classifier")
METHOD = Method(
    (
        Family("layer_*", check_layer, example_layers, DESCRIPTIONS),
        Family("v1*", check_layer, example_old_layers, DESCRIPTIONS),
        Family("wrapper_*", check_layer, example_wrappers, DESCRIPTIONS),
        Family("sparsemax*", check_sparsemax, example_sparsemax, ("meta",)),
        Family("metrics_*", check_metrics, example_metrics, ("meta/seed",)),
        Family("ig_*", check_gradients, example_gradients, ("meta/seed",)),
        Family("encoders_*", check_encoders, example_encoders),
        Family("splits_*", check_splits, example_splits, ("meta", "bal_*")),
        *families_memory_rivals.FAMILIES,
    )
)
