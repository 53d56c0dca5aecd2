"""Speed and memory of Memory Wrap against the expanded form, and of a memory that is kept, in one run.

    python benchmarks/memory_wrap.py --out results/benchmarks/memory_wrap.json

Expanded form: a tensor of queries x memory x features for the distance, the form of the authors' library. Kept memory:
it is encoded once and its half of the first linear layer computed once, against encoding it again for every batch of
100 queries.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from measure import extra_memory, interleaved, machine, save
from torch import Tensor

from lookalike import MemoryWrapLayer
from lookalike.backbones.build import make_backbone
from lookalike.contracts.settings import BackboneSettings
from lookalike.methods.memory_wrap.layer import DISTANCES
from lookalike.methods.memory_wrap.sparsemax import sparsemax

CASE = (500, 1000, 1280)  # queries, memory, features
CLASSES = 10
QUERIES, MEMORY = 100, 100
ENCODERS = ("cifar_shufflenet_v2_half", "cifar_mobilenet_v2", "cifar_resnet18_post")


def expanded(distance: str, queries: Tensor, memory: Tensor) -> Tensor:
    """Distances (B, M) through a tensor (B, M, D)."""
    if distance == "l2":
        return (queries[:, None] - memory[None]).square().sum(2)
    return -(queries[:, None] * memory[None]).sum(2)


def layer(distance: str, repeats: int) -> dict[str, float]:
    """Distance step and whole layer, forward."""
    batch, rows, width = CASE
    generator = torch.Generator().manual_seed(0)
    queries, memory = (torch.randn(n, width, generator=generator).relu() for n in (batch, rows))
    torch.manual_seed(0)
    ours = MemoryWrapLayer(width, CLASSES, distance=distance).eval()

    def plain() -> Tensor:
        weights = sparsemax(-expanded(distance, queries, memory))
        out: Tensor = ours.classifier(torch.cat([queries, weights @ memory], 1))
        return out

    kept = ours.remember(memory)
    calls = {
        "distance_plain": lambda: expanded(distance, queries, memory),
        "distance": lambda: DISTANCES[distance](queries, memory),
        "plain": plain,
        "layer": lambda: ours(queries, memory),
        "layer_kept": lambda: ours(queries, kept),
        "classifier": lambda: ours.classifier(torch.cat([queries, queries], 1)),
    }
    seconds = {name: found["median"] for name, found in interleaved(calls, repeats).items()}
    found = {f"{name}_ms": value * 1e3 for name, value in seconds.items()}
    found["distance_ratio"] = seconds["distance_plain"] / seconds["distance"]
    found["layer_ratio"] = seconds["plain"] / seconds["layer"]
    found["layer_kept_ratio"] = seconds["plain"] / seconds["layer_kept"]
    found |= {f"{name}_mb": extra_memory(calls[name]) / 1e6 for name in ("distance_plain", "distance", "layer")}
    found["batch_by_memory_mb"] = batch * rows * 4 / 1e6
    found["difference"] = float((calls["plain"]() - calls["layer"]()).abs().max())  # type: ignore[operator]
    return found


def inference(encoder: str, repeats: int) -> dict[str, float]:
    """A batch of 100 queries with a memory of 100: encoded again, or kept."""
    torch.manual_seed(0)
    network = make_backbone(BackboneSettings(name=encoder), (3, 32, 32)).eval()
    head = MemoryWrapLayer(network.dim, CLASSES).eval()
    queries, memory = torch.randn(QUERIES, 3, 32, 32), torch.randn(MEMORY, 3, 32, 32)
    kept = head.remember(network(memory))
    seconds = interleaved(
        {
            "again": lambda: head(network(queries), network(memory)),
            "kept": lambda: head(network(queries), kept),
        },
        repeats,
    )
    again, cached = seconds["again"]["median"], seconds["kept"]["median"]
    return {"again_ms": again * 1e3, "kept_ms": cached * 1e3, "ratio": again / cached}


def main() -> None:
    """Print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/memory_wrap.json"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    metrics = {}
    with torch.no_grad():
        for distance in ("l2", "dot"):
            metrics[distance] = layer(distance, arguments.repeats)
            shown = ", ".join(f"{name} {value:.4g}" for name, value in metrics[distance].items())
            print(f"{distance} {CASE}: {shown}")
        for encoder in ENCODERS:
            metrics[encoder] = inference(encoder, arguments.repeats)
            shown = ", ".join(f"{name} {value:.4g}" for name, value in metrics[encoder].items())
            print(f"{encoder}: {shown}")
    print(machine())
    save(arguments.out, "memory_wrap", metrics)


if __name__ == "__main__":
    main()
