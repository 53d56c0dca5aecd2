"""Golden families of Memory Wrap: layers, sparsemax, subset draws."""

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from compare import close, tensors
from torch import nn

from lookalike.backbones.build import make_backbone
from lookalike.data.settings import ArraySettings
from lookalike.data.subsets import memory_wrap_draw
from lookalike.evaluation.agreement import TopItems
from lookalike.methods import matching, protonet
from lookalike.methods.memory_wrap.attribution import complete_attribution, integrated_gradients
from lookalike.methods.memory_wrap.counterfactuals import (
    AutoEncoder,
    closest_prototypes,
    distance_terms,
    momentum,
    plausibility,
    prototype_loss,
    search_counterfactuals,
    shrink,
    trust_score,
)
from lookalike.methods.memory_wrap.layer import (
    DISTANCES,
    BaselineMemory,
    MemoryWrapLayer,
    cosine_distance,
    new_key,
)
from lookalike.methods.memory_wrap.measures import (
    closest_example,
    input_non_representativeness,
    majority_vote,
    prediction_non_representativeness,
    top_items,
)
from lookalike.methods.memory_wrap.sparsemax import sparsemax
from lookalike.settings import BackboneSettings
from lookalike.study import read_study

ROOT = Path(__file__).parents[2]
HELD_OUT = {"SVHN": 6000, "CIFAR10": 6000, "CINIC10": 10}
NAMES = {"SVHN": "svhn", "CIFAR10": "cifar10", "CINIC10": "cinic10"}


def check_splits(name: str, content: dict[str, np.ndarray]) -> None:
    """Every stored subset is the beginning of our order, every validation part the beginning of ours."""
    checked = 0
    for key, stored in content.items():
        dataset, *parts = key.split(".")
        if dataset not in HELD_OUT:
            continue
        seed, part = int(parts[0].removeprefix("seed")), parts[1]
        total = ArraySettings(source=NAMES[dataset]).source_counts()["train"]
        order, validation = memory_wrap_draw(total, HELD_OUT[dataset], seed)
        if parts[-1] == "size":
            assert len(order) == stored, key
        else:
            found = validation if part == "val" else order
            np.testing.assert_array_equal(found[: len(stored)], stored, key)
        assert sorted([*order, *validation]) == list(range(total)), key
        checked += 1
    assert checked
    labels = content["bal_labels"]
    np.testing.assert_allclose(len(labels) / np.bincount(labels)[labels], content["bal_weights"], rtol=1e-12)
    study = read_study(ROOT / "workflow" / "studies" / "memory_wrap.yaml")
    for key in HELD_OUT:  # normalised by the study's mean and std, the stored pictures are the image again
        entry = study.datasets[NAMES[key]]
        assert (entry.held_out, entry.draw) == (HELD_OUT[key], "memory_wrap")
        mean, std = (np.array(values)[:, None, None] for values in vars(entry.normalization).values())
        close(content[f"unnormalised.{key}"] - mean - content["img"] * std, np.zeros((3, 4, 4)), 1e-6, what=key)


def check_layer(name: str, content: dict[str, np.ndarray]) -> None:
    """Distances, weights, memory vector, logits and all gradients; then the same with a prepared memory."""
    meta, data = json.loads(str(content["meta"])), tensors(content)
    layer = _layer(name, meta, data)
    exact = 1e-12 if data["x"].dtype == torch.float64 else 5e-4 if meta.get("kind") == "scaled" else 5e-5
    x, memory = data["x"].requires_grad_(), data["mem"].requires_grad_()
    if "dist" in data:
        _compare(DISTANCES[meta.get("distance", "cosine")](*_read(layer, x, memory)), data["dist"], exact, "dist")
    out, weights = layer(x, memory, return_weights=True)
    _compare(weights, data["weights"], exact, "weights")
    certain = data["weights"].max(dim=1, keepdim=True).values > 0
    differs = (weights > 0) != (data["weights"] > 0)
    assert not (differs & certain & (torch.maximum(weights, data["weights"]) > 1e-6)).any(), "other images weigh"
    _compare(weights @ memory, data["memory_vector"], exact, "memory vector")
    _compare(out, data["out"], exact, "out")
    if "hidden" in data:
        _compare(layer.hidden(x, memory), data["hidden"], exact, "hidden")
    loss = F.cross_entropy(out, data["target"])
    _compare(loss, data["loss"], exact, "loss")
    loss.backward()
    _compare(x.grad, data["grad.x"], exact, "grad.x")
    _compare(memory.grad, data["grad.mem"], exact, "grad.mem")
    unused = set(content["no_grad_params"].tolist()) if "no_grad_params" in content else set()
    ours = dict(layer.named_parameters())
    for key in (key for key in data if key.startswith("grad.param.")):
        old = key.removeprefix("grad.param.")
        if old not in unused:
            _compare(ours.pop(new_key(old)).grad, data[key], exact, key)
    assert not ours, "parameters without a stored gradient"
    with torch.no_grad():
        _compare(layer(x, layer.remember(memory)), data["out"], exact, "out with a prepared memory")


