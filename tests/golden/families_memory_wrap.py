"""Golden families of Memory Wrap: layers, sparsemax, subset draws."""

import json

import numpy as np
import torch
import torch.nn.functional as F
from compare import close, tensors
from torch import nn

from lookalike.data.settings import ArraySettings
from lookalike.data.subsets import memory_wrap_draw
from lookalike.methods.memory_wrap.layer import DISTANCES, BaselineMemory, MemoryWrapLayer, new_key
from lookalike.methods.memory_wrap.sparsemax import sparsemax

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


LAYER_KEYS = ("meta", "x", "mem", "target", "weights", "memory_vector", "out", "loss", "grad.x", "grad.mem")
FAMILIES = [
    ("splits_", ("bal_labels", "bal_weights"), check_splits),
    ("sparsemax", ("z0", "p0", "gout0", "gin0"), check_sparsemax),
    *((prefix, LAYER_KEYS, check_layer) for prefix in ("layer_", "v106_", "v110_", "wrapper_")),
]
