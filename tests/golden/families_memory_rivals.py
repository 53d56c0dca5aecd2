"""Golden files of what Memory Wrap is compared with: counterfactual searches, and few-shot networks."""

import json

import numpy as np
import torch
import torch.nn.functional as F
from golden_file import Arrays, Family, GoldenFile, blank
from torch import Tensor, nn

from lookalike.distances.pairwise import cosine_distance
from lookalike.methods.matching.head import MatchingHead, attention, label_mixture
from lookalike.methods.memory_wrap import counterfactuals as search
from lookalike.methods.memory_wrap.layer import BaselineMemory, MemoryWrapLayer
from lookalike.methods.protonet.head import PrototypicalHead, class_means

LayerKind = type[MemoryWrapLayer] | type[BaselineMemory]


class TinyNetwork(nn.Module):
    """The stored network: one linear layer with ReLU, then Memory Wrap's layer."""

    def __init__(self, state: dict[str, Tensor], kind: LayerKind) -> None:
        super().__init__()
        width, pixels = state["enc.weight"].shape
        self.enc = nn.Linear(pixels, width)
        self.mw = kind(width, len(state["mw.classifier.fc2.bias"]))
        self.load_state_dict(state)
        self.requires_grad_(False)

    def embed(self, images: Tensor) -> Tensor:
        return F.relu(self.enc(images.flatten(1)))

    def forward(self, images: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and weights."""
        return self.mw(self.embed(images), self.embed(memory), return_weights=True)


class RandomNetwork:
    """A network for a new file, and images of its size."""

    def __init__(self, seed: int, shape: tuple[int, ...], width: int, classes: int, kind: LayerKind) -> None:
        self.random, self.shape = np.random.RandomState(seed), shape
        layers = {"enc": nn.Linear(int(np.prod(shape)), width), "mw": kind(width, classes)}
        state = {f"{name}.{key}": value for name, layer in layers.items() for key, value in layer.state_dict().items()}
        self.tensors = {key: torch.from_numpy(0.4 * self.normal(*value.shape)) for key, value in state.items()}
        self.network = TinyNetwork(self.tensors, kind)

    def normal(self, *shape: int) -> np.ndarray:
        return self.random.randn(*shape).astype(np.float32)

    def images(self, count: int) -> np.ndarray:
        return self.normal(count, *self.shape)

    def state(self, prefix: str) -> Arrays:
        return {f"{prefix}{key}": value.numpy() for key, value in self.tensors.items()}


def random_state(module: nn.Module, prefix: str, seed: int) -> Arrays:
    """Random numbers in the place of a module's."""
    random = np.random.RandomState(seed)
    state = module.state_dict()
    return {f"{prefix}{key}": 0.3 * random.randn(*value.shape).astype(np.float32) for key, value in state.items()}


# Counterfactuals ----------------------------------------------------------------------------------


def encoder_of(file: GoldenFile, channels: int) -> nn.Module:
    encoder = search.AutoEncoder(channels).encoder.requires_grad_(False)
    encoder.load_state_dict(file.state("enc."))
    return encoder


def check_autoencoder(file: GoldenFile) -> None:
    meta, x = file.settings(), file.tensor("x")
    assert x.shape[0] == meta["b"]
    assert x.shape[2] == meta["hw"]
    outputs = {}
    for which in ("cf", "orig", "full"):
        network = search.AutoEncoder(x.shape[1]).requires_grad_(False)
        network.load_state_dict(file.state(f"ae.{which}."))
        assert sum(p.numel() for p in network.parameters()) == meta["params_per_ae"]
        outputs[which] = network(x)
        file.close(f"recon.{which}", outputs[which], 0, 1e-4)
        if which == "full":
            file.close("latent.full", network.encoder(x), 0, 1e-4)
    order = (("cf", "orig"), ("orig", "cf"))
    of_new, of_old = (search.plausibility(x, outputs[a], outputs[b], outputs["full"]) for a, b in order)
    each = torch.stack([of_new.im1, of_new.iim1, of_new.im2, of_old.im2], 1)
    file.close("per_image_im1_iim1_im2cf_im2orig", each, 0, 1e-4)
    # The original takes one norm of a whole batch.
    joined = [images.flatten()[None] for images in (x, outputs["cf"], outputs["orig"], outputs["full"])]
    whole, swapped = search.plausibility(*joined), search.plausibility(joined[0], joined[2], joined[1], joined[3])
    for key, ours in (
        ("im1_batch", whole.im1),
        ("iim1_batch", whole.iim1),
        ("im2_batch_cf", whole.im2),
        ("im2_batch_orig", swapped.im2),
    ):
        file.close(key, ours[0], 0, 1e-4)


def example_autoencoders() -> dict[str, Arrays]:
    network = search.AutoEncoder(2)
    meta = {"b": 2, "hw": 6, "params_per_ae": sum(p.numel() for p in network.parameters()), "seed": 1}
    arrays = {
        "x": np.random.RandomState(2).randn(2, 2, 6, 6).astype(np.float32),
        "meta": np.array(json.dumps(meta)),
    }
    for seed, which in enumerate(("cf", "orig", "full")):
        arrays |= random_state(network, f"ae.{which}.", seed)
    return {"autoencoder_b": arrays}


def check_fista(file: GoldenFile) -> None:
    meta = file.settings()
    low, high = meta["feature_range"]
    start, point, before = file.tensor("orig"), file.tensor("adv_s"), file.tensor("adv_prev")
    assert list(start.shape) == meta["shape"]
    after = search.shrink(point, start, low, high, meta["beta"])
    file.close("new_adv", after, 0, 1e-4)
    file.close("new_adv_s", search.momentum(after, before, meta["global_step"], low, high), 0, 1e-4)
    l1, l2 = search.distance_terms(point, start)
    file.close("l1", l1, 0, 1e-4)
    file.close("l2", l2, 0, 1e-4)
    codes, prototypes = encoder_of(file, start.shape[1])(point), file.tensor("prototypes")
    loss = search.prototype_loss(codes, prototypes[: len(codes)], meta["theta"])
    file.close(f"proto_loss_theta{meta['theta']}", loss, 0, 1e-4)
    for key in [key for key in file if key.startswith("trust_score_")]:
        counterfactual, original = (int(part) for part in key.split("_")[2:])
        score = search.trust_score(codes[:1], prototypes[original], prototypes[counterfactual])
        file.close(key, score[0], 0, 1e-4)
    for key in [key for key in file if key.startswith("closest_prototype_upstream_")]:
        classes = key.removeprefix("closest_prototype_upstream_").removeprefix("classes_").split("_")
        allowed = torch.zeros(len(codes), len(prototypes), dtype=torch.bool)
        allowed[:, slice(None) if classes[0] == "all" else [int(label) for label in classes]] = True
        chosen = search.closest_prototypes(codes, prototypes, allowed, whole_batch=True)
        file.close(key, prototypes[chosen], 0, 1e-4)


def example_fista() -> dict[str, Arrays]:
    random = np.random.RandomState(4)
    shape = (4, 2, 6, 10)
    start = random.randn(*shape).astype(np.float32)
    meta = {"beta": 0.3, "feature_range": [-1, 2], "global_step": 3, "shape": shape, "theta": 20, "seed": 4}
    return {
        "fista_b": {
            "orig": start,
            "adv_s": start + random.randn(*shape).astype(np.float32) / 2,
            "adv_prev": start + random.randn(*shape).astype(np.float32) / 2,
            "prototypes": random.randn(5, 1, 3, 5).astype(np.float32),
            **random_state(search.AutoEncoder(2).encoder, "enc.", 5),
            "trust_score_4_2": blank(),
            "closest_prototype_upstream_all_classes": blank(4, 1, 3, 5),
            "closest_prototype_upstream_classes_0_2_4": blank(4, 1, 3, 5),
            "meta": np.array(json.dumps(meta)),
        }
    }


def check_attack(file: GoldenFile) -> None:
    """The whole search; the original's further outer rounds change nothing."""
    meta = file.settings()
    network = TinyNetwork(file.state("net."), MemoryWrapLayer)
    x, memory = file.tensor("x"), file.tensor("mem")
    predicted = network(x, memory)[0].argmax(1)
    file.equal("orig_pred", predicted)

    def classify(images: Tensor) -> Tensor:
        """A class that is no target counts as the query's."""
        classes = network(images, memory)[0].argmax(1)
        if meta["target_classes"] == "all":
            return classes
        return torch.where(torch.isin(classes, torch.tensor(meta["target_classes"])), classes, predicted)

    result = search.search_counterfactuals(
        classify,
        encoder_of(file, x.shape[1]),
        x,
        predicted,
        file.tensor("proto"),
        tuple(meta["feature_range"]),
        meta["max_iterations"],
        meta["lr0"],
        meta["beta"],
        meta["theta"],
    )
    file.equal("found", result.found)
    images = torch.where(result.found[:, None, None, None], result.images, 0)  # the original gives zeros
    file.close("counterfactual", images, 0, 1e-3)
    file.close("cf_logits", network(images, memory)[0], 0, 1e-3)


def example_attacks() -> dict[str, Arrays]:
    files = {}
    for name, targets, steps, rate, high in (("b", "all", 25, 0.4, 1.5), ("c", [0, 2], 40, 0.2, 3)):
        random = RandomNetwork(steps, (1, 4, 6), 8, 3, MemoryWrapLayer)
        meta = {"beta": 0.2, "theta": 50, "feature_range": [-2, high], "lr0": rate, "c_steps": 3}
        meta |= {"max_iterations": steps, "target_classes": targets, "seed": steps}
        files[f"attack_{name}"] = {
            **random.state("net."),
            **random_state(search.AutoEncoder(1).encoder, "enc.", steps),
            "x": random.images(6).clip(-2, high),
            "mem": random.images(5),
            "proto": random.normal(6, 1, 2, 3),
            "meta": np.array(json.dumps(meta)),
        }
    return files


# Few-shot networks --------------------------------------------------------------------------------


@torch.no_grad()
def check_few_shot(file: GoldenFile) -> None:
    meta = file.settings()
    query, support, labels, target = (file.tensor(key) for key in ("query", "support", "support_labels", "target"))
    sizes = {"b": len(query), "m": len(support), "d": query.shape[1], "lstm_layers": 1}
    assert all(meta[name] == size for name, size in sizes.items()), f"arrays of other sizes than {meta}"
    prototypes = class_means(support, labels, meta["c"])
    file.close("prototypes", prototypes, 1e-5)
    file.close("proto_distance", cosine_distance(query, prototypes), 1e-5)
    file.close("proto_log_prob", PrototypicalHead(meta["c"])(query, support, labels), 1e-5)
    head = MatchingHead(meta["d"], meta["c"], meta["unrolling_steps"])
    head.memory_lstm.load_state_dict(file.state("g.lstm."))
    head.query_cell.load_state_dict(file.state("f.lstm_cell."))
    embedded = head.embed_memory(support)
    file.close("match_support", embedded, 1e-5)
    queries = head.embed_queries(query, embedded)
    file.close("match_query", queries, 1e-5)
    weights = attention(queries, embedded)
    file.close("match_attention", weights, 1e-5)
    file.close("match_prob", label_mixture(weights, labels, meta["c"]), 1e-5)
    logs = head(query, support, labels)
    file.close("match_log", logs, 1e-5)
    file.close("match_loss_nll", F.nll_loss(logs, target), 1e-5)
    file.close("match_loss_upstream_double_logsoftmax", F.cross_entropy(logs, target), 1e-5)


def example_few_shot() -> dict[str, Arrays]:
    random = np.random.RandomState(6)
    head = MatchingHead(5, 3)
    meta = {"b": 4, "c": 3, "d": 5, "m": 7, "lstm_layers": 1, "unrolling_steps": 3, "seed": 6}
    return {
        "fewshot_b": {
            "query": random.randn(4, 5).astype(np.float32),
            "support": random.randn(7, 5).astype(np.float32),
            "support_labels": np.arange(7) % 3,
            "target": np.arange(4) % 3,
            **random_state(head.memory_lstm, "g.lstm.", 7),
            **random_state(head.query_cell, "f.lstm_cell.", 8),
            "meta": np.array(json.dumps(meta)),
        }
    }


FAMILIES = (
    Family("autoencoder_*", check_autoencoder, example_autoencoders, ("meta/seed",)),
    Family("fista_*", check_fista, example_fista, ("meta/seed",)),
    Family("attack_*", check_attack, example_attacks, ("meta/seed", "meta/c_steps")),
    Family("fewshot_*", check_few_shot, example_few_shot, ("meta/seed",)),
)