def _layer(name: str, meta: dict, data: dict[str, torch.Tensor]) -> MemoryWrapLayer | BaselineMemory:
    kind = BaselineMemory if "base" in name else MemoryWrapLayer
    state = {key.removeprefix("param."): value for key, value in data.items() if key.startswith("param.")}
    width, classes = data["x"].shape[1], data["out"].shape[1]
    own = nn.Linear(width if kind is BaselineMemory else 2 * width, classes) if "linear_classifier" in name else None
    layer = kind(width, classes, own, meta.get("distance", "cosine")).to(data["x"].dtype)
    layer.load_state_dict(state)
    return layer


def _read(layer, x, memory):
    return (x, memory) if layer.read_head is None else (layer.read_head(x), layer.read_head(memory))


def _compare(found, stored, exact: float, what: str) -> None:
    close(found, stored, exact * 1e-3, exact, what=what)


def check_sparsemax(name: str, content: dict[str, np.ndarray]) -> None:
    data = tensors(content)
    numbers = [key.removeprefix("z") for key in content if key.startswith("z")]
    assert numbers
    for number in numbers:
        z = data[f"z{number}"].requires_grad_()
        p = sparsemax(z, int(content[f"dim{number}"]))
        close(p, content[f"p{number}"], 1e-6, what=f"p{number}")
        p.backward(data[f"gout{number}"])
        close(z.grad, content[f"gin{number}"], 1e-6, what=f"gin{number}")


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


def check_encoders(name: str, content: dict[str, np.ndarray]) -> None:
    """Features with weights set by their shape alone, numbers of parameters and layers."""
    meta = json.loads(str(content["meta"]))
    seed = meta["seed"]
    pixels = np.random.RandomState(777 + seed).standard_normal(meta["b"] * 3 * 32 * 32).astype(np.float32)
    np.testing.assert_array_equal(pixels[:8], content["x_first8"])
    images = torch.from_numpy(pixels.reshape(-1, 3, 32, 32))
    assert set(meta["encoders"]) == set(ENCODERS)
    for stored, facts in meta["encoders"].items():
        network = make_backbone(BackboneSettings(name=ENCODERS[stored]), (3, 32, 32)).eval()
        _fill_by_shape(network, seed)
        with torch.no_grad():
            close(network(images), content[f"{stored}.features"], 0, 1e-3, what=stored)
        parameters, layers = UNUSED.get(stored, (0, 0))
        assert network.dim == facts["feature_dim"], stored
        assert sum(p.numel() for p in network.parameters()) == facts["encoder_params"] - parameters, stored
        assert sum(isinstance(m, nn.Conv2d) for m in network.modules()) == facts["n_conv"] - layers, stored
        assert sum(isinstance(m, nn.BatchNorm2d) for m in network.modules()) == facts["n_bn"] - layers, stored
        head = MemoryWrapLayer(network.dim, 10)
        assert sum(p.numel() for p in head.parameters()) == facts["head_params"], stored


@torch.no_grad()
def _fill_by_shape(network: nn.Module, seed: int) -> None:
    for key, value in network.state_dict().items():
        if value.ndim >= 2:
            n = value.numel()
            normal = np.random.RandomState(seed + n).standard_normal(n) * np.sqrt(2 / (n // value.shape[0]))
            value.copy_(torch.from_numpy(normal.astype(np.float32).reshape(value.shape)))
        elif value.dtype.is_floating_point:
            value.fill_(0 if key.endswith("running_mean") else 0.05 if key.endswith("bias") else 1)


def check_metrics(name: str, content: dict[str, np.ndarray]) -> None:
    """Percentages over all queries of all batches; per batch the order-dependent measures."""
    meta, data = json.loads(str(content["meta"])), tensors(content)
    right, agrees, votes, label_votes = [], [], [], []
    for i in range(meta["batches"]):
        logits, weights, mem_logits = data[f"logits{i}"], data[f"weights{i}"], data[f"mem_logits{i}"]
        predicted, mem_predicted, target = logits.argmax(1), mem_logits.argmax(1), data[f"target{i}"]
        tops = top_items(weights, predicted, mem_predicted, target)
        right.append(tops.right)
        agrees.append(tops.agrees)
        votes.append((majority_vote(weights, mem_predicted, meta["c"]) == target).numpy())
        label_votes.append((majority_vote(weights, data[f"mem_labels{i}"], meta["c"]) == target).numpy())
        order = data[f"order{i}"]
        chosen, found = closest_example(order, predicted, mem_predicted)
        np.testing.assert_array_equal(chosen, content[f"ebe_index{i}"])
        np.testing.assert_array_equal(found, ~content[f"cf_mask{i}"].astype(bool).all(1))
        np.testing.assert_array_equal(mem_predicted[order] != predicted[:, None], content[f"cf_mask{i}"].astype(bool))
        close(input_non_representativeness(logits, mem_logits[chosen]).mean(), content[f"input_nonrep{i}"], 1e-5)
        close(
            prediction_non_representativeness(logits, mem_logits[chosen]).mean(), content[f"prediction_nonrep{i}"], 1e-5
        )
    every = TopItems(np.concatenate(right), np.concatenate(agrees))
    for key, share in (
        ("explanation_accuracy", every.explanation_accuracy),
        ("counterfactual_accuracy", every.counterfactual_accuracy),
        ("example_accuracy", every.example_accuracy),
        ("model_accuracy", every.right.mean()),
        ("eval_accuracy", every.right.mean()),
        ("majority_vote_predictions", np.concatenate(votes).mean()),
        ("majority_vote_labels", np.concatenate(label_votes).mean()),
    ):
        close(np.float64(100 * share), content[key], 1e-4, what=key)
    losses = [F.cross_entropy(data[f"logits{i}"], data[f"target{i}"]).item() for i in range(meta["batches"])]
    close(np.float64(sum(losses)), content["eval_loss_sum"], 1e-5, what="eval_loss_sum")


class TinyNetwork(nn.Module):
    """The stored network: one linear layer with ReLU, then Memory Wrap's layer."""

    def __init__(self, data: dict[str, torch.Tensor], prefix: str, kind: type) -> None:
        super().__init__()
        state = {key.removeprefix(prefix): value for key, value in data.items() if key.startswith(prefix)}
        width, pixels = state["enc.weight"].shape
        self.enc = nn.Linear(pixels, width)
        self.mw = kind(width, len(state["mw.classifier.fc2.bias"]))
        self.load_state_dict(state)
        self.requires_grad_(False)

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        return F.relu(self.enc(images.flatten(1)))


def check_ig(name: str, content: dict[str, np.ndarray]) -> None:
    """Maps with a memory for each point of the path, and with two points' memories joined as the original does."""
    meta, data = json.loads(str(content["meta"])), tensors(content)
    network = TinyNetwork(data, "param.", BaselineMemory if name == "ig_base" else MemoryWrapLayer)
    x, target = data["x"][0], int(data["target"])
    out, weights = network.mw(network.embed(data["x"]), network.embed(data["mem"]), return_weights=True)
    close(out, content["out"], 1e-6, 1e-5)
    close(weights, content["weights"], 1e-6, 1e-5)
    order = weights[0].argsort(descending=True)[: meta["kept"]]
    np.testing.assert_array_equal(order, content["kept_order"])
    kept = data["mem"][order]
    close(network.mw(network.embed(data["x"]), network.embed(kept)), content["out"], 1e-6, 1e-5, what="out_reduced")
    baseline = torch.ones(3, 1, 1)
    found = {
        shared: integrated_gradients(network.embed, network.mw, x, kept, target, baseline, meta["n_steps"], shared)
        for shared in (1, 2)
    }
    for shared, what in ((1, "stepwise"), (2, "upstream")):
        for ours, key in ((found[shared].query[None], f"ig_x_{what}"), (found[shared].memory, f"ig_mem_{what}")):
            close(ours, content[key], 0, 1e-4, what=key)
    refined = complete_attribution(network.embed, network.mw, x, kept, target, baseline, meta["n_steps"])
    change = float(content["out"][0, target] - content["out_baseline"][0, target])
    assert abs(float(refined.query.sum() + refined.memory.sum()) - change) < 0.01 * abs(change)


def _part(data: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {key.removeprefix(prefix): value for key, value in data.items() if key.startswith(prefix)}


def check_autoencoder(name: str, content: dict[str, np.ndarray]) -> None:
    meta, data = json.loads(str(content["meta"])), tensors(content)
    x, made = data["x"], {}
    for which in ("cf", "orig", "full"):
        network = AutoEncoder().requires_grad_(False)
        network.load_state_dict(_part(data, f"ae.{which}."))
        assert sum(p.numel() for p in network.parameters()) == meta["params_per_ae"]
        made[which] = network(x)
        close(made[which], content[f"recon.{which}"], 0, 1e-4, what=which)
        if which == "full":
            close(network.encoder(x), content["latent.full"], 0, 1e-4)
    found = plausibility(x, made["cf"], made["orig"], made["full"])
    with_original_class = plausibility(x, made["orig"], made["cf"], made["full"]).im2
    each = torch.stack([found.im1, found.iim1, found.im2, with_original_class], 1)
    close(each, content["per_image_im1_iim1_im2cf_im2orig"], 0, 1e-4)
    # The original's scores: one norm for the whole batch.
    whole = plausibility(*(images.flatten()[None] for images in (x, made["cf"], made["orig"], made["full"])))
    for ours, key in ((whole.im1, "im1_batch"), (whole.iim1, "iim1_batch"), (whole.im2, "im2_batch_cf")):
        close(ours[0], content[key], 0, 1e-4, what=key)
    swapped = plausibility(*(images.flatten()[None] for images in (x, made["orig"], made["cf"], made["full"])))
    close(swapped.im2[0], content["im2_batch_orig"], 0, 1e-4)


def check_fista(name: str, content: dict[str, np.ndarray]) -> None:
    meta, data = json.loads(str(content["meta"])), tensors(content)
    low, high = meta["feature_range"]
    orig, point, before = data["orig"], data["adv_s"], data["adv_prev"]
    after = shrink(point, orig, low, high, meta["beta"])
    close(after, content["new_adv"], 0, 1e-4)
    close(momentum(after, before, meta["global_step"], low, high), content["new_adv_s"], 0, 1e-4)
    l1, l2 = distance_terms(point, orig)
    close(l1, content["l1"], 0, 1e-4)
    close(l2, content["l2"], 0, 1e-4)
    encoder = AutoEncoder().encoder.requires_grad_(False)
    encoder.load_state_dict(_part(data, "enc."))
    codes, prototypes = encoder(point), data["prototypes"]
    loss = prototype_loss(codes, prototypes[: len(codes)], meta["theta"])
    close(loss, content["proto_loss_theta100"], 0, 1e-4)
    for key in (key for key in content if key.startswith("trust_score_")):
        counterfactual, original = (int(part) for part in key.split("_")[2:])
        score = trust_score(codes[:1], prototypes[original], prototypes[counterfactual])
        close(score[0], content[key], 0, 1e-4)
    for classes, key in ((range(len(prototypes)), "all_classes"), ((1, 3), "classes_1_3")):
        allowed = torch.zeros(len(codes), len(prototypes), dtype=torch.bool)
        allowed[:, list(classes)] = True
        chosen = closest_prototypes(codes, prototypes, allowed, whole_batch=True)
        close(prototypes[chosen], content[f"closest_prototype_upstream_{key}"], 0, 1e-4, what=key)


def check_attack(name: str, content: dict[str, np.ndarray]) -> None:
    """The whole search; the original's second outer round changes nothing."""
    meta, data = json.loads(str(content["meta"])), tensors(content)
    network = TinyNetwork(data, "net.", MemoryWrapLayer)
    encoder = AutoEncoder().encoder.requires_grad_(False)
    encoder.load_state_dict(_part(data, "enc."))
    memory = network.mw.remember(network.embed(data["mem"]))

    def logits(images: torch.Tensor) -> torch.Tensor:
        return network.mw(network.embed(images), memory)

    np.testing.assert_array_equal(logits(data["x"]).argmax(1), content["orig_pred"])
    found = search_counterfactuals(
        lambda images: logits(images).argmax(1),
        encoder,
        data["x"],
        data["orig_pred"],
        data["proto"],
        tuple(meta["feature_range"]),
        meta["max_iterations"],
        meta["lr0"],
    )
    np.testing.assert_array_equal(found.found, content["found"])
    close(found.images[found.found], content["counterfactual"][content["found"]], 0, 1e-3)
    close(logits(found.images)[found.found], content["cf_logits"][content["found"]], 0, 1e-3)


def check_fewshot(name: str, content: dict[str, np.ndarray]) -> None:
    meta, data = json.loads(str(content["meta"])), tensors(content)
    query, support, labels, target = data["query"], data["support"], data["support_labels"], data["target"]
    prototypes = protonet.class_means(support, labels, meta["c"])
    close(prototypes, content["prototypes"], 1e-5)
    close(cosine_distance(query, prototypes), content["proto_distance"], 1e-5)
    distances = protonet.distances_from_classes(query, support, labels, meta["c"])
    close(F.log_softmax(-distances, 1), content["proto_log_prob"], 1e-5)
    context = matching.ContextEmbedding(meta["d"]).requires_grad_(False)
    context.memory_lstm.load_state_dict(_part(data, "g.lstm."))
    context.query_cell.load_state_dict(_part(data, "f.lstm_cell."))
    embedded = context.memory(support)
    close(embedded, content["match_support"], 1e-5)
    queries = context.queries(query, embedded, meta["unrolling_steps"])
    close(queries, content["match_query"], 1e-5)
    weights = matching.attention(queries, embedded)
    close(weights, content["match_attention"], 1e-5)
    mixture = matching.label_mixture(weights, labels, meta["c"])
    close(mixture, content["match_prob"], 1e-5)
    logs = mixture.clamp(matching.SMALLEST, 1 - matching.SMALLEST).log()
    close(logs, content["match_log"], 1e-5)
    close(F.nll_loss(logs, target), content["match_loss_nll"], 1e-5)
    close(F.cross_entropy(logs, target), content["match_loss_upstream_double_logsoftmax"], 1e-5)


LAYER_KEYS = ("meta", "x", "mem", "target", "weights", "memory_vector", "out", "loss", "grad.x", "grad.mem")
FAMILIES = [
    ("splits_", ("bal_labels", "bal_weights"), check_splits),
    ("metrics_", ("meta", "logits0", "weights0", "mem_logits0", "explanation_accuracy"), check_metrics),
    ("ig_", ("meta", "x", "mem", "ig_x_stepwise", "ig_x_upstream", "out_baseline"), check_ig),
    ("autoencoder_", ("meta", "x", "recon.cf", "im1_batch"), check_autoencoder),
    ("fista_", ("meta", "orig", "adv_s", "new_adv", "prototypes"), check_fista),
    ("attack_", ("meta", "x", "mem", "proto", "counterfactual", "found"), check_attack),
    ("fewshot_", ("meta", "query", "support", "match_log"), check_fewshot),
    ("encoders_", ("meta", "x_first8"), check_encoders),
    ("sparsemax", ("z0", "p0", "gout0", "gin0"), check_sparsemax),
    *((prefix, LAYER_KEYS, check_layer) for prefix in ("layer_", "v106_", "v110_", "wrapper_")),
]
